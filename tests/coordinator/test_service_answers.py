"""What workers are told: whether they may take a task, what became of updates, when to start."""

from __future__ import annotations

from broker.memory import MemoryTransport
from broker.transport import Outgoing
from schemas.messages import Presence, Standing, Start, encode
from tests.coordinator.feeder import Feeder
from tests.coordinator.world import MakeWorld, World


def asked(world: World, worker: Feeder, *updates: str, last_version: int = -1) -> Standing:
    token = worker.say_present(*updates, run_id=world.run_row().run_id, last_version=last_version)
    world.step()
    return worker.standing_of(token)


def test_a_worker_is_told_what_became_of_its_updates(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    counted = world.answer(worker)
    unknown = "0" * 32
    standing = asked(world, worker, counted, unknown)
    assert standing.verdicts == {counted: "counted"}
    assert standing.unknown == (unknown,)
    assert (standing.run_id, standing.version) == (world.run_row().run_id, 0)
    assert (standing.state, standing.time_s) == ("running", world.now)


def test_who_trained_on_the_current_version_waits_and_is_told_of_the_next(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker = world.somebody()
    world.answer(worker)
    token = worker.say_present(run_id=world.run_row().run_id, last_version=0)
    world.step()
    assert not worker.standing_of(token).may_take
    world.round(1.0)
    standing = worker.standing_of(token)
    assert (standing.version, standing.may_take) == (1, True)
    told = len(worker.answers_of(token))
    world.round(1.0, 1.0)
    assert len(worker.answers_of(token)) == told, "it asks again by itself"


def test_who_came_too_late_for_its_task_may_try_the_version_again(make_world: MakeWorld) -> None:
    world = make_world(rounds__late="refuse", rounds__lease="5s")
    worker = world.somebody()
    task, start = world.begin_task(worker)
    assert not asked(world, worker, last_version=0).may_take  # its update may be on its way
    world.pass_time(5.0)
    update = worker.update(task, start, world.layout, 1.0)
    worker.send(update, worker.payload(world.layout, 1.0))
    world.step()
    assert world.ledger(update.update_id).verdict == "replaced"
    assert asked(world, worker, last_version=0).may_take
    counted = world.answer(worker)
    assert world.ledger(counted).verdict == "counted"
    assert not asked(world, worker, last_version=0).may_take


def test_who_waited_for_a_coordinator_that_died_is_asked_to_ask_again(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker = world.somebody()
    world.answer(worker)
    token = worker.say_present(run_id=world.run_row().run_id, last_version=0)
    world.step()
    told = len(worker.answers_of(token))
    world.kill()
    world.begin()
    assert len(worker.answers_of(token)) == told + 1
    reminder = worker.standing_of(token)
    assert (reminder.may_take, reminder.come_back_s) == (False, 0.0)
    world.cut()
    assert len(worker.answers_of(token)) == told + 1, "once for a start is enough"


def test_everyone_is_told_that_the_run_is_over(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=1)
    waiting, free = world.worker("waiting"), world.worker("free")
    tokens = [
        (waiting, waiting.say_present(run_id=world.run_row().run_id, last_version=0)),
        (free, free.say_present()),
    ]
    world.round(1.0, 1.0)
    for worker, token in tokens:
        assert worker.standing_of(token).state == "draining"
        assert not worker.standing_of(token).may_take


def test_everyone_is_told_that_time_is_up(make_world: MakeWorld) -> None:
    world = make_world(run__max_seconds=50.0)
    worker = world.somebody()
    token = worker.say_present()
    world.step()
    world.pass_time(50.0)
    assert worker.standing_of(token).state == "draining"


def test_who_leaves_is_not_told_anything(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    asked(world, worker)
    token = worker.say_present(leaving=True)
    world.step()
    assert not worker.answers_of(token)
    world.pass_time(1.0)
    assert world.service.look().online == 0


def test_a_worker_is_seen_until_it_is_silent_for_long(make_world: MakeWorld) -> None:
    world = make_world()
    asked(world, world.somebody())
    assert world.service.look().online == 1
    world.pass_time(70.0)
    assert world.service.look().online == 0


def test_answers_to_an_earlier_connection_do_no_harm(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    token = worker.say_present(run_id=world.run_row().run_id, last_version=0)
    world.step()
    told = len(worker.answers_of(token))
    world.cut()
    world.round(1.0, 1.0)
    assert len(worker.answers_of(token)) == told


# starts


def test_a_start_waits_until_the_model_is_on_the_stream(make_world: MakeWorld) -> None:
    world = make_world(size=600_000)  # 4.8 MB: more parts than are sent unconfirmed
    world.broker.hold_confirms()
    world.restart()
    other = MemoryTransport(world.broker, lambda event: None, "people")
    other.start()
    other.delete(world.model_queue())
    world.restart()
    worker = world.somebody()
    task, tag = worker.take()
    tokens = [worker.say_taken(task) for _ in range(2)]
    world.step()
    assert not any(worker.answers_of(token) for token in tokens)
    world.broker.release_confirms()
    world.step()
    world.pass_time(10.0)
    start = worker.start_of(tokens[-1])
    assert worker.read_model(start) == world.model(0)
    assert tag


def test_a_start_that_waited_while_its_task_ended_is_no_start(make_world: MakeWorld) -> None:
    world = make_world(size=600_000, run__max_seconds=20.0)
    other = MemoryTransport(world.broker, lambda event: None, "people")
    other.start()
    world.kill()
    other.delete(world.model_queue())
    world.broker.hold_confirms()
    world.begin()
    worker = world.somebody()
    task, _ = worker.take()
    token = worker.say_taken(task)
    world.step()
    assert not worker.answers_of(token)
    world.pass_time(20.0)
    assert world.state == "draining"
    world.broker.release_confirms()
    world.step()
    for _ in range(3):
        world.pass_time(5.0)
    (start,) = worker.answers_of(token)
    assert isinstance(start, Start)
    assert not start.wanted


def test_a_presence_without_a_way_back_is_noted(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    presence = Presence(worker.worker_id, "", -1, 0, False, False, ())
    key = world.names.control_key("presence", worker.worker_id)
    worker.transport.publish(Outgoing(world.names.control_exchange, key, encode(presence)))
    world.step()
    assert world.service.look().online == 1
