"""Who was refused may try again, but not without end; and a task that the broker lost is missed."""

from __future__ import annotations

import pytest

from coordinator.run import DEADLINES_PAUSED
from coordinator.tries import ON_ITS_WAY_S
from tests.coordinator.feeder import Feeder
from tests.coordinator.world import MakeWorld, World


def may_take(world: World, worker: Feeder, *sent: str) -> bool:
    """What a worker that has trained on version 0 is told; `sent` has no verdict that it knows."""
    token = worker.say_present(*sent, run_id=world.run_row().run_id, last_version=0)
    world.step()
    return worker.standing_of(token).may_take


def refused(world: World, worker: Feeder) -> None:
    assert world.verdict(world.answer(worker, 100.0)) == "over-norm"


def make_strict(make_world: MakeWorld) -> World:
    """A quorum of two workers, and a ceiling."""
    return make_world(rounds__quorum=2, rounds__max_norm=5.0, rounds__max_extensions=1)


def test_who_was_refused_for_its_data_may_try_again_when_the_round_is_extended(
    make_world: MakeWorld,
) -> None:
    world = make_strict(make_world)
    a, b = world.worker("a"), world.worker("b")
    world.answer(a, 1.0)
    refused(world, b)
    assert not may_take(world, b)
    world.pass_time(60.0)
    assert not may_take(world, a), "it has counted"
    assert may_take(world, b)
    world.answer(b, 1.0)
    assert world.version == 1


def test_one_that_is_refused_again_and_again_does_not_keep_a_run_from_its_pause(
    make_world: MakeWorld,
) -> None:
    world = make_strict(make_world)
    a, b = world.worker("a"), world.worker("b")
    world.answer(a, 1.0)
    for _ in range(2):
        refused(world, b)
        world.pass_time(60.0)
    assert world.state == "paused"
    for _ in range(5):
        world.pass_time(60.0)
        assert not may_take(world, b)
        assert not may_take(world, a)
    assert world.state == "paused"
    offered = world.tasks_made()
    world.pass_time(DEADLINES_PAUSED * 60.0)
    assert world.state == "paused"
    assert may_take(world, b), "it may have been mended"
    assert world.state == "collecting"
    assert world.tasks_made() <= offered + 1
    world.answer(b, 1.0)
    assert world.version == 1


def test_another_worker_ends_the_pause_at_once(make_world: MakeWorld) -> None:
    world = make_strict(make_world)
    world.answer(world.worker("a"), 1.0)
    refused(world, world.worker("b"))
    world.pass_time(60.0)
    world.pass_time(60.0)
    assert world.state == "paused"
    world.answer(world.worker("c"), 1.0)
    assert world.version == 1


@pytest.mark.parametrize("late", ["weigh", "refuse"])
def test_who_gives_a_task_up_after_its_lease_is_not_waited_for(
    make_world: MakeWorld, late: str
) -> None:
    world = make_world(rounds__late=late, rounds__quorum=2, rounds__deadline="10m")
    worker = world.worker("a")
    task, start = world.begin_task(worker)
    assert not may_take(world, worker)
    world.pass_time(31.0)
    assert world.task_row(task.task_id).state == "lapsed"
    assert may_take(world, worker), "it does not say that it has sent anything"
    sent = worker.update(task, start, world.layout, 1.0).update_id
    assert may_take(world, worker, sent) == (late == "refuse"), "it is on its way, and may count"
    worker.say_declined(task, "crashed 3 times on it")
    world.step()
    assert world.task_row(task.task_id).state == "declined"
    assert may_take(world, worker, sent)


def test_an_update_that_never_comes_is_not_waited_for_for_ever(make_world: MakeWorld) -> None:
    """A backup was put back, and nobody told: what it lost is still said to be on its way."""
    world = make_world(rounds__late="weigh", rounds__quorum=2, rounds__deadline="1d")
    worker = world.worker("a")
    task, start = world.begin_task(worker)
    lost = worker.update(task, start, world.layout, 1.0)
    world.pass_time(31.0)
    assert not may_take(world, worker, lost.update_id)
    world.pass_time(ON_ITS_WAY_S)
    assert may_take(world, worker, lost.update_id)
    assert world.verdict(world.answer(worker, 1.0)) == "counted"


def test_a_task_that_the_broker_lost_is_offered_again_though_quorums_are_met(
    make_world: MakeWorld,
) -> None:
    world = make_world(
        run__rounds=30, rounds__goal=3, rounds__quorum=2, rounds__concurrency=3, rounds__lease="1d"
    )
    thief = world.somebody()
    lost, tag = thief.take()
    thief.transport.ack(tag)  # and nobody has stored it
    for _ in range(2):
        world.round(1.0, 1.0)
        world.pass_time(60.0)
    assert world.version == 2
    row = world.task_row(lost.task_id)
    assert (row.state, row.replaced) == ("ended", True)
    world.round(1.0, 1.0, 1.0)
    assert world.version == 3, "the goal can be met again"
