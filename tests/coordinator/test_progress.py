from __future__ import annotations

import logging

import pytest

from coordinator.progress import Progress, Sheltered, ignore

PROGRESS = Progress(
    run_id="r",
    state="collecting",
    version=0,
    rounds=1,
    counted=0,
    goal=1,
    open_tasks=1,
    online=0,
    updates={},
)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ValueError("closed file")])
def test_what_cannot_be_shown_is_said_once_and_ends_nothing(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    looked: list[Progress] = []

    def observer(progress: Progress) -> None:
        looked.append(progress)
        raise error

    sheltered = Sheltered(observer)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            sheltered(PROGRESS)
    assert looked == [PROGRESS] * 3, "it may be shown again later"
    assert len(caplog.records) == 1
    assert str(error) in caplog.text


def test_a_bug_of_the_observer_passes_through() -> None:
    def observer(progress: Progress) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        Sheltered(observer)(PROGRESS)


def test_an_observer_that_does_not_look_sees_nothing(caplog: pytest.LogCaptureFixture) -> None:
    Sheltered(ignore)(PROGRESS)
    assert not caplog.records
