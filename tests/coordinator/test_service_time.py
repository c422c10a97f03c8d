"""Leases, deadlines, pauses and the end, and what of them survives a restart."""

from __future__ import annotations

import pytest

from coordinator.restoring import GRACE_S
from tests.coordinator.world import MakeWorld, World


def until(world: World, seconds: float) -> None:
    """Let time pass as it does: in steps, each of which is looked at."""
    end = world.now + seconds
    while (wake := world.service.wake_at()) is not None and wake < end:
        world.pass_time(max(wake - world.now, 0.0))
    world.pass_time(end - world.now)


# leases


def test_a_lease_that_ends_offers_a_task_in_its_place(make_world: MakeWorld) -> None:
    world = make_world()
    task, _ = world.begin_task(world.somebody())
    until(world, 30.0)
    assert world.task_row(task.task_id).state == "lapsed"
    assert world.task_row(task.task_id).replaced
    (replacement,) = [row for row in world.open_tasks() if row.replaces]
    assert replacement.replaces == task.task_id
    while True:
        offered, tag = world.somebody().take()
        if offered.replaces:
            break
    assert offered.task_id == replacement.task_id
    assert tag


def test_a_lease_goes_on_over_a_restart(make_world: MakeWorld) -> None:
    world = make_world()
    task, _ = world.begin_task(world.somebody())
    until(world, 20.0)
    world.restart()
    until(world, 9.0)
    assert world.task_row(task.task_id).state == "taken"
    until(world, 1.5)
    assert world.task_row(task.task_id).state == "lapsed"


def test_an_answer_after_its_lease_counts_beside_that_of_its_replacement(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__goal=3, rounds__concurrency=3)
    slow = world.worker("slow")
    task, start = world.begin_task(slow)
    until(world, 31.0)
    world.round(1.0, 1.0)
    assert world.verdict(world.finish_task(slow, task, start, 4.0)) == "counted"
    assert world.task_row(task.task_id).state == "answered"
    assert world.weight(1) == 3.0


# deadlines


def test_a_deadline_with_quorum_makes_a_version(make_world: MakeWorld) -> None:
    world = make_world()
    world.round(2.0)
    until(world, 59.0)
    assert world.version == 0
    until(world, 1.0)
    assert (world.version, world.weight()) == (1, 3.0)
    assert world.version_row(1).why == "deadline"


def test_a_deadline_goes_on_over_a_restart(make_world: MakeWorld) -> None:
    world = make_world()
    world.round(2.0)
    until(world, 40.0)
    world.restart()
    until(world, 19.5)
    assert world.version == 0
    until(world, 0.5)
    assert (world.version, world.weight()) == (1, 3.0)


def test_a_deadline_that_passed_while_it_was_down_closes_the_round(make_world: MakeWorld) -> None:
    world = make_world()
    world.round(2.0)
    world.kill()
    world.now += 3600.0
    world.begin()
    until(world, GRACE_S)
    assert (world.version, world.weight()) == (1, 3.0)


def test_who_answered_in_time_while_it_was_down_is_not_late(make_world: MakeWorld) -> None:
    world = make_world(rounds__late="refuse")
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.kill()
    update = worker.update(task, start, world.layout, 1.0)
    worker.send(update, worker.payload(world.layout, 1.0))
    world.now += 10 * 86400.0  # the lease and many deadlines are over, or its clock is wrong
    world.begin()
    until(world, GRACE_S / 2)
    assert world.verdict(update.update_id) == "counted"


def test_a_deadline_that_passed_while_it_was_down_waits_for_what_had_come(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.round(1.0)  # a quorum
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.kill()
    update = worker.update(task, start, world.layout, 1.0)
    worker.send(update, worker.payload(world.layout, 1.0))
    world.now += 3600.0
    world.begin()
    until(world, GRACE_S / 2)
    assert world.ledger(update.update_id).round_version == 0


def test_a_clock_that_was_far_behind_when_a_run_began_does_not_end_it(
    make_world: MakeWorld,
) -> None:
    world = make_world(run__max_seconds=36_000)
    world.round(1.0)
    world.now += 56 * 365 * 86400.0  # the right time came when the network did
    world.restart()
    assert world.state == "collecting"
    world.round(1.0)
    assert world.version == 1


def test_a_run_ends_after_the_time_that_it_was_run_for(make_world: MakeWorld) -> None:
    world = make_world(run__max_seconds=600, rounds__deadline="1d", rounds__max_extensions=9)
    for _ in range(4):
        world.pass_time(130.0)
        world.restart()
        assert world.state == "collecting"
        world.now += 86400.0
        world.restart()
    world.pass_time(130.0)
    assert world.state == "draining"


def test_extensions_are_remembered_over_restarts(make_world: MakeWorld) -> None:
    world = make_world(rounds__max_extensions=2)
    for extensions in (1, 2):
        until(world, 60.0)
        world.restart()
        assert world.run_row().extensions == extensions
    until(world, 60.0)
    assert world.state == "paused"
    world.restart()
    assert world.state == "paused"


def test_a_paused_run_goes_on_when_a_worker_is_seen(make_world: MakeWorld) -> None:
    world = make_world(rounds__max_extensions=0)
    until(world, 60.0)
    assert world.state == "paused"
    worker = world.somebody()
    token = worker.say_present()
    world.step()
    assert world.state == "collecting"
    assert worker.standing_of(token).may_take
    world.finish_task(worker, *world.begin_task(worker), 2.0)
    until(world, 60.0)
    assert world.weight() == 3.0


def test_a_paused_run_keeps_its_sum_over_a_restart(make_world: MakeWorld) -> None:
    world = make_world(
        rounds__goal=3, rounds__quorum=2, rounds__concurrency=3, rounds__max_extensions=0
    )
    world.round(2.0)
    until(world, 60.0)
    assert world.state == "paused"
    world.restart()
    world.round(4.0)
    until(world, 60.0)
    assert (world.version, world.weight()) == (1, 4.0)


def test_a_quorum_lowered_below_what_was_counted_lets_a_paused_run_go_on(
    make_world: MakeWorld,
) -> None:
    world = make_world(
        rounds__goal=3, rounds__quorum=2, rounds__concurrency=3, rounds__max_extensions=0
    )
    world.round(2.0)
    until(world, 60.0)
    world.change(rounds__quorum=1)
    world.restart()
    assert (world.version, world.weight()) == (1, 3.0)


@pytest.mark.parametrize("jump", [-1e6, -3600.0, 0.0])
def test_a_clock_that_went_back_between_two_starts_starves_nobody(
    make_world: MakeWorld, jump: float
) -> None:
    world = make_world()
    world.round(2.0)
    task, _ = world.begin_task(world.somebody())
    world.kill()
    world.now += jump
    world.begin()
    until(world, 30.0)
    assert world.task_row(task.task_id).state == "lapsed"
    until(world, 30.0)
    assert (world.version, world.weight()) == (1, 3.0)


def test_more_tasks_in_flight_after_a_restart_are_offered_at_once(make_world: MakeWorld) -> None:
    world = make_world()
    world.change(rounds__concurrency=5)
    world.restart()
    assert len(world.open_tasks()) == 5
    assert world.ready("task") >= 5


# the end


def test_the_last_version_drains_and_ends(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=1)
    world.round(1.0, 1.0)
    assert world.state == "draining"
    assert world.ready("task") == 0
    until(world, 29.0)
    assert world.state == "draining"
    until(world, 1.0)
    assert world.state == "ended"
    assert world.run_row().state == "ended"


def test_a_run_that_ended_says_so_and_records_what_still_comes(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=1, rounds__concurrency=3)
    slow = world.worker("slow")
    began = world.begin_task(slow)
    world.round(1.0, 1.0)
    until(world, 31.0)
    assert world.state == "ended"
    world.restart()
    assert world.service.finished_before
    until(world, 20.0)
    assert world.state == "draining"
    assert world.verdict(world.finish_task(slow, *began)) == "after end"
    until(world, 31.0)
    assert world.state == "ended"
    assert world.weight() == 2.0


def test_rounds_added_to_a_run_that_ended_are_made(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=1)
    world.round(1.0, 1.0)
    until(world, 31.0)
    world.change(run__rounds=2)
    world.restart()
    assert (world.state, world.version) == ("collecting", 1)
    assert world.run_row().ended_at is None
    world.round(1.0, 1.0)
    assert (world.state, world.version, world.weight()) == ("draining", 2, 3.0)


def test_rounds_added_survive_a_kill_at_once(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=1)
    world.round(1.0, 1.0)
    until(world, 31.0)
    world.change(run__rounds=2)
    world.kill()
    world.steps.kill_at_name("before commit")
    world.begin()
    world.restart()
    world.round(1.0, 1.0)
    assert (world.version, world.weight()) == (2, 3.0)


def test_time_that_is_up_ends_the_run_with_what_it_has(make_world: MakeWorld) -> None:
    world = make_world(run__max_seconds=100.0, rounds__deadline="10d")
    world.round(2.0)
    until(world, 100.0)
    assert (world.state, world.version, world.weight()) == ("draining", 1, 3.0)


def test_time_added_to_a_run_that_ran_out_of_it_lets_it_go_on(make_world: MakeWorld) -> None:
    world = make_world(run__max_seconds=100.0, rounds__deadline="10d", rounds__lease="10d")
    until(world, 131.0)
    assert (world.state, world.version) == ("ended", 0)
    world.restart()
    assert world.state == "draining"
    world.change(run__max_seconds=1000.0)
    world.restart()
    assert world.state == "collecting"
    world.round(1.0, 1.0)
    assert world.version == 1


# the adaptive deadline


def timed_round(world: World, *seconds: float) -> None:
    """A round to its goal, whose tasks took so long."""
    for duration_s in seconds:
        worker = world.somebody()
        task, start = world.begin_task(worker)
        world.pass_time(duration_s)
        world.finish_task(worker, task, start)


def test_a_round_waits_as_long_as_tasks_were_seen_to_take_also_after_a_restart(
    make_world: MakeWorld,
) -> None:
    world = make_world(
        rounds__goal=10,
        rounds__concurrency=20,
        rounds__deadline="600s",
        rounds__lease="900s",
        rounds__adaptive_deadline=0.9,
    )
    assert world.run_row().deadline_at - world.run_row().opened_at == 600.0
    seconds = [float(number) for number in range(11, 21)]
    timed_round(world, *seconds[:5])
    known = world.service._run.state.run.durations
    world.restart()
    assert world.service._run.state.run.durations == known == tuple(seconds[:5])
    timed_round(world, *seconds[5:])
    assert world.version == 1
    assert world.run_row().deadline_at - world.run_row().opened_at == 19.0
