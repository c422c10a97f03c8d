"""Connections that come and go, consumers that are lost, publishes in doubt, and idleness."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.memory import MemoryTransport
from broker.topology import Queue
from broker.transport import ConsumerLost, Delivered
from coordinator.errors import BrokerRefused
from coordinator.run import DEADLINES_PAUSED
from schemas.messages import Task, decode
from tests.coordinator.steps import Steps
from tests.coordinator.world import MakeWorld, World


def people(world: World) -> MemoryTransport:
    """Somebody with access to the broker."""
    transport = MemoryTransport(world.broker, lambda event: None, "people")
    transport.start()
    return transport


def pool(world: World) -> list[str]:
    """The ids of the tasks in the pool, in order."""
    events: list[Any] = []
    transport = MemoryTransport(world.broker, events.append, "people")
    transport.start()
    transport.consume(world.names.task_queue, 1000)
    tasks = [decode(event.body)[0] for event in events if isinstance(event, Delivered)]
    transport.stop()
    return [task.task_id for task in tasks if isinstance(task, Task)]


# idle


def test_without_events_nothing_is_written_or_published(make_world: MakeWorld) -> None:
    world = make_world()
    world.round(1.0)
    world.pass_time(2.0)
    world.steps.names.clear()
    for _ in range(20):
        world.service.handle([])
        world.now += 0.1
    assert world.steps.names == []
    wake = world.service.wake_at()
    assert wake is not None
    assert wake > world.now


def test_a_run_without_workers_wakes_for_its_deadlines_only(make_world: MakeWorld) -> None:
    world = make_world(rounds__max_extensions=2)
    waits = [world.pass_to_wake() for _ in range(6)]
    assert waits == [1.0, 59.0, 1.0, 59.0, 1.0, 59.0]
    assert world.state == "paused"
    world.pass_to_wake()
    assert world.pass_to_wake() == DEADLINES_PAUSED * 60.0 - 1.0


# connections


def test_deliveries_of_a_consumer_that_is_then_lost_are_void(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    worker.send(update, worker.payload(world.layout, 1.0))
    delivered = world.service._mailbox.get_nowait()
    assert isinstance(delivered, Delivered)
    lost = ConsumerLost(delivered.consumer, "the queue's leader moved", missing=False)
    world.service.handle([delivered, lost])
    assert not world.has_verdict(update.update_id)
    world.pass_to_wake()
    world.pass_to_wake()
    assert world.verdict(update.update_id) == "counted"


@pytest.mark.parametrize("name", ["task", "control", "parked", "refused", "update", "model"])
def test_a_queue_that_was_deleted_is_declared_again(make_world: MakeWorld, name: str) -> None:
    world = make_world()
    queue: Queue = {
        "update": world.names.update_queue(),
        "model": world.model_queue(),
    }.get(name) or getattr(world.names, f"{name}_queue")
    people(world).delete(queue)
    world.step()
    if name == "model":  # a worker does not find it
        worker = world.somebody()
        task, tag = worker.take()
        worker.transport.ack(tag)
        worker.say_declined(task, "model gone")
        world.step()
    if name == "task":  # nobody takes one, until the deadline
        world.pass_to_wake()
        world.pass_to_wake()
    for _ in range(3):
        world.pass_time(1.0)
    assert world.state == "collecting"
    worker = world.somebody()
    _, start = world.begin_task(worker)
    assert worker.read_model(start) == world.model()


def test_what_was_delivered_on_a_lost_connection_is_counted_once(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    worker.send(update, worker.payload(world.layout, 1.0))
    inner = world.transport._inner
    assert isinstance(inner, MemoryTransport)
    world.broker.drop(inner)  # the delivery is in the mailbox, before the disconnect
    world.step()
    assert world.ledger(update.update_id).copies == 0
    assert world.ready("update") == 0


def test_a_broker_that_restarts_is_met_again(make_world: MakeWorld) -> None:
    world = make_world()
    first = world.answer(world.somebody(), 1.0)
    world.broker.down()
    world.step()
    assert world.seen[-1].state == "connecting"
    world.broker.up()
    world.step()
    second = world.answer(world.somebody(), 3.0)
    assert world.verdict(first) == world.verdict(second) == "counted"
    assert world.weight() == 3.0


def test_a_model_that_a_worker_does_not_find_is_written_again(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, _ = world.begin_task(worker)
    people(world).delete(world.model_queue())
    world.step()
    worker.say_declined(task, "model gone: silence of 20 s")
    world.step()
    world.pass_to_wake()
    other = world.somebody()
    _, start = world.begin_task(other)
    assert other.read_model(start) == world.model(0)


def looks(world: World) -> int:
    """How often the current model was read back so far."""
    return world.transport.consumed.count(world.model_queue().name)


def test_a_model_is_looked_for_only_if_it_is_the_current_one_that_is_gone(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    old, other = world.worker("old"), world.worker("other")
    task, _ = world.begin_task(old)
    for name in "ab":
        world.answer(world.worker(name), 1.0)
    assert world.version == 1
    fresh, _ = world.begin_task(other)
    before = looks(world)
    old.say_declined(task, "model gone: it begins with another")  # it was given version 0
    old.say_declined(fresh, "model gone")  # another worker has it
    old.say_declined(replace(fresh, task_id="f" * 32), "model gone")  # there is no such task
    world.step()
    assert looks(world) == before
    other.say_declined(fresh, "model gone")
    world.step()
    assert looks(world) == before + 1
    other.say_declined(fresh, "model gone")  # it has said so
    world.step()
    assert looks(world) == before + 1


def test_a_broker_that_has_other_queues_stops_it_with_one_line(make_world: MakeWorld) -> None:
    world = make_world()
    other = people(world)
    other.delete(world.names.control_queue)
    other.declare(_with_another_control_queue(world))
    with pytest.raises(BrokerRefused, match="other arguments"):
        world.cut()


def _with_another_control_queue(world: World) -> Any:
    from broker.topology import Topology

    return Topology((), (Queue(world.names.control_queue.name, "quorum"),), ())


def test_connected_twice_before_it_looked_it_consumes_once(make_world: MakeWorld) -> None:
    world = make_world()
    inner = world.transport._inner
    assert isinstance(inner, MemoryTransport)
    for _ in range(3):
        world.broker.drop(inner)
    world.step()
    first, second = world.round(1.0, 3.0)
    assert world.ledger(first).copies == world.ledger(second).copies == 0
    assert world.weight() == 3.0


# publishes


def test_a_task_whose_publish_is_in_doubt_is_published_again_under_its_id(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.pass_time(1.0)
    world.broker.hold_confirms()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.finish_task(worker, task, start)
    doubtful = pool(world)[-1]
    world.cut()
    world.broker.release_confirms()
    world.step()
    assert pool(world)[1:] == [doubtful, doubtful]
    world.cut()
    assert pool(world)[1:] == [doubtful, doubtful]


def test_a_task_in_doubt_is_published_again_after_a_restart(make_world: MakeWorld) -> None:
    world = make_world()
    world.pass_time(1.0)
    world.broker.hold_confirms()
    world.round(1.0)
    doubtful = pool(world)[-1]
    world.restart()
    assert pool(world)[1:] == [doubtful, doubtful]


def test_a_confirmed_task_is_not_published_again_after_a_restart(make_world: MakeWorld) -> None:
    world = make_world()
    once = pool(world)
    assert len(once) == 2
    world.pass_to_wake()
    world.restart()
    world.pass_to_wake()
    assert pool(world) == once


def test_a_confirm_is_written_though_nothing_else_happens(
    make_world: MakeWorld, steps: Steps
) -> None:
    world = make_world()
    assert world.pass_to_wake() <= 1.0
    assert all(row.published for row in world.open_tasks())
    steps.names.clear()
    world.pass_time(5.0)
    assert steps.names == []


def test_a_task_that_came_back_is_published_when_there_is_a_queue(make_world: MakeWorld) -> None:
    world = make_world(rounds__concurrency=3)
    people(world).delete(world.names.task_queue)
    worker = world.somebody()
    world.now += 61.0
    world.step()  # no quorum: new tasks are offered, and come back
    del worker
    for _ in range(3):
        world.pass_time(1.0)
    assert world.ready("task") == 3
    assert {row.published for row in world.open_tasks()} <= {True, False}


def test_a_new_run_deletes_the_models_of_earlier_ones_and_wants_none_of_their_tasks(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    earlier = world.run_row().run_id
    stream = world.model_queue()
    world.restart(new_run=True)
    assert world.run_row().run_id != earlier
    assert world.broker.ready(stream) == 0
    worker = world.somebody()
    task, tag = worker.take()
    worker.transport.ack(tag)
    assert task.run_id == earlier
    assert not world.ask_start(worker, task).wanted
    assert world.begin_task(world.somebody())[0].run_id == world.run_row().run_id


@pytest.mark.parametrize("step", ["before delete", "after delete", "after declare"])
def test_a_new_run_that_is_killed_while_it_tidies_up_tidies_up_again(
    make_world: MakeWorld, steps: Steps, step: str
) -> None:
    world = make_world()
    stream = world.model_queue()
    world.kill()
    steps.kill_at_name(step)
    world.begin(new_run=True)
    assert steps.killed == step
    run_ids = {world.begin_task(world.somebody())[0].run_id for _ in range(2)}
    assert run_ids == {world.run_row().run_id}
    assert world.broker.ready(stream) == 0


def test_while_the_broker_is_not_reached_that_is_what_is_said(make_world: MakeWorld) -> None:
    world = make_world()
    assert world.service.look().state == "collecting"
    world.broker.down()
    world.step()
    assert world.service.look().state == "connecting"
    assert world.service.look().note
    world.broker.up()
    world.step()
    assert world.service.look().state == "collecting"
    assert not world.service.look().note
