from __future__ import annotations

import logging

import pytest

from worker import chores
from worker.chores import Chores
from worker.errors import StoreError


class Disk:
    """Takes what it is told, when there is room."""

    def __init__(self) -> None:
        self.has_room = False
        self.taken: list[str] = []
        self.asked = 0

    def take(self, what: str) -> None:
        self.asked += 1
        if not self.has_room:
            raise StoreError("no room")
        self.taken.append(what)


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_what_the_disk_takes_is_done_at_once(disk: Disk) -> None:
    disk.has_room = True
    made = Chores("w1")
    made.do(("release", "u"), lambda: disk.take("u"))
    assert (disk.taken, len(made)) == (["u"], 0)


def test_what_it_does_not_take_is_tried_again_and_told(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    made = Chores("w1")
    with caplog.at_level(logging.WARNING):
        for name in "abc":
            made.do(("release", name), lambda name=name: disk.take(name))  # type: ignore[misc]
    assert len(made) == 3
    assert "w1: no room" in caplog.text
    disk.asked = 0
    made.try_again()
    assert disk.asked == 1, "a full disk is asked once"
    disk.has_room = True
    made.try_again()
    assert sorted(disk.taken) == ["a", "b", "c"]
    assert len(made) == 0


def test_the_last_word_on_a_thing_counts(disk: Disk) -> None:
    made = Chores("w1")
    made.do(("sent", "u"), lambda: disk.take("yes"))
    made.do(("sent", "u"), lambda: disk.take("no"))
    made.do(("drop", "t"), lambda: disk.take("never"))
    made.drop(("drop", "t"))
    disk.has_room = True
    made.try_again()
    assert disk.taken == ["no"]


def test_no_more_wait_than_are_allowed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "CHORES_MAX", 2)
    made = Chores("w1")
    for name in "abc":
        made.do(("release", name), lambda: disk.take("x"))
    assert len(made) == 2
