"""The laws of the simulated world notice what they are there for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from broker.memory.queues import Message
from broker.topology import Names
from simulation.laws import Broken
from simulation.world import STATE, World

SEED = 5
UNTIL_S = 3600.0


class Moment:
    """A world without faults, at the moment when its first update lies in an outbox, unsent.

    Attributes:
        update_id: That update.
        memory: The database of its worker.
    """

    def __init__(self) -> None:
        self.world = World(SEED)
        self.laws = self.world.laws
        for process in self.world.processes:
            process.begin()
        self._go_on(lambda: any(w.trainer and w.trainer.busy for w in self.world.workers))
        self.world.broker.down()
        self._go_on(lambda: bool(self.laws.open_updates))
        self.update_id, name = next(iter(self.laws.open_updates.items()))
        (worker,) = (worker for worker in self.world.workers if worker.name == name)
        database = worker.platter.database(STATE / "worker.sqlite")
        assert database is not None
        self.memory: sqlite3.Connection = database

    def _go_on(self, until: Callable[[], bool]) -> None:
        while not until():
            assert self.world.time.step(UNTIL_S)

    def forget(self, table: str) -> None:
        """As if the worker had lost it."""
        self.memory.execute(f"DELETE FROM {table} WHERE update_id = ?", (self.update_id,))

    def finish_again(self) -> None:
        """As if the worker had trained its task again."""
        self.memory.execute(
            "INSERT INTO marks (task_id, update_id, run_id, base_version, incarnation, kind) "
            "VALUES ('task', ?, 'run', 0, 0, 'train')",
            (self.update_id,),
        )


@pytest.fixture
def moment() -> Moment:
    return Moment()


def test_an_update_that_is_nowhere_is_lost(moment: Moment) -> None:
    moment.laws.check_safety()
    moment.forget("outbox")
    with pytest.raises(Broken, match=f"{moment.update_id} of w. is lost"):
        moment.laws.check_safety()
    moment.forget("marks")
    with pytest.raises(Broken, match="is lost"):
        moment.laws.check_safety()


def test_an_update_that_the_disk_changed_may_be_given_up(moment: Moment) -> None:
    finished = moment.laws.finished
    moment.laws.payload_changed(moment.update_id)
    moment.forget("outbox")
    with pytest.raises(Broken, match="is lost"):
        moment.laws.check_safety()  # not as long as the worker says that it is done
    moment.forget("marks")
    moment.laws.check_safety()
    assert not moment.laws.open_updates
    assert (moment.laws.given_up, moment.laws.finished) == (1, finished - 1)


def test_a_copy_for_people_to_look_at_is_no_update_on_its_way(moment: Moment) -> None:
    refused = Names("world").refused_queue.name
    copy = Message("update.0", b"", moment.update_id, "", None)
    assert moment.world.broker.store.append(copy, [refused]) == ""
    assert moment.world.broker.holds(moment.update_id)
    moment.forget("outbox")
    with pytest.raises(Broken, match="is lost"):
        moment.laws.check_safety()
    moment.laws.payload_changed(moment.update_id)
    moment.forget("marks")
    moment.laws.check_safety()
    assert not moment.laws.open_updates


def test_an_update_that_is_made_again_after_it_was_given_up_is_finished_like_any_other(
    moment: Moment,
) -> None:
    moment.laws.payload_changed(moment.update_id)
    moment.forget("outbox")
    moment.forget("marks")
    moment.laws.check_safety()
    moment.finish_again()
    with pytest.raises(Broken, match="is lost"):
        moment.laws.check_safety()
    assert moment.laws.given_up == 0


# a coordinator that was restored from a backup


@pytest.fixture
def judged() -> World:
    """A world without faults in which something has its verdict."""
    world = World(SEED)
    for process in world.processes:
        process.begin()
    while not list(world.laws.rows):
        assert world.time.step(UNTIL_S)
    return world


def empty_store(world: World) -> None:
    """Restore the coordinator's disk as it was before it had judged anything."""
    backup = world.coordinator.platter.backup()
    world.coordinator.restore(backup)
    database = world.coordinator.platter.database(STATE / "coordinator.db")
    assert database is not None
    database.execute("DELETE FROM ledger")


def test_verdicts_that_are_gone_break_a_law(judged: World) -> None:
    judged.laws.check_history()
    empty_store(judged)
    with pytest.raises(Broken, match="verdicts changed"):
        judged.laws.check_history()


def test_verdicts_of_the_time_that_a_restore_lost_are_excepted(judged: World) -> None:
    finished = judged.laws.finished
    update_ids = {row.update_id for row in judged.laws.rows}
    empty_store(judged)
    judged.laws.see_restored()
    judged.laws.check_history()
    judged.laws.check_safety()
    sent_again = update_ids & judged.laws.open_updates.keys()
    assert judged.laws.lost == len(update_ids) - len(sent_again)
    assert judged.laws.finished == finished - judged.laws.lost


def test_what_no_restore_could_lose_is_not_excepted(moment: Moment) -> None:
    empty_store(moment.world)
    moment.laws.see_restored()
    moment.laws.check_safety()
    moment.forget("outbox")
    with pytest.raises(Broken, match="is lost"):
        moment.laws.check_safety()
    assert moment.laws.lost == 0


def test_a_coordinator_that_stops_as_restored_was_restored(judged: World) -> None:
    with pytest.raises(AssertionError, match="was not restored"):
        judged.coordinator._stopped()
