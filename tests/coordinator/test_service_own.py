"""Direct dispatch over the broker: each worker's own queue, and what is in it."""

from __future__ import annotations

from typing import Any

import pytest

from broker.memory import MemoryTransport
from broker.topology import Queue, Topology
from broker.transport import Outgoing
from coordinator.offering import PUT_AGAIN_S
from coordinator.ownqueues import KNOWN_S
from schemas.digest import update_id_of
from schemas.messages import Standing, Start, Task
from tests.coordinator.feeder import Feeder
from tests.coordinator.test_service_direct import InOrder, direct, row_of, start
from tests.coordinator.world import MakeWorld, World


def own(worker: Feeder) -> Queue:
    return worker.names.worker_queue(worker.worker_id)


def there(world: World, worker: Feeder, *updates: str, **says: Any) -> Standing:
    """A worker says that it is there, and is answered."""
    token = worker.say_present(*updates, **says)
    world.step()
    return worker.standing_of(token)


def fetch(world: World, worker: Feeder) -> tuple[Task, Start]:
    """A worker takes the task of its own queue and is told what to train on."""
    found = worker.take_own()
    assert found is not None, "its own queue is empty"
    task, tag = found
    start_of = world.ask_start(worker, task)
    worker.transport.ack(tag)
    return task, start_of


def puts(world: World, worker: Feeder) -> list[Outgoing]:
    """What was put into a worker's own queue since the coordinator began."""
    key = world.names.worker_key(worker.worker_id)
    return [message for message in world.transport.published if message.routing_key == key]


def stranger(world: World) -> MemoryTransport:
    transport = MemoryTransport(world.broker, lambda event: None, "stranger")
    transport.start()
    return transport


def test_each_drawn_worker_finds_a_task_of_its_own_and_the_pool_stays_empty(
    make_world: MakeWorld,
) -> None:
    world, _ = direct(make_world, "ab")
    for name in "ab":
        worker = world.worker(name)
        task, start_of = fetch(world, worker)
        assert task.task_id == row_of(world, name).task_id
        assert (task.base_version, start_of.base_version) == (0, 0)
        assert worker.read_model(start_of) == world.model(0)
    assert world.ready("task") == 0
    assert {row.published for row in world.open_tasks()} == {True}


def test_a_worker_is_sent_to_its_own_queue_once_that_is_there(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "")
    worker = world.worker("a")
    assert not world.broker.store.has(own(worker).name)
    standing = there(world, worker)
    assert (standing.queue, standing.may_take) == ("own", True)
    assert world.broker.store.has(own(worker).name)
    assert (own(worker).kind, own(worker).max_length) == ("classic", 1)


def test_in_the_pool_nobody_gets_a_queue_of_its_own(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.worker("a")
    assert there(world, worker).queue == "pool"
    assert not world.broker.store.has(own(worker).name)


def test_a_worker_that_says_goodbye_gets_no_queue(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "")
    worker = world.worker("a")
    worker.say_present(leaving=True)
    world.step()
    assert not world.broker.store.has(own(worker).name)


def test_what_a_worker_did_for_a_version_keeps_it_from_nothing_in_its_own_queue(
    make_world: MakeWorld,
) -> None:
    world, _ = direct(make_world, "ab")
    worker = world.worker("a")
    world.finish_task(worker, *fetch(world, worker))
    run_id = world.run_row().run_id
    assert there(world, worker, run_id=run_id, last_version=0).may_take


def test_a_task_whose_queue_was_lost_is_put_there_again_when_its_worker_is_there(
    make_world: MakeWorld,
) -> None:
    world, _ = direct(make_world, "ab", rounds__lease="1h", rounds__deadline="2h")
    worker = world.worker("a")
    stranger(world).delete(own(worker))
    assert worker.take_own() is None
    world.now += KNOWN_S
    there(world, worker)
    task, _ = fetch(world, worker)
    assert task.task_id == row_of(world, "a").task_id


def test_a_task_that_a_worker_did_not_find_is_put_there_again(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "ab")
    worker = world.worker("a")
    stranger(world).purge(own(worker))
    world.pass_time(PUT_AGAIN_S)
    there(world, worker)
    assert world.broker.ready(own(worker)) == 1
    assert {m.message_id for m in puts(world, worker)} == {row_of(world, "a").task_id}


def test_a_task_that_was_put_there_just_now_is_not_put_there_again(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "ab")
    worker = world.worker("a")
    there(world, worker)
    assert len(puts(world, worker)) == 1


def test_however_often_a_task_is_put_there_one_waits(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "ab", rounds__lease="1h", rounds__deadline="2h")
    worker = world.worker("a")
    for _ in range(5):
        world.pass_time(PUT_AGAIN_S)
        there(world, worker)
    assert len(puts(world, worker)) == 6
    assert world.broker.ready(own(worker)) == 1
    assert world.ready("parked") == 0


def test_who_has_its_task_or_has_done_it_is_not_given_it_again(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "ab")
    worker = world.worker("a")
    task, _ = fetch(world, worker)
    world.pass_time(PUT_AGAIN_S)
    there(world, worker, busy=True)
    there(world, worker, update_id_of(task.incarnation, task.task_id, "a"))
    assert len(puts(world, worker)) == 1
    there(world, worker)  # its state folder is gone: it knows of no task
    assert len(puts(world, worker)) == 2


def test_a_task_leaves_its_queue_when_its_lease_ends(make_world: MakeWorld) -> None:
    world, selector = direct(make_world, "ab", rounds__lease="30s", rounds__deadline="10m")
    worker = world.worker("a")
    (message,) = puts(world, worker)
    assert message.expires_s == 30.0
    selector.names = []
    world.pass_time(30.0)
    assert world.broker.ready(own(worker)) == 0
    assert world.ready("parked") == 0, "nobody misses it"


def test_a_newer_task_takes_the_place_of_one_that_was_not_fetched(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "ab", rounds__lease="30s", rounds__deadline="10m")
    worker = world.worker("a")
    old = row_of(world, "a").task_id
    for seconds in (30.0, 10.0):  # its lease ends, and the same worker is drawn again
        world.now += seconds
        world.step()
    task, start_of = fetch(world, worker)
    assert task.task_id != old
    assert start_of.wanted
    assert worker.take_own() is None


def test_a_queue_that_the_broker_refuses_leaves_the_task_offered_and_everyone_else_at_work(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(begin=False, rounds__dispatch="direct")
    outsider = stranger(world)
    squatted = Queue(world.names.worker_queue("a").name, "quorum")
    outsider.declare(Topology((), (squatted,), ()))
    start(world, InOrder(world, "ab"))
    row = row_of(world, "a")
    assert (row.state, row.published) == ("offered", False)
    assert "worker a has no queue of its own" in caplog.text
    fetch(world, world.worker("b"))
    standing = there(world, world.worker("a"))
    assert standing.queue == "own", "it finds nothing there, and waits"
    outsider.delete(squatted)
    world.pass_time(PUT_AGAIN_S)
    there(world, world.worker("a"))
    assert fetch(world, world.worker("a"))[0].task_id == row.task_id


def test_a_task_that_no_queue_took_is_published_once_there_is_one(make_world: MakeWorld) -> None:
    world, selector = direct(make_world, "")
    worker = world.worker("a")
    there(world, worker)
    stranger(world).delete(own(worker))
    selector.names = ["a"]
    world.pass_time(0.5)
    assert row_of(world, "a").state == "offered"
    assert not row_of(world, "a").published
    world.pass_time(1.0)
    task, _ = fetch(world, worker)
    assert task.task_id == row_of(world, "a").task_id


def test_after_a_reconnect_what_is_in_doubt_is_published_again(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "ab")
    worker = world.worker("a")
    stranger(world).delete(own(worker))
    world.broker.hold_confirms()
    world.cut()
    world.broker.release_confirms()
    world.step()
    there(world, worker)
    assert fetch(world, worker)[0].task_id == row_of(world, "a").task_id


def test_a_task_that_was_stored_and_not_published_is_published_by_the_next_process(
    make_world: MakeWorld,
) -> None:
    world, selector = direct(make_world, "")
    there(world, world.worker("x"))
    selector.names = ["a"]
    world.steps.kill_at_name("before provide")
    world.pass_time(0.5)
    assert world.steps.killed
    task_id = row_of(world, "a").task_id
    assert fetch(world, world.worker("a"))[0].task_id == task_id


def test_a_direct_task_is_trained_on_the_version_that_it_pins(make_world: MakeWorld) -> None:
    world, selector = direct(make_world, "abc", rounds__concurrency=3, rounds__lease="1h")
    slow = world.worker("c")
    selector.names = []
    for name in "ab":
        worker = world.worker(name)
        world.finish_task(worker, *fetch(world, worker), 1.0)
    assert world.version == 1
    task, start_of = fetch(world, slow)
    assert (start_of.wanted, start_of.base_version) == (True, 0)
    assert start_of.model_digest == world.version_row(0).digest
    assert slow.read_model(start_of) == world.model(0)
    update_id = world.finish_task(slow, task, start_of)
    row = world.ledger(update_id)
    assert (row.verdict, row.staleness) == ("counted", 1)


def test_a_pinned_version_that_the_stream_has_lost_is_not_found_and_another_is_drawn(
    make_world: MakeWorld,
) -> None:
    world, selector = direct(make_world, "abc", rounds__concurrency=3, rounds__lease="1h")
    slow = world.worker("c")
    selector.names = []
    for name in "ab":
        worker = world.worker(name)
        world.finish_task(worker, *fetch(world, worker), 1.0)
    stranger(world).delete(world.model_queue())
    world.cut()
    task, start_of = fetch(world, slow)
    assert start_of.base_version == 0
    assert slow.read_model(start_of) is None
    selector.names = ["d"]
    slow.say_declined(task, "model gone: it begins with another")
    world.step()
    fresh = row_of(world, "d")
    assert (fresh.base_version, fresh.state) == (1, "offered")
    other = world.worker("d")
    assert other.read_model(fetch(world, other)[1]) == world.model(1)
