from __future__ import annotations

from coordinator.events import EndTask, RecordVerdict
from simulation.planning.availability import Availability
from simulation.planning.devices import Presence
from simulation.planning.drawer import PRESENCE_S, Choice, Drawer

VERSION = 5


def drawer_of(workers: int) -> Drawer:
    return Drawer(Availability(Presence(), 1), workers, Choice(), 1)


def lapse(drawer: Drawer, worker: int, now: float) -> None:
    drawer.offered("a task", worker, VERSION, now - 20.0)
    drawer.ended(EndTask("a task", "lapsed", "its lease ended", str(worker)), VERSION, now)


def test_who_did_not_answer_is_drawn_again_for_the_version_once_it_is_seen() -> None:
    drawer = drawer_of(3)
    lapse(drawer, 0, now=20.0)
    assert set(drawer.draw(3, VERSION, 20.0)) == {"1", "2"}
    assert set(drawer.draw(3, VERSION, 20.0 + PRESENCE_S)) == {"0", "1", "2"}


def test_whose_update_came_after_its_lease_is_not_drawn_again_for_the_version() -> None:
    drawer = drawer_of(3)
    lapse(drawer, 0, now=20.0)
    drawer.judged(0, RecordVerdict("an update", "counted", "", VERSION, 0, 1.0), 30.0, None)
    assert set(drawer.draw(3, VERSION, 20.0 + PRESENCE_S)) == {"1", "2"}
    assert set(drawer.draw(3, VERSION + 1, 20.0 + PRESENCE_S)) == {"0", "1", "2"}
