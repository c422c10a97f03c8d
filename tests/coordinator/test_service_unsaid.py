"""Workers that begin a task on what they were told, and may never say that they have it."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from coordinator.explaining.asked import explain
from coordinator.telling import DEADLINE_NEAR_S
from coordinator.tries import ON_ITS_WAY_S
from schemas.messages import Base, Standing, Start, Task, Update
from tests.coordinator.feeder import Feeder
from tests.coordinator.test_service_direct import direct, hold
from tests.coordinator.test_service_time import until
from tests.coordinator.world import MakeWorld, World
from worker import unsaid


def told(world: World, worker: Feeder) -> Standing:
    """What a worker is told that says that it is there."""
    token = worker.say_present()
    world.step()
    return worker.standing_of(token)


def begun(world: World, worker: Feeder) -> tuple[Task, Start]:
    """A worker takes a task of the pool, and begins it on what it was told."""
    standing = told(world, worker)
    task, _ = worker.take()
    return task, start_of(standing, task)


def start_of(standing: Standing, task: Task) -> Start:
    """What a worker makes of what it was told."""
    start = unsaid.start_of(unsaid.Told(standing, 0.0), task, 0.0)
    assert start is not None
    return start


def sent(world: World, worker: Feeder, task: Task, start: Start, train_s: float) -> str:
    update = replace(worker.update(task, start, world.layout, 1.0), train_s=train_s)
    worker.send(update, worker.payload(world.layout, 1.0))
    world.step()
    return update.update_id


# What they are told.


def test_who_may_take_a_task_is_told_what_a_start_would_say(make_world: MakeWorld) -> None:
    world = make_world(algorithm__prox_mu=0.25)
    worker = world.somebody()
    task, start = begun(world, worker)
    asked = world.ask_start(worker, task)
    for name in {field.name for field in fields(Start)} - {"time_s", "lease_s"}:
        assert getattr(start, name) == getattr(asked, name), name
    assert start.lease_s == pytest.approx(asked.lease_s)
    assert worker.read_model(start) == world.model(0)


def test_who_waits_is_told_of_the_next_version_likewise(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    world.finish_task(worker, *world.begin_task(worker))
    token = worker.say_present(run_id=world.run_row().run_id, last_version=0, incarnation=1)
    world.step()
    assert worker.standing_of(token).base is None  # it may take none
    world.round(1.0)
    base = worker.standing_of(token).base
    assert base is not None
    assert base.model_digest == world.version_row(1).stream_digest


def test_with_a_deadline_that_is_near_a_worker_is_to_ask(make_world: MakeWorld) -> None:
    world = make_world(rounds__deadline="20s", rounds__quorum=1)
    until(world, 20.0 - DEADLINE_NEAR_S - 0.5)
    assert told(world, world.somebody()).base is not None
    until(world, 1.0)
    standing = told(world, world.somebody())
    assert standing.may_take
    assert standing.base is None


def test_while_nobody_knows_where_the_model_lies_a_worker_is_to_ask(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    monkeypatch.setattr(type(world.service._connection), "offset", property(lambda _: None))
    standing = told(world, world.somebody())
    assert standing.may_take
    assert standing.base is None


def test_the_lease_of_a_direct_task_is_what_is_left_of_it(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "ab")
    worker, task = hold(world, "a")
    until(world, 12.0)
    base = told(world, worker).base
    assert base is not None
    lease_end = world.task_row(task.task_id).lease_end
    assert lease_end is not None
    assert base.lease_s == pytest.approx(lease_end - world.now)


def test_what_is_told_is_a_part_of_what_a_start_says() -> None:
    assert {field.name for field in fields(Base)} <= {field.name for field in fields(Start)}


# What is known of a task that nobody said was taken.


def test_its_update_says_who_took_it_and_when(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = begun(world, worker)
    until(world, 5.0)
    assert world.verdict(sent(world, worker, task, start, train_s=2.0)) == "counted"
    row = world.task_row(task.task_id)
    assert (row.state, row.worker_id, row.base_version) == ("answered", worker.worker_id, 0)
    assert row.taken_at == world.now - 2.0
    words = " ".join(explain(world.settings(), task.task_id, world.now)[0].words)
    assert f"Worker {worker.worker_id} took it" in words


@pytest.mark.parametrize(("train_s", "had_s"), [(1e9, 5.0), (-3.0, 0.0)])
def test_what_an_update_says_of_its_training_is_believed_within_reason(
    make_world: MakeWorld, train_s: float, had_s: float
) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = begun(world, worker)
    until(world, 5.0)
    sent(world, worker, task, start, train_s)
    (duration_s,) = world.service._run.state.run.durations
    assert duration_s == pytest.approx(had_s, abs=0.5)


def test_where_somebody_said_it_that_stands(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    taken_at = world.task_row(task.task_id).taken_at
    until(world, 5.0)
    sent(world, worker, task, start, train_s=2.0)
    assert world.task_row(task.task_id).taken_at == taken_at


def test_of_two_that_had_it_both_count(make_world: MakeWorld) -> None:
    """The broker offered it again: the first lost its connection before it was done."""
    world = make_world()
    first, second = world.somebody(), world.somebody()
    task, start = begun(world, first)
    other = world.ask_start(second, task)
    for worker, its in ((second, other), (first, start)):
        assert world.verdict(sent(world, worker, task, its, train_s=0.1)) == "counted"
    assert world.task_row(task.task_id).worker_id == second.worker_id
    assert world.version == 1


def test_who_says_it_after_its_update_is_told_that_it_is_not_wanted(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = begun(world, worker)
    sent(world, worker, task, start, train_s=0.1)
    assert not world.ask_start(worker, task).wanted


def test_it_was_taken_in_its_turn_so_that_what_came_before_it_is_known_to_be_lost(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__concurrency=3, rounds__quorum=1, rounds__deadline="20s")
    lost, _ = world.somebody().take()
    worker = world.somebody()
    task, start = begun(world, worker)
    sent(world, worker, task, start, train_s=0.1)
    until(world, 20.0)
    assert world.version == 1
    assert world.task_row(lost.task_id).reason == "later tasks were taken before it"


def test_a_direct_task_is_its_workers_and_now_taken(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "ab")
    worker, task = hold(world, "a")
    start = start_of(told(world, worker), task)
    until(world, 3.0)
    assert world.verdict(sent(world, worker, task, start, train_s=1.0)) == "counted"
    row = world.task_row(task.task_id)
    assert (row.state, row.worker_id, row.taken_at) == ("answered", "a", world.now - 1.0)


# What is sent and not here yet, of a task that nobody said was taken.


def on_the_way(world: World, worker: Feeder) -> Update:
    """A worker is done with a task that it began at once, and its update is on its way."""
    task, start = begun(world, worker)
    return worker.update(task, start, world.layout, 1.0)


def may_take(
    world: World, worker: Feeder, update: Update, *, named: bool = True, before: int = 0
) -> bool:
    """What a worker is told that has trained on an update's version, if it names it or not."""
    names = (update.update_id,) if named else ()
    since = update.incarnation - before
    version = update.base_version
    token = worker.say_present(
        *names, run_id=update.run_id, last_version=version, incarnation=since
    )
    world.step()
    return worker.standing_of(token).may_take


def test_who_names_an_update_that_nobody_knows_of_takes_no_other_task(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__deadline="1d")
    worker = world.somebody()
    update = on_the_way(world, worker)
    assert not may_take(world, worker, update)
    world.restart()
    assert not may_take(world, worker, update)
    assert may_take(world, worker, update, named=False), "it has lost it"
    assert may_take(world, worker, update, before=1), "it is of what a restore lost"
    world.pass_time(ON_ITS_WAY_S + 1.0)
    assert may_take(world, worker, update), "it never comes"


def test_what_it_trained_on_the_version_before_keeps_nobody_from_a_task(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__max_extensions=0, rounds__deadline="60s")
    worker = world.somebody()
    update = on_the_way(world, worker)
    world.round(1.0, 3.0)
    world.pass_time(60.0)
    assert world.state == "paused"
    assert may_take(world, worker, update)
    assert world.state == "collecting"


def test_nor_does_an_update_whose_verdict_is_known(make_world: MakeWorld) -> None:
    world = make_world(rounds__max_norm=1.0, rounds__deadline="60s")
    worker = world.somebody()
    task, start = begun(world, worker)
    update = worker.update(task, start, world.layout, 100.0)
    worker.send(update, worker.payload(world.layout, 100.0))
    world.step()
    assert not may_take(world, worker, update), "it was refused for what its data are"
    world.pass_time(60.0)
    assert may_take(world, worker, update), "the round was extended"


def test_a_task_of_the_version_that_ended_is_where_its_update_was_from(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__late="refuse", rounds__deadline="10m")
    worker = world.somebody()
    update = on_the_way(world, worker)
    task, _ = world.begin_task(worker)
    world.pass_time(31.0)
    assert world.task_row(task.task_id).state == "lapsed"
    assert may_take(world, worker, update), "what is known of it decides"


def test_a_paused_run_does_not_go_on_for_who_takes_no_task(make_world: MakeWorld) -> None:
    world = make_world(rounds__max_extensions=0, rounds__deadline="60s")
    worker = world.somebody()
    update = on_the_way(world, worker)
    world.pass_time(60.0)
    assert world.state == "paused"
    assert not may_take(world, worker, update)
    assert world.state == "paused"
    assert may_take(world, worker, update, named=False)
    assert world.state == "collecting"


def test_where_late_ones_are_refused_an_update_of_a_replaced_task_holds_nobody(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__late="refuse", rounds__max_extensions=1, rounds__deadline="60s")
    worker = world.somebody()
    update = on_the_way(world, worker)
    assert not may_take(world, worker, update)
    world.pass_time(60.0)
    assert world.task_row(update.task_id).replaced
    assert may_take(world, worker, update), "the round was extended"
    world.pass_time(60.0)
    assert world.state == "paused"
    assert may_take(world, worker, update)
    assert world.state == "collecting"


def test_an_older_update_that_never_came_holds_nobody_whose_try_is_known(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__max_norm=1.0, rounds__deadline="60s", rounds__quorum=2)
    worker = world.somebody()
    lost = on_the_way(world, worker)
    world.round(0.1, 0.1)
    task, start = begun(world, worker)
    world.pass_time(60.0)
    assert world.task_row(task.task_id).state == "ended", "nobody had said that it was taken"
    refused = worker.update(task, start, world.layout, 100.0)
    worker.send(refused, worker.payload(world.layout, 100.0))
    world.step()
    named = replace(refused, update_id=lost.update_id)
    assert not may_take(world, worker, named), "it was refused for what its data are"
    world.pass_time(60.0)
    assert may_take(world, worker, named), "the round was extended"
