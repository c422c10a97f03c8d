"""Answers to tasks to evaluate: one verdict each, and no part in any sum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coordinator.replay import Replay
from schemas.digest import digest_of, identify, update_id_of
from schemas.messages import Update
from tests.coordinator.feeder import Feeder
from tests.coordinator.rows import task_row
from tests.coordinator.world import MakeWorld, World

TASK = identify("a task to evaluate")


def make_measured(make_world: MakeWorld) -> World:
    """A world in which version 0 is being evaluated, and nobody was drawn for that."""
    return make_world(evaluation__cohort=0.4, evaluation__goal=9, evaluation__deadline="1d")


def offer(world: World, worker_id: str, task_id: str = TASK) -> str:
    """Store a task to evaluate version 0, for one worker, as if it had been drawn."""
    row = task_row(
        task_id=task_id,
        run_id=world.run_row().run_id,
        number=1000 + len(task_id.strip("0")) + int(task_id[:4], 16),
        kind="evaluate",
        direct=True,
        base_version=0,
        worker_id=worker_id,
        published=True,
        offered_at=world.now,
    )
    with world.service._run._store.transaction() as work:
        work.insert_task(row)
    world.restart()
    return task_id


def evaluation(world: World, worker: Feeder, task_id: str = TASK, **changes: Any) -> Update:
    run = world.run_row()
    incarnation = world.service._run.state.run.incarnation
    update = Update(
        update_id=update_id_of(incarnation, task_id, worker.worker_id),
        run_id=run.run_id,
        task_id=task_id,
        worker_id=worker.worker_id,
        incarnation=incarnation,
        kind="evaluate",
        base_version=0,
        base_digest=world.version_row(0).digest,
        layout_digest=world.layout.digest,
        codec="fp32",
        num_examples=20,
        metrics={"loss": 12.0, "accuracy": 15.0},
        train_s=0.1,
        payload_digest=digest_of(b""),
        payload_bytes=0,
        parts=0,
    )
    return replace(update, **changes)


def sent(world: World, worker: Feeder, update: Update, payload: bytes = b"") -> str:
    worker.send(update, payload)
    world.step()
    return update.update_id


def test_an_evaluation_counts_once_and_is_in_no_sum(make_world: MakeWorld) -> None:
    world = make_measured(make_world)
    offer(world, "a")
    worker = world.worker("a")
    update_id = sent(world, worker, evaluation(world, worker))
    row = world.ledger(update_id)
    assert (row.verdict, row.kind, row.weight, row.num_examples) == (
        "counted",
        "evaluate",
        20.0,
        20,
    )
    assert row.metrics == {"loss": 12.0, "accuracy": 15.0}
    assert world.task_row(TASK).state == "answered"
    assert world.service.look().counted == 0
    assert world.service.look().updates == {}
    sent(world, worker, evaluation(world, worker))
    assert world.ledger(update_id).copies == 1


def test_the_versions_are_the_same_with_and_without_evaluations(make_world: MakeWorld) -> None:
    plain, measured = make_world(), make_measured(make_world)
    plain.round(1.0, 2.0)
    offer(measured, "a")
    worker = measured.worker("a")
    measured.round(1.0)
    sent(measured, worker, evaluation(measured, worker))
    measured.restart()
    measured.round(2.0)
    assert measured.version == plain.version == 1
    assert measured.model(1) == plain.model(1)
    measured.kill()
    replay = Replay(measured.settings().coordinator.state_dir)
    try:
        assert [one.outcome for one in replay.replay(replay.select(1, 1))] == ["the same"]
    finally:
        replay.close()


def test_a_second_evaluation_of_a_version_by_a_worker_is_repeated(make_world: MakeWorld) -> None:
    world = make_measured(make_world)
    worker, other = world.worker("a"), identify("another task")
    sent(world, worker, evaluation(world, worker, offer(world, "a")))
    update_id = sent(world, worker, evaluation(world, worker, offer(world, "a", other)))
    assert world.verdict(update_id) == "repeated"


def test_a_worker_may_train_on_and_evaluate_one_version(make_world: MakeWorld) -> None:
    world = make_measured(make_world)
    worker = world.worker("a")
    offer(world, "a")
    assert world.verdict(sent(world, worker, evaluation(world, worker))) == "counted"
    assert world.verdict(world.answer(worker)) == "counted"


def test_another_workers_evaluation_is_not_believed(make_world: MakeWorld) -> None:
    world = make_measured(make_world)
    offer(world, "a")
    thief = world.worker("thief")
    update_id = sent(world, thief, evaluation(world, thief))
    assert world.verdict(update_id) == "unknown task"
    assert world.task_row(TASK).state == "offered"


def test_an_evaluation_of_a_task_nobody_offered_is_unknown(make_world: MakeWorld) -> None:
    world = make_measured(make_world)
    worker = world.worker("a")
    assert world.verdict(sent(world, worker, evaluation(world, worker))) == "malformed"


@pytest.mark.parametrize(
    ("changes", "payload", "verdict"),
    [
        ({"num_examples": 0}, b"", "malformed"),
        ({"base_version": 0, "base_digest": "0" * 64}, b"", "other timeline"),
        ({"layout_digest": "0" * 64}, b"", "malformed"),
        ({"codec": "int5"}, b"", "malformed"),
        ({"payload_digest": digest_of(b"x"), "payload_bytes": 1}, b"x", "malformed"),
        ({"parts": 3}, b"", "malformed"),
    ],
)
def test_what_is_no_evaluation_is_refused_with_a_reason(
    make_world: MakeWorld, changes: dict[str, Any], payload: bytes, verdict: str
) -> None:
    world = make_measured(make_world)
    offer(world, "a")
    worker = world.worker("a")
    update_id = sent(world, worker, evaluation(world, worker, **changes), payload)
    row = world.ledger(update_id)
    assert row.verdict == verdict
    assert row.reason
    assert world.task_row(TASK).state == "answered"


def test_a_training_that_answers_a_task_to_evaluate_is_in_no_sum(make_world: MakeWorld) -> None:
    world = make_measured(make_world)
    offer(world, "a")
    worker = world.worker("a")
    payload = worker.payload(world.layout, 9.0)
    forged = evaluation(
        world,
        worker,
        kind="train",
        payload_digest=digest_of(payload),
        payload_bytes=len(payload),
    )
    update_id = sent(world, worker, forged, payload)
    assert world.verdict(update_id) == "malformed"
    assert world.service.look().counted == 0
    world.round(1.0, 1.0)
    assert world.weight(1) == 2.0


def test_an_evaluation_that_answers_a_task_to_train_frees_its_slot(make_world: MakeWorld) -> None:
    world = make_measured(make_world)
    worker = world.worker("a")
    task, _ = world.begin_task(worker)
    update_id = sent(world, worker, evaluation(world, worker, task.task_id))
    assert world.verdict(update_id) == "malformed"
    assert world.task_row(task.task_id).state == "answered"
    assert len(world.open_tasks()) == 2
