from __future__ import annotations

import pytest

from broker.transport import AnswerTo
from coordinator import present
from coordinator.present import PresentWorkers
from schemas.messages import Presence

WITHIN_S = 60.0


def _presence(worker_id: str, leaving: bool = False) -> Presence:
    return Presence(worker_id, "", -1, 0, False, leaving, ())


def _to(worker_id: str) -> AnswerTo:
    return AnswerTo(f"address of {worker_id}", "1")


class _Crowd:
    """Workers that say that they are there."""

    def __init__(self) -> None:
        self.present = PresentWorkers(shown=3)

    def see(self, now: float, *worker_ids: str, leaving: bool = False) -> None:
        for worker_id in worker_ids:
            self.present.see(_presence(worker_id, leaving), _to(worker_id), True, now)

    def online(self, now: float, within_s: float = WITHIN_S) -> int:
        return self.present.online(now, within_s)

    def offline(self, now: float, within_s: float = WITHIN_S) -> tuple[str, ...]:
        return self.present.offline(now, within_s)

    def told(self) -> list[str]:
        return [presence.worker_id for _, presence in self.present.everyone()]


def test_who_is_silent_for_longer_is_offline() -> None:
    crowd = _Crowd()
    crowd.see(0.0, "b", "a")
    crowd.see(30.0, "c")
    assert (crowd.online(60.0), crowd.offline(60.0)) == (3, ())
    assert (crowd.online(60.1), crowd.offline(60.1)) == (1, ("a", "b"))
    crowd.see(70.0, "a")
    assert (crowd.online(70.0), crowd.offline(70.0)) == (2, ("b",))
    assert (crowd.online(200.0), crowd.offline(200.0)) == (0, ("a", "b", "c"))


def test_who_leaves_is_offline_at_once_until_it_comes_again() -> None:
    crowd = _Crowd()
    crowd.see(0.0, "a", "b")
    crowd.see(1.0, "a", leaving=True)
    assert (crowd.online(1.0), crowd.offline(1.0)) == (1, ("a",))
    crowd.see(2.0, "a")
    assert (crowd.online(2.0), crowd.offline(2.0)) == (2, ())


def test_of_many_that_are_offline_the_first_by_name_are_told() -> None:
    crowd = _Crowd()
    crowd.see(0.0, "d", "b", "e", "a")
    crowd.see(0.0, "c", leaving=True)
    assert crowd.offline(100.0) == ("a", "b", "c")


def test_a_longer_silence_may_be_allowed_later_on() -> None:
    crowd = _Crowd()
    crowd.see(0.0, "a")
    crowd.see(50.0, "b")
    assert crowd.online(100.0, 60.0) == 1
    assert (crowd.online(100.0, 200.0), crowd.offline(100.0, 200.0)) == (2, ())
    assert (crowd.online(120.0, 80.0), crowd.offline(120.0, 80.0)) == (1, ("a",))


def test_who_is_silent_is_told_of_changes_all_the_same() -> None:
    crowd = _Crowd()
    crowd.see(0.0, "a")
    crowd.see(90.0, "b")
    assert crowd.online(100.0) == 1
    assert crowd.told() == ["a", "b"]
    waiting = crowd.present.waiting(lambda presence: presence.worker_id == "b")
    assert [presence.worker_id for _, presence in waiting] == ["a"]
    assert not crowd.present.waiting(lambda presence: presence.worker_id == "b"), "it was told"


def test_the_longest_unheard_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "REMEMBERED_MAX", 3)
    crowd = _Crowd()
    for second, worker_id in enumerate("abcd"):
        crowd.see(float(second), worker_id)
    assert crowd.told() == ["b", "c", "d"]
    assert crowd.online(62.5) == 1
    crowd.see(63.0, "e")
    assert crowd.told() == ["c", "d", "e"]
    assert crowd.offline(63.0) == ("c",)
