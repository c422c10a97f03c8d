"""The service over the memory transport: rounds from the first task to the last version."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from broker.memory import MemoryTransport
from broker.transport import Answered, Delivered, Disconnected, Event
from coordinator.errors import CoordinatorError, Restored
from coordinator.progress import Progress
from coordinator.service import CoordinatorService
from coordinator.work import Work
from schemas.messages import Start, Taken, Task, decode
from settings.health import Health
from tests.coordinator.world import MakeWorld, World

WAIT_S = 30.0


def test_two_answers_make_the_next_version(make_world: MakeWorld) -> None:
    world = make_world()
    first, second = world.round(1.0, 3.0)
    assert world.verdict(first) == world.verdict(second) == "counted"
    assert world.version == 1
    assert world.weight() == 1.0 + 2.0


def test_updates_weigh_by_their_examples(make_world: MakeWorld) -> None:
    world = make_world(rounds__max_examples=30)
    for value, examples in ((1.0, 10), (5.0, 1000)):
        worker = world.somebody()
        task, start = world.begin_task(worker)
        update = worker.update(task, start, world.layout, value)
        worker.send(replace(update, num_examples=examples), worker.payload(world.layout, value))
        world.step()
    assert world.weight() == 1.0 + (10 * 1.0 + 30 * 5.0) / 40


def test_what_is_shown_follows_the_run(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=1)
    assert [p.state for p in world.seen][-1] == "collecting"
    world.round(1.0)
    look = world.seen[-1]
    assert (look.state, look.version, look.counted, look.goal) == ("collecting", 0, 1, 2)
    assert (look.open_tasks, look.updates) == (2, {"counted": 1})
    world.round(1.0)
    assert (world.seen[-1].state, world.seen[-1].version) == ("draining", 1)


# on its own thread and clock


class Live:
    """A service that runs."""

    def __init__(self, world: World) -> None:
        self.changed = threading.Condition()
        self.looks: list[Progress] = []
        self.service = CoordinatorService(
            world.settings(),
            lambda post: MemoryTransport(world.broker, post, "live"),
            self._see,
        )
        self._pool = ThreadPoolExecutor(1)
        self.end: Future[Progress] = self._pool.submit(self.service.run)
        self._pool.shutdown(wait=False)

    def _see(self, progress: Progress) -> None:
        with self.changed:
            self.looks.append(progress)
            self.changed.notify_all()

    def wait(self, condition: Callable[[Progress], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(
                lambda: bool(self.looks) and condition(self.looks[-1]), WAIT_S
            )


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(begin=False, run__rounds=1, rounds__goal=1, rounds__drain="0s")


def test_it_runs_from_the_first_task_to_the_end(world: World) -> None:
    live = Live(world)
    live.wait(lambda look: look.state == "collecting")
    mailbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    worker = world.somebody()
    worker.transport.client.post = mailbox.put
    worker.transport.consume(world.names.task_queue, 1)
    while not isinstance(delivered := mailbox.get(timeout=WAIT_S), Delivered):
        pass
    task, _ = decode(delivered.body)
    assert isinstance(task, Task)
    worker.say_taken(task)
    while not isinstance(answered := mailbox.get(timeout=WAIT_S), Answered):
        pass
    start, _ = decode(answered.body)
    assert isinstance(start, Start)
    update = worker.update(task, start, world.layout, 2.0)
    worker.send(update, worker.payload(world.layout, 2.0))
    end = live.end.result(WAIT_S)
    assert (end.state, end.version, end.updates) == ("ended", 1, {"counted": 1})
    assert world.weight() == 3.0


def test_stopped_it_ends_and_goes_on_at_the_next_start(world: World) -> None:
    live = Live(world)
    live.wait(lambda look: look.state == "collecting")
    live.service.stop()
    assert live.end.result(WAIT_S).state == "collecting"
    world.begin()
    world.round(2.0)
    assert world.weight() == 3.0


def test_what_stops_it_comes_out_and_nothing_stays_open(world: World) -> None:
    live = Live(world)
    live.wait(lambda look: look.state == "collecting")
    run_id, incarnation = world.run_row().run_id, world.read(Work.incarnation) + 1
    world.somebody().ask("taken", Taken(run_id, "0" * 32, "w1", incarnation))
    error = live.end.exception(WAIT_S)
    assert isinstance(error, Restored)
    assert isinstance(error, CoordinatorError)
    world.begin(restored=True)
    world.round(2.0)
    assert world.weight() == 3.0


def test_a_worker_is_told_how_strongly_to_hold_its_training(make_world: MakeWorld) -> None:
    world = make_world(algorithm__prox_mu=0.25)
    assert world.begin_task(world.somebody())[1].prox_mu == 0.25
    world = make_world()
    assert world.begin_task(world.somebody())[1].prox_mu == 0.0


def health_of(world: World) -> Health:
    replies: list[Health] = []
    world.service.ask_health(replies.append)
    world.step()
    (health,) = replies
    return health


def test_a_coordinator_that_collects_is_well(make_world: MakeWorld) -> None:
    world = make_world()
    world.round(1.0, 3.0)
    assert health_of(world) == Health(True, "version 1 of 3, collecting")


def test_a_coordinator_without_a_broker_is_not_well_and_says_why(make_world: MakeWorld) -> None:
    world = make_world()
    world.service._mailbox.put(Disconnected("the broker closed the connection", 1.0))
    world.step()
    assert health_of(world) == Health(False, "version 0 of 3: the broker closed the connection")
