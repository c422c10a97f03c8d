"""The pool of tasks does not grow, however long nobody comes."""

from __future__ import annotations

import pytest

from broker.transport import EXPIRES_MAX_S
from tests.coordinator.world import MakeWorld

CONCURRENCY = 3
DEADLINE_S = 60
LIFE = 100  # deadlines


def test_tasks_that_nobody_takes_do_not_pile_up(make_world: MakeWorld) -> None:
    world = make_world(
        rounds__concurrency=CONCURRENCY,
        rounds__deadline=f"{DEADLINE_S}s",
        rounds__max_extensions=1000,
    )
    most = 0
    for _ in range(3 * LIFE):
        world.pass_time(DEADLINE_S)
        most = max(most, world.ready("task"))
    assert LIFE * CONCURRENCY <= most <= (LIFE + 2) * CONCURRENCY
    assert len(world.open_tasks()) == CONCURRENCY
    assert world.ready("parked") == 0
    worker = world.somebody()
    assert world.has_verdict(world.answer(worker))  # behind those that are not wanted any more


@pytest.mark.parametrize(
    ("deadline", "life_s"), [("1s", 3600.0), ("10m", 60_000.0), ("365d", EXPIRES_MAX_S)]
)
def test_the_broker_is_told_how_long_a_task_may_wait(
    make_world: MakeWorld, deadline: str, life_s: float
) -> None:
    world = make_world(rounds__deadline=deadline)
    tasks = [m for m in world.transport.published if m.exchange == world.names.task_exchange]
    assert {message.expires_s for message in tasks} == {life_s}


def test_an_open_task_that_waited_for_too_long_is_offered_anew(make_world: MakeWorld) -> None:
    world = make_world(
        rounds__concurrency=CONCURRENCY, rounds__deadline="1m", rounds__max_extensions=0
    )
    world.pass_time(DEADLINE_S)
    assert world.state == "paused"
    before = {row.task_id for row in world.open_tasks()}
    world.pass_time(LIFE * DEADLINE_S + 1)
    assert world.ready("task") == world.ready("parked") == 0
    for _ in range(2):
        world.somebody().say_present()
    world.step()
    after = {row.task_id for row in world.open_tasks()}
    assert len(after) == CONCURRENCY == world.ready("task")
    assert not before & after


def test_a_task_that_was_taken_does_not_end_with_its_time_in_the_pool(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__deadline="1m", rounds__lease="10h", rounds__max_extensions=1000)
    worker = world.somebody()
    task, tag = worker.take()
    start = world.ask_start(worker, task)
    world.pass_time(LIFE * DEADLINE_S + 1)
    worker.take_back(tag)  # the worker was lost before it had stored the task
    world.broker.expire()
    world.step()
    assert world.task_row(task.task_id).state == "taken"
    assert world.has_verdict(world.finish_task(worker, task, start))
