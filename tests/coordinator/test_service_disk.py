"""A disk or a database that refuses: no ack, back to what the store says, on when it heals."""

from __future__ import annotations

import io
import sqlite3
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from broker.topology import DELIVERY_LIMIT
from coordinator.display import PlainDisplay
from coordinator.errors import Fenced, StoreError
from coordinator.mailbox import Evaluated
from coordinator.store import Store
from disk.os_disk import OsFile
from settings.health import Health
from tests.coordinator.steps import Steps
from tests.coordinator.test_spool import files_of_at_most
from tests.coordinator.world import MakeWorld, World

FULL = OSError(28, "No space left on device")
LOCKED = OperationalError("COMMIT", None, sqlite3.OperationalError("disk I/O error"))

PLACES = {
    "the spool cannot be written": ("before append", FULL),
    "the spool cannot be synced": ("before sync", FULL),
    "the commit fails": ("before commit", LOCKED),
    "the commit's outcome is unknown": ("after commit", LOCKED),
    "the model cannot be written": ("before write", FULL),
}


def heal(world: World) -> None:
    world.steps.trouble.clear()
    for _ in range(3):
        world.pass_to_wake()


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_lost_or_counted_twice_when_a_write_fails(
    make_world: MakeWorld, place: str
) -> None:
    name, error = PLACES[place]
    world = make_world()
    workers = [world.somebody() for _ in range(2)]
    started = [(worker, *world.begin_task(worker)) for worker in workers]
    world.steps.trouble[name] = error
    for value, (worker, task, start) in enumerate(started):
        update = worker.update(task, start, world.layout, float(value))
        worker.send(update, worker.payload(world.layout, float(value)))
    world.step()
    assert world.seen[-1].state == "connecting"
    heal(world)
    assert world.weight(1) == 1.5
    assert world.service.look().updates == {"counted": 2}
    assert world.ready("update") == 0
    world.round(1.0, 1.0)
    assert world.weight(2) == 2.5


def test_a_segment_that_could_not_be_synced_is_closed_and_used_again(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: OsFile) -> None:
        raise FULL

    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    with monkeypatch.context() as patched:
        patched.setattr(OsFile, "sync", full)
        update_id = world.finish_task(worker, task, start)
        assert world.pass_to_wake() > 0.0
        assert world.seen[-1].state == "connecting"
        assert not world.has_verdict(update_id)
    heal(world)
    assert world.verdict(update_id) == "counted"
    assert world.ledger(update_id).place == 0, "what was not synced was cut"


def test_while_the_disk_is_full_it_waits_longer_and_longer_but_not_for_ever(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__deadline="10d")
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.steps.trouble["before sync"] = FULL
    world.finish_task(worker, task, start)
    waits = [world.pass_to_wake() for _ in range(8)]
    assert waits == [1.0, 2.0, 5.0, 10.0, 30.0, 30.0, 30.0, 30.0]
    assert world.transport.started == 9


@pytest.mark.parametrize("place", ["before append", "before sync", "before commit"])
def test_a_disk_that_is_full_for_long_loses_no_confirmed_update(
    make_world: MakeWorld, place: str
) -> None:
    world = make_world(rounds__deadline="10d", rounds__lease="10d")
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.steps.trouble[place] = FULL if place != "before commit" else LOCKED
    update_id = world.finish_task(worker, task, start)
    until = world.now + 3600.0
    while world.now < until:
        world.pass_to_wake()
    assert not world.has_verdict(update_id)
    heal(world)
    assert world.verdict(update_id) == "counted"


def test_a_disk_without_room_for_an_update_is_not_connected_for(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.steps.trouble |= {"before append": FULL, "before prove": FULL}
    world.finish_task(worker, task, start)
    started = world.transport.started
    for _ in range(5):
        assert world.pass_to_wake() > 0.0
    assert world.transport.started == started
    heal(world)
    assert world.service.look().updates == {"counted": 1}


def test_a_disk_without_room_for_a_part_is_not_connected_for(make_world: MakeWorld) -> None:
    world = make_world(size=30_000)
    worker = world.somebody()
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    payload = worker.payload(world.layout, 1.0)
    worker.send_part(update, payload, 64 * 1024, 0)
    world.step()
    with files_of_at_most(67_000):
        for index in range(1, 4):
            worker.send_part(update, payload, 64 * 1024, index)
        world.step()
        started = world.transport.started
        for _ in range(5):
            assert world.pass_to_wake() > 0.0
        assert world.transport.started == started
    heal(world)
    worker.close_upload(update, payload, 64 * 1024)
    world.step()
    assert world.verdict(update.update_id) == "counted"


def test_an_upload_whose_parts_are_all_here_takes_no_more_room(make_world: MakeWorld) -> None:
    world = make_world(size=30_000)
    worker = world.somebody()
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    payload = worker.payload(world.layout, 1.0)
    for index in range(4):
        worker.send_part(update, payload, 64 * 1024, index)
    world.step()
    with files_of_at_most(150_000):  # the file has more
        worker.close_upload(update, payload, 64 * 1024)
        world.step()
        assert world.verdict(update.update_id) == "counted"


def test_what_was_given_up_is_kept_however_often_it_cannot_be_taken_up(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__deadline="10d", rounds__lease="10d")
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.steps.trouble["before append"] = FULL
    update_id = world.finish_task(worker, task, start)
    for _ in range(3 * DELIVERY_LIMIT):  # a supervisor starts it again and again
        world.restart()
    assert world.ready("update") == 0, "the broker has given it up"
    world.steps.trouble.clear()
    world.restart()
    assert world.verdict(update_id) == "counted"


def test_a_timer_that_is_due_while_the_disk_is_full_waits_for_the_disk(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.round(1.0)
    world.steps.trouble["before sync"] = FULL
    world.pass_time(61.0)  # the deadline: the round is to be closed
    for _ in range(5):
        assert world.pass_to_wake() > 0.0
    heal(world)
    assert world.version == 1


def test_a_model_that_cannot_be_written_is_not_tried_without_pause(make_world: MakeWorld) -> None:
    world = make_world()
    world.round(1.0)
    world.steps.trouble["before write"] = FULL
    world.round(1.0)
    tried = world.steps.count("before write")
    for _ in range(10):
        world.step()
    assert world.steps.count("before write") == tried
    assert world.pass_to_wake() > 0.0
    heal(world)
    assert world.version == 1


def test_a_store_that_cannot_be_read_either_is_waited_for(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    one = world.answer(world.somebody(), 1.0)
    worker = world.somebody()
    task, start = world.begin_task(worker)
    reading = Store.reading

    def broken(store: Store) -> object:
        if store is world.service._run._store:
            raise LOCKED
        return reading(store)

    with monkeypatch.context() as patch:
        world.steps.trouble["before sync"] = FULL
        patch.setattr(Store, "reading", broken)
        world.finish_task(worker, task, start, 3.0)
        assert world.pass_to_wake() > 0.0
        assert world.pass_to_wake() > 0.0
    heal(world)
    assert world.ledger(one).copies == 0
    assert world.weight(1) == 3.0


def test_a_disk_that_is_full_from_the_start_is_waited_for(make_world: MakeWorld) -> None:
    world = make_world(begin=False)
    world.steps.trouble["before commit"] = LOCKED
    with pytest.raises(StoreError, match="disk I/O error"):
        world.begin()
    world.steps.trouble.clear()
    world.steps.trouble["before sync"] = FULL
    world.begin()
    heal(world)
    world.round(1.0, 1.0)
    assert world.version == 1


def test_a_coordinator_whose_store_was_taken_over_writes_nothing_more(
    make_world: MakeWorld, steps: Steps
) -> None:
    world = make_world()
    world.round(1.0)
    worker = world.somebody()
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    other = Store.create_or_open(world.folder / "state" / "coordinator.db", "demo", world.now)
    other.take_epoch()
    worker.send(update, worker.payload(world.layout, 1.0))
    steps.names.clear()
    with pytest.raises(Fenced, match="taken this store over"):
        world.step()
    assert not {"before append", "before write", "after commit", "before ack"} & set(steps.names)
    assert not world.has_verdict(update.update_id)
    world.service.close()
    assert world.ready("update") == 1
    other.close()


def test_a_fenced_coordinator_does_not_write_the_file_of_a_version(
    make_world: MakeWorld, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    world.round(1.0)
    worker = world.somebody()
    task, start = world.begin_task(worker)
    other = Store.create_or_open(world.folder / "state" / "coordinator.db", "demo", world.now)
    at = steps.at

    def overtaken(name: str) -> None:
        at(name)
        if name == "after commit" and other.epoch is None:
            other.take_epoch()

    monkeypatch.setattr(steps, "at", overtaken)
    steps.names.clear()
    with pytest.raises(Fenced):
        world.finish_task(worker, task, start)
    assert world.run_row().state == "closed", "overtaken between the close and the version"
    assert "before write" not in steps.names
    other.close()


def test_a_stop_and_the_metrics_that_came_with_it_outlive_a_disk_that_is_full(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.round(1.0, 1.0)
    world.steps.trouble["before commit"] = LOCKED
    accurate, better = {"accuracy": 0.5}, {"accuracy": 0.6}
    world.service._mailbox.put(Evaluated(0, accurate))
    world.service._mailbox.put(Evaluated(1, better))
    world.service.stop()
    world.step()
    assert world.seen[-1].state == "connecting"
    assert world.service._stopping
    world.pass_to_wake()
    heal(world)
    assert world.version_row(0).metrics == accurate
    assert world.version_row(1).metrics == better


class RefusingStream(io.StringIO):
    """A stdout that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, *_: Any) -> int:
        raise self._error


@pytest.mark.parametrize(
    "error", [FULL, BrokenPipeError(32, "Broken pipe"), ValueError("I/O operation on closed file")]
)
def test_a_stdout_that_takes_nothing_neither_ends_nor_delays_the_run(
    make_world: MakeWorld, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(begin=False)
    world.observer = PlainDisplay(RefusingStream(error)).show
    world.begin()
    for _ in range(3):
        world.round(1.0, 1.0)
    assert world.version == 3
    assert world.transport.started == 1, "it was taken for the state folder's disk"
    assert [record.name for record in caplog.records].count("coordinator.progress") == 1


def test_a_stdout_that_takes_nothing_does_not_hide_that_the_disk_is_full(
    make_world: MakeWorld,
) -> None:
    world = make_world(begin=False)
    world.observer = PlainDisplay(RefusingStream(FULL)).show
    world.begin()
    world.round(1.0)
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.steps.trouble["before sync"] = FULL
    world.finish_task(worker, task, start, 1.0)
    assert world.service.look().state == "connecting"
    heal(world)
    assert world.weight(1) == 2.0


def test_a_coordinator_whose_disk_is_full_is_not_well_and_says_so(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.steps.trouble["before sync"] = FULL
    world.finish_task(worker, task, start)
    replies: list[Health] = []
    world.service.ask_health(replies.append)
    world.step()
    (health,) = replies
    assert not health.well
    assert "could not write: " in health.words
