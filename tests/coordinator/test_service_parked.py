"""What the broker gave up on is taken up again, and never dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.transport import Outgoing
from coordinator.errors import Restored
from schemas.messages import Presence, Taken, Update, decode, encode
from simulation.mishaps import Crash
from tests.coordinator.feeder import Feeder
from tests.coordinator.world import MakeWorld, World

LIVES_MAX = 40  # the broker delivers twenty times before it gives up, and three are poison


def park(world: World, worker: Feeder, body: bytes) -> None:
    """The broker dead-letters a message."""
    worker.transport.publish(Outgoing(world.names.dead_exchange, "any", body))


def good(world: World) -> tuple[Feeder, Update, bytes]:
    worker = world.somebody()
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    return worker, update, encode(update, worker.payload(world.layout, 1.0))


class Deadly:
    """Bytes that end the process that decodes them."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
        lives = len(world.lives)

        def deadly(came: bytes) -> object:
            if bytes(came) == body:
                assert len(world.lives) - lives < LIVES_MAX, "it ends one process after another"
                raise Crash("decode")
            return decode(came)

        monkeypatch.setattr("coordinator.intake.decode", deadly)
        monkeypatch.setattr("coordinator.batch.parked.decode", deadly)


def test_an_update_the_broker_gave_up_on_is_counted(make_world: MakeWorld) -> None:
    world = make_world()
    worker, update, body = good(world)
    park(world, worker, body)
    world.step()
    assert world.verdict(update.update_id) == "counted"
    assert world.ready("parked") == 0


def test_a_message_that_ends_three_processes_is_poison(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    worker, _, body = good(world)
    Deadly(world, monkeypatch, b"deadly")
    lives = len(world.lives)
    park(world, worker, b"deadly")
    park(world, worker, body)
    world.step()
    assert len(world.lives) == lives + 3
    assert world.strays() == {"poison": 1}
    assert world.ready("parked") == 0
    assert world.service.look().updates == {"counted": 1}
    assert b"deadly" in world.refused()


def test_a_good_update_behind_a_deadly_one_in_the_updates_queue_is_counted_in_the_end(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    worker, update, body = good(world)
    Deadly(world, monkeypatch, b"deadly")
    worker.send_bytes(b"deadly", update.run_id)
    worker.send_bytes(body, update.run_id)
    world.step()
    for _ in range(5):
        world.step()
    assert world.verdict(update.update_id) == "counted"
    assert world.strays() == {"poison": 1}


def test_a_parked_update_is_no_poison_because_of_another_message(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    worker, update, body = good(world)
    Deadly(world, monkeypatch, b"deadly")
    worker.send_bytes(b"deadly", update.run_id)  # ends many processes before it is parked
    park(world, worker, body)
    world.step()
    for _ in range(5):
        world.step()
    assert world.verdict(update.update_id) == "counted"
    assert world.strays() == {"poison": 1}


def test_a_parked_update_is_no_poison_because_a_supervisor_restarts_what_the_disk_stops(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker, update, body = good(world)
    world.steps.trouble["before append"] = OSError(28, "No space left on device")
    park(world, worker, body)
    world.step()
    for _ in range(6):
        world.restart()
    world.steps.trouble.clear()
    world.restart()
    assert world.verdict(update.update_id) == "counted"


def test_a_parked_update_is_no_poison_because_its_attempts_could_not_be_taken_back(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    worker, update, body = good(world)
    at, refused = world.steps.at, OSError(28, "No space left on device")

    def flap(name: str) -> None:
        """When the spool has refused, so does the next commit; then all is well for a while."""
        if name == "before append":
            world.steps.trouble["before commit"] = refused
        elif name == "before commit" and world.steps.trouble.pop(name, None) is not None:
            raise refused
        at(name)

    world.steps.trouble["before append"] = refused
    monkeypatch.setattr(world.steps, "at", flap)
    park(world, worker, body)
    world.step()
    for _ in range(12):
        world.pass_to_wake()
    world.steps.trouble.clear()
    monkeypatch.setattr(world.steps, "at", at)
    for _ in range(3):
        world.pass_to_wake()
    assert world.verdict(update.update_id) == "counted"


def test_a_parked_update_is_no_poison_because_the_disk_was_full(make_world: MakeWorld) -> None:
    world = make_world()
    worker, update, body = good(world)
    world.steps.trouble["before append"] = OSError(28, "No space left on device")
    park(world, worker, body)
    world.step()
    for _ in range(6):
        world.pass_to_wake()
    world.steps.trouble.clear()
    for _ in range(3):
        world.pass_to_wake()
    assert world.verdict(update.update_id) == "counted"
    assert world.strays() == {}


def test_a_question_that_is_parked_again_and_again_is_no_poison(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    body = encode(Presence(worker.worker_id, "", -1, 0, False, False, ()))
    for _ in range(6):
        park(world, worker, body)
        world.step()
    assert world.strays() == {}


def test_a_copy_that_is_parked_again_and_again_is_a_copy(make_world: MakeWorld) -> None:
    world = make_world()
    worker, update, body = good(world)
    for _ in range(6):
        park(world, worker, body)
        world.step()
    assert world.ledger(update.update_id).copies == 5
    assert world.strays() == {}


def test_a_task_the_broker_gave_up_on_frees_its_slot(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, tag = worker.take()
    worker.transport.reject(tag, requeue=False)
    world.step()
    row = world.task_row(task.task_id)
    assert (row.state, row.reason) == ("declined", "the broker gave it up: rejected")
    assert len(world.open_tasks()) == 2


def test_a_task_that_was_taken_before_it_was_given_up_stays_taken(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, tag = worker.take()
    world.ask_start(worker, task)
    worker.transport.reject(tag, requeue=False)
    world.step()
    assert world.task_row(task.task_id).state == "taken"
    assert world.ready("parked") == 0


def test_garbage_that_is_parked_is_recorded(make_world: MakeWorld) -> None:
    world = make_world()
    park(world, world.somebody(), b"garbage")
    world.step()
    assert world.strays() == {"malformed": 1}
    assert world.ready("parked") == 0


def test_a_parked_update_is_no_poison_because_the_coordinator_was_stopped_beside_it(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker, update, body = good(world)
    newer = Taken(update.run_id, update.task_id, worker.worker_id, update.incarnation + 1)
    park(world, worker, body)
    worker.ask("taken", newer)
    with pytest.raises(Restored):
        world.step()
    for _ in range(5):
        world.kill()
        with pytest.raises(Restored):
            world.begin()
    world.kill()
    world.begin(restored=True)
    assert world.verdict(update.update_id) == "other timeline"
    assert world.strays() == {}


def test_a_parked_task_of_a_newer_incarnation_stops_it_and_stays_with_the_broker(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker = world.somebody()
    task, _ = world.begin_task(worker)
    park(world, worker, encode(replace(task, incarnation=task.incarnation + 1)))
    with pytest.raises(Restored, match=str(task.incarnation + 1)):
        world.step()
    assert world.task_row(task.task_id).state == "taken"
    for _ in range(5):  # a supervisor starts it again
        world.kill()
        with pytest.raises(Restored):
            world.begin()
    world.kill()
    assert world.ready("parked") == 1
    world.begin(restored=True)
    assert world.ready("parked") == 0
    assert world.run_row().state == "collecting"


def test_a_parked_task_of_no_incarnation_there_can_be_is_a_stray(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, _ = world.begin_task(worker)
    park(world, worker, encode(replace(task, incarnation=2**53)))
    world.step()
    assert world.strays() == {"malformed": 1}
    assert world.task_row(task.task_id).state == "taken"


def test_a_parked_task_of_an_older_incarnation_gives_up_no_task_of_this_one(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker = world.somebody()
    task, _ = world.begin_task(worker)
    park(world, worker, encode(replace(task, incarnation=task.incarnation - 1)))
    world.step()
    assert world.task_row(task.task_id).state == "taken"
    assert world.ready("parked") == 0
