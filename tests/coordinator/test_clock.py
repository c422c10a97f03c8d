"""The coordinator's clock does not follow the system's when that is set."""

from __future__ import annotations

import time

import pytest

from coordinator.clock import JUMP_S, Clock


class System:
    """The clocks of a machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.utc_s, self.up_s = 1_000_000.0, 500.0
        monkeypatch.setattr(time, "time", lambda: self.utc_s)
        monkeypatch.setattr(time, "monotonic", lambda: self.up_s)

    def pass_time(self, seconds: float) -> None:
        self.utc_s += seconds
        self.up_s += seconds


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


@pytest.mark.parametrize("jump_s", [-86_400.0, JUMP_S + 1.0])
def test_a_clock_that_is_set_moves_no_timer_and_is_logged_once(
    system: System, caplog: pytest.LogCaptureFixture, jump_s: float
) -> None:
    clock = Clock()
    system.pass_time(10.0)
    clock.look()
    assert caplog.records == []
    system.utc_s += jump_s
    clock.look()
    clock.look()
    assert clock.now() == 1_000_010.0
    system.pass_time(5.0)
    assert clock.now() == 1_000_015.0
    assert [record.getMessage() for record in caplog.records] == [
        f"the system clock jumped by {jump_s:.0f} s; deadlines are not moved"
    ]


def test_a_small_correction_is_not_worth_a_line(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    system.utc_s += JUMP_S
    clock.look()
    assert clock.now() == 1_000_000.0
    assert caplog.records == []
