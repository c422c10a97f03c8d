from __future__ import annotations

from worker import owed
from worker.owed import OPEN_MAX, PATIENCE_S, Left, Owed
from worker.parcel import Parcel


def parcel(
    number: int, codec: str = "topk:0.05", run_id: str = "run", kind: str = "train"
) -> Parcel:
    return Parcel(f"u{number}", "t", run_id, 0, 8, 0, incarnation=1, kind=kind, codec=codec)


def several(count: int, now: float = 0.0) -> Owed:
    owes = Owed()
    for number in range(count):
        owes, gone = owed.add(owes, parcel(number), now)
        assert gone == ""
    return owes


def holds_back(owes: Owed, now: float = 0.0, run_id: str = "run", incarnation: int = 1) -> bool:
    return owed.holds_back(owes, run_id, incarnation, now)


def test_a_worker_is_held_back_while_as_many_verdicts_are_owed_as_there_is_room_for() -> None:
    assert not holds_back(several(OPEN_MAX - 1))
    full = several(OPEN_MAX)
    assert holds_back(full)
    assert not holds_back(owed.settle(full, "u2"))


def test_it_is_held_back_for_its_run_alone() -> None:
    full = several(OPEN_MAX)
    assert not holds_back(full, run_id="other")
    assert not holds_back(full, incarnation=2)


def test_codecs_that_leave_nothing_and_evaluations_owe_nothing() -> None:
    for other in (parcel(0, "int8"), parcel(0, "from the future"), parcel(0, kind="evaluate")):
        assert owed.add(Owed(), other, 0.0) == (Owed(), "")


def test_an_update_that_is_told_of_twice_is_owed_once() -> None:
    one = several(1)
    assert owed.add(one, parcel(0), 5.0) == (one, "")


def test_who_waited_in_vain_takes_a_task_and_keeps_nothing_of_the_oldest() -> None:
    full = several(OPEN_MAX)
    assert holds_back(full, PATIENCE_S - 1)
    assert not holds_back(full, PATIENCE_S)
    more, gone = owed.add(full, parcel(OPEN_MAX), PATIENCE_S)
    assert gone == "u0"
    assert [left.update_id for left in more.left] == ["u1", "u2", "u3", "u4"]
    assert holds_back(more, 2 * PATIENCE_S - 1)


def test_another_run_begins_with_nothing() -> None:
    other, gone = owed.add(several(OPEN_MAX), parcel(9, run_id="other"), 0.0)
    assert gone == ""
    assert other.left == (Left("u9", "other", 1),)


def test_a_start_waits_for_what_is_open() -> None:
    full = owed.begin(several(OPEN_MAX).left, 100.0)
    assert holds_back(full, 100.0 + PATIENCE_S - 1)
    assert not holds_back(full, 100.0 + PATIENCE_S)
