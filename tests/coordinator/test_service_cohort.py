"""A run with an evaluation cohort: who is asked, what is counted, and what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coordinator.cli import ended_before
from coordinator.cohort import Cohort
from coordinator.explaining.asked import explain
from coordinator.findings import Findings
from coordinator.mailbox import Evaluated
from coordinator.records import EvaluationRow
from coordinator.replay import Replay
from coordinator.reports import export_model, status_of
from fedmq.status import lines_of
from schemas.digest import digest_of
from schemas.messages import Start, Task, Update
from tests.coordinator.feeder import Feeder
from tests.coordinator.steps import Steps
from tests.coordinator.world import MakeWorld, World

SHARE = 0.4
NAMES = [f"w{number}" for number in range(60)]
EVALUATORS = [name for name in NAMES if name in Cohort(0, SHARE)]
TRAINERS = [name for name in NAMES if name not in Cohort(0, SHARE)]


def world_of(make_world: MakeWorld, **overrides: Any) -> World:
    """A world whose versions two workers of the cohort evaluate."""
    settings: dict[str, Any] = {
        "evaluation__cohort": SHARE,
        "evaluation__goal": 2,
        "evaluation__deadline": "100s",
        "evaluation__sureness": 0.0,
        "evaluation__smoothing": 1,
        "run__rounds": 9,
        "rounds__concurrency": 3,
        **overrides,
    }
    return make_world(**settings)


def arrive(world: World, *names: str) -> list[Feeder]:
    """Workers come, and are there when others are drawn."""
    workers = [world.worker(name) for name in names]
    for worker in workers:
        worker.say_present()
        world.step()
    world.pass_time(0.2)
    return workers


def asked(world: World, worker: Feeder) -> tuple[Task, Start]:
    """The task in a worker's own queue, and what it is to evaluate."""
    found = worker.take_own()
    assert found is not None, f"{worker.worker_id} was not asked"
    task, tag = found
    start = world.ask_start(worker, task)
    worker.transport.ack(tag)
    return task, start


def evaluation(world: World, worker: Feeder, task: Task, start: Start, loss: float) -> Update:
    update = worker.update(task, start, world.layout, 0.0)
    return replace(
        update,
        kind="evaluate",
        metrics={"loss": loss * update.num_examples},
        payload_digest=digest_of(b""),
        payload_bytes=0,
    )


def answer(world: World, worker: Feeder, loss: float) -> str:
    """A worker of the cohort evaluates and answers; its update id."""
    update = evaluation(world, worker, *asked(world, worker), loss)
    worker.send(update, b"")
    world.step()
    return update.update_id


def evaluate(world: World, workers: list[Feeder], loss: float) -> None:
    """The open evaluation is answered by the first two."""
    for worker in workers[:2]:
        answer(world, worker, loss)


def train(world: World, *values: float) -> None:
    """As many new workers train as values, each on its own."""
    for value in values:
        world.answer(world.worker(TRAINERS[trained(world)]), value)


def trained(world: World) -> int:
    def count(work: Any) -> int:
        return sum(work.count_by_verdict(world.run_row().run_id).values())

    found: int = world.read(count)
    return found


def found_of(world: World, version: int, by: str = "cohort") -> EvaluationRow:
    run_id = world.run_row().run_id
    rows: list[EvaluationRow] = world.read(lambda work: Findings(work).of_version(run_id, version))
    return next(row for row in rows if row.by == by)


def test_the_cohort_is_asked_in_its_own_queues_and_its_answers_are_no_part_of_a_sum(
    make_world: MakeWorld,
) -> None:
    world = world_of(make_world)
    workers = arrive(world, *EVALUATORS[:3])
    train(world, 3.0)
    evaluate(world, workers, 0.5)
    row = found_of(world, 0)
    assert (row.why, row.answers, row.examples, row.mean("loss")) == ("goal", 2, 20.0, 0.5)
    train(world, 5.0)
    assert world.weight(1) == 5.0  # 1 + the mean of 3 and 5


def test_who_evaluates_is_never_given_a_task_to_train(make_world: MakeWorld) -> None:
    world = world_of(make_world)
    (worker,) = arrive(world, EVALUATORS[0])
    token = worker.say_present()
    world.step()
    assert worker.standing_of(token).queue == "own"
    task, tag = worker.take()  # it takes one from the pool all the same
    start = world.ask_start(worker, task)
    worker.transport.ack(tag)
    assert not start.wanted
    assert "evaluates, and never trains" in start.reason
    assert len([row for row in world.open_tasks() if row.kind == "train"]) == 3


def test_who_evaluates_is_not_drawn_to_train(make_world: MakeWorld) -> None:
    world = world_of(make_world, rounds__dispatch="direct")
    arrive(world, *EVALUATORS[:4], *TRAINERS[:2])
    offered = {row.worker_id: row.kind for row in world.open_tasks()}
    assert {name for name, kind in offered.items() if kind == "train"} == set(TRAINERS[:2])
    assert {name for name, kind in offered.items() if kind == "evaluate"} <= set(EVALUATORS)


def test_a_worker_counts_once_in_an_evaluation_however_often_its_answer_comes(
    make_world: MakeWorld,
) -> None:
    world = world_of(make_world)
    first, second, _ = arrive(world, *EVALUATORS[:3])
    task, start = asked(world, first)
    update = evaluation(world, first, task, start, 0.5)
    for _ in range(3):
        first.send(update, b"")
        world.step()
    assert world.ledger(update.update_id).copies == 2
    assert found_of(world, 0).closed_at is None
    answer(world, second, 0.5)
    assert found_of(world, 0).answers == 2


def test_what_comes_after_the_close_is_late_and_changes_nothing(make_world: MakeWorld) -> None:
    world = world_of(make_world)
    *others, late = arrive(world, *EVALUATORS[:3])
    task, start = asked(world, late)
    evaluate(world, others, 0.5)
    before = found_of(world, 0)
    update = evaluation(world, late, task, start, 9.0)
    late.send(update, b"")
    world.step()
    assert world.verdict(update.update_id) == "late"
    assert world.ledger(update.update_id).metrics == {"loss": 90.0}
    assert found_of(world, 0) == before
    assert world.refused() == []  # the ledger has all of it
    assert status_of(world.settings())["updates"] == {}


def test_an_evaluation_is_explained_as_one_and_not_as_a_training(make_world: MakeWorld) -> None:
    world = world_of(make_world)
    *others, late = arrive(world, *EVALUATORS[:3])
    task, start = asked(world, late)
    counted = answer(world, others[0], 0.5)
    answer(world, others[1], 0.5)
    update = evaluation(world, late, task, start, 9.0)
    late.send(update, b"")
    train(world, 1.0)  # and so there is a version 1, which no evaluation is part of
    said, _ = explain(world.settings(), counted, world.now)
    text = "\n".join(said.words)
    assert "an evaluation of version 0" in text
    assert "is in model version" not in text
    assert said.facts["in_version"] is None
    text = "\n".join(explain(world.settings(), update.update_id, world.now)[0].words)
    assert "The evaluation of its version had closed" in text
    assert "rounds.late" not in text
    assert "fedmq dead" not in text


def test_a_deadline_closes_an_evaluation_with_what_came(make_world: MakeWorld) -> None:
    world = world_of(make_world)
    workers = arrive(world, *EVALUATORS[:3])
    answer(world, workers[0], 0.5)
    world.pass_time(100.0)
    row = found_of(world, 0)
    assert (row.why, row.answers, row.mean("loss")) == ("deadline", 1, 0.5)


def test_workers_that_come_later_are_drawn_for_what_is_open(make_world: MakeWorld) -> None:
    world = world_of(make_world)
    train(world, 1.0)
    workers = arrive(world, *EVALUATORS[:2])
    evaluate(world, workers, 0.5)
    assert found_of(world, 0).why == "goal"


def test_the_last_version_is_evaluated_before_the_run_ends(make_world: MakeWorld) -> None:
    world = world_of(make_world, run__rounds=1, rounds__drain="5s")
    workers = arrive(world, *EVALUATORS[:3])
    evaluate(world, workers, 0.9)
    train(world, 1.0, 1.0)
    world.pass_time(6.0)
    assert world.state == "draining"
    token = workers[0].say_present()
    world.step()
    standing = workers[0].standing_of(token)
    assert (standing.state, standing.may_take) == ("running", True)
    evaluate(world, workers, 0.4)
    assert workers[0].standing_of(token).state == "draining"
    world.pass_to_wake()
    assert world.state == "ended"
    assert found_of(world, 1).mean("loss") == pytest.approx(0.4)
    assert status_of(world.settings())["best_version"] == 1


def test_a_run_whose_cohort_nobody_saw_ends_when_it_has_drained(make_world: MakeWorld) -> None:
    world = world_of(make_world, run__rounds=1, rounds__drain="5s")
    train(world, 1.0, 1.0)
    world.pass_time(5.0)
    world.pass_time(0.0)
    assert world.state == "ended"
    assert found_of(world, 1).why == "the end of the run"


def test_a_run_that_is_given_more_rounds_waits_for_its_cohort_again(
    make_world: MakeWorld,
) -> None:
    world = world_of(make_world, run__rounds=1, rounds__drain="5s")
    train(world, 1.0, 1.0)
    world.pass_time(5.0)
    world.pass_time(0.0)
    assert world.state == "ended"
    world.change(run__rounds=5)
    world.restart()
    train(world, 1.0, 1.0)
    world.pass_time(20.0)
    assert found_of(world, 2).closed_at is None
    evaluate(world, arrive(world, *EVALUATORS[:2]), 0.5)
    assert found_of(world, 2).why == "goal"


def until(world: World, workers: list[Feeder], *losses: float) -> None:
    """One version after another is evaluated, and the next is made."""
    for loss in losses:
        evaluate(world, workers, loss)
        if world.state == "collecting":
            train(world, 1.0, 1.0)


def test_a_run_stops_early_and_its_best_version_is_exported(make_world: MakeWorld) -> None:
    world = world_of(
        make_world, evaluation__patience=2, coordinator__keep_versions=1, rounds__max_staleness=0
    )
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.9, 0.5, 0.6, 0.7)
    assert world.state == "draining"
    row = world.run_row()
    assert row.version == 3
    assert "no improvement for 2 versions" in row.why
    best, why = export_model(world.settings(), world.folder / "best.safetensors")
    assert (best.version, why) == (1, "the best; the run stopped early at version 3")
    newest, _ = export_model(world.settings(), world.folder / "new.safetensors", version="newest")
    assert newest.version == 3


def with_another_due(world: World) -> list[Feeder]:
    """Version 1 is being evaluated, and version 2 is due."""
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.5)
    train(world, 1.0, 1.0)
    return workers


def test_an_evaluation_that_closes_while_a_stopped_run_drains_does_not_resume_it(
    make_world: MakeWorld,
) -> None:
    world = world_of(make_world, evaluation__patience=1)
    workers = with_another_due(world)
    evaluate(world, workers, 0.6)
    assert (world.state, world.version) == ("draining", 2)
    evaluate(world, workers, 0.3)
    assert status_of(world.settings())["best_version"] == 2
    world.restart()
    assert world.state == "draining"
    assert "no improvement for 1 version:" in status_of(world.settings())["stopped_early"]


def test_who_evaluates_is_not_sent_home_by_a_coordinator_that_came_back(
    make_world: MakeWorld,
) -> None:
    world = world_of(make_world, evaluation__patience=1)
    workers = with_another_due(world)
    update = evaluation(world, workers[2], *asked(world, workers[2]), 0.6)
    evaluate(world, workers, 0.6)
    assert (world.state, world.version) == ("draining", 2)
    world.kill()
    token = workers[2].send_asking(update, b"")
    world.begin()
    world.step()
    assert world.ledger(update.update_id).verdict == "late"
    told = workers[2].standing_of(token)
    assert (told.state, told.come_back_s) == ("running", 0.0), "it is wanted for version 2"
    evaluate(world, workers, 0.3)
    world.kill()
    world.begin()
    token = workers[2].send_asking(update, b"")
    world.step()
    assert workers[2].standing_of(token).state == "draining", "nothing is to be evaluated"


def test_a_run_that_stopped_early_stays_so_until_it_is_given_more_patience(
    make_world: MakeWorld,
) -> None:
    world = world_of(make_world, evaluation__patience=1)
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.5, 0.6)
    assert world.state == "draining"
    world.restart()
    assert world.state == "draining"
    assert "had ended; what still comes is recorded for 7 s" in ended_before(world.service, 7.0)
    world.change(evaluation__patience=9)
    world.restart()
    assert world.state == "collecting"
    assert "had ended, and goes on" in ended_before(world.service, 7.0)
    assert not status_of(world.settings())["stopped_early"]


@pytest.mark.parametrize("restarts", [False, True])
def test_what_an_early_stop_finds_counted_is_in_the_last_version(
    make_world: MakeWorld, restarts: bool
) -> None:
    world = world_of(make_world, evaluation__patience=1, coordinator__spool_keep_rounds=9)
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.5)
    train(world, 5.0)
    evaluate(world, workers, 0.6)
    assert (world.state, world.version) == ("draining", 2)
    assert "no improvement for 1 version:" in world.run_row().why
    row = world.version_row(2)
    assert (row.counted, row.why) == (1, "stopped")
    assert not world.open_tasks()
    assert "the run stopped early" in explained(world, "1")
    world.change(evaluation__patience=9)
    world.restart()
    train(world, 1.0)
    if restarts:
        world.restart()
    train(world, 1.0)
    assert world.version_row(3).counted == 2
    assert replayed(world, 3) == ["the same"] * 3


def test_a_coordinator_killed_between_an_early_stop_and_its_last_version_makes_it(
    make_world: MakeWorld, steps: Steps
) -> None:
    world = world_of(make_world, evaluation__patience=1)
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.5)
    train(world, 5.0)
    steps.kill_at_name("before write")
    evaluate(world, workers, 0.6)
    assert steps.killed
    assert (world.state, world.version) == ("draining", 2)
    assert (world.version_row(2).counted, world.version_row(2).why) == (1, "stopped")


def test_a_jump_of_the_loss_drops_the_round_and_makes_the_best_version_again(
    make_world: MakeWorld,
) -> None:
    world = world_of(make_world, evaluation__guard_loss=2.0)
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.9, 0.5)
    train(world, 7.0)
    evaluate(world, workers, 1.2)
    assert world.version == 3
    row = world.version_row(3)
    assert (row.rolled_back_to, row.counted, row.why) == (1, 0, "rolled back")
    assert "loss 1.2 of version 2 is worse than 0.5 of version 1" in row.guard
    assert world.model(3) == world.model(1) != world.model(2)
    train(world, 1.0, 1.0)
    assert world.weight(4) == world.weight(1) + 1.0


def test_a_step_from_a_version_that_was_left_behind_is_refused(make_world: MakeWorld) -> None:
    world = world_of(make_world, evaluation__guard_loss=2.0)
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.5)
    straggler = world.worker(TRAINERS[30])
    begun = world.begin_task(straggler)
    assert begun[1].base_version == 1
    evaluate(world, workers, 1.2)
    assert world.version_row(2).rolled_back_to == 0
    update_id = world.finish_task(straggler, *begun)
    row = world.ledger(update_id)
    assert (row.verdict, row.reason) == (
        "stale",
        "version 1 was left behind when the run went back to 0",
    )


def test_a_way_back_is_replayed(make_world: MakeWorld) -> None:
    world = world_of(make_world, evaluation__guard_loss=2.0, coordinator__spool_keep_rounds=9)
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.9, 0.5)
    evaluate(world, workers, 1.2)
    train(world, 1.0, 1.0)
    world.kill()
    replay = Replay(world.settings().coordinator.state_dir, keep_versions=64)
    try:
        found = list(replay.replay(replay.select(1, 4)))
    finally:
        replay.close()
    assert [each.outcome for each in found] == ["the same"] * 4
    assert "has the parameters of version 1 again" in found[2].detail


def test_a_step_that_is_far_too_long_is_not_taken(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=9, evaluation__guard_norm=10.0, rounds__concurrency=3)
    for _ in range(3):
        world.round(1.0, 1.0)
    world.round(1.0, 1000.0)
    row = world.version_row(4)
    assert (row.rolled_back_to, row.counted, row.why) == (3, 0, "goal")
    assert "is longer than" in row.guard
    assert world.model(4) == world.model(3)
    world.round(1.0, 1.0)
    assert world.weight(5) == world.weight(4) + 1.0


def replayed(world: World, last: int) -> list[str]:
    """What every version is found to be, made again."""
    world.kill()
    replay = Replay(world.settings().coordinator.state_dir, keep_versions=64)
    try:
        return [each.outcome for each in replay.replay(replay.select(1, last))]
    finally:
        replay.close()


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_the_server_optimizer_goes_back_with_the_parameters(
    make_world: MakeWorld, optimizer: str
) -> None:
    world = world_of(
        make_world,
        evaluation__guard_loss=2.0,
        algorithm__optimizer=optimizer,
        coordinator__spool_keep_rounds=9,
    )
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.9, 0.5)
    evaluate(world, workers, 1.2)
    assert world.version_row(3).rolled_back_to == 1
    assert world.version_row(3).state_digest == world.version_row(1).state_digest != ""
    world.restart()
    train(world, 1.0, 1.0)
    assert world.model(4) == world.model(2), "the same step from the same place"
    assert replayed(world, 4) == ["the same"] * 4


def test_what_is_cached_of_the_workers_stays_when_the_run_goes_back(make_world: MakeWorld) -> None:
    world = world_of(
        make_world,
        evaluation__guard_loss=2.0,
        algorithm__rule="ca2fl",
        coordinator__spool_keep_rounds=9,
    )
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.9, 0.5)
    before = world.version_row(2)
    evaluate(world, workers, 1.2)
    assert world.version_row(3).cached == before.cached == 4
    assert world.version_row(3).state_digest == before.state_digest
    train(world, 1.0, 1.0)
    world.restart()
    train(world, 1.0, 1.0)
    assert replayed(world, 5) == ["the same"] * 5


def test_the_files_of_the_best_version_are_kept_and_no_others(make_world: MakeWorld) -> None:
    world = world_of(
        make_world,
        coordinator__keep_versions=1,
        rounds__max_staleness=0,
        algorithm__optimizer="momentum",
    )
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.9, 0.5, 0.6, 0.7)
    folder = (world.folder / "state" / "models" / world.version_row(1).file).parent
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"000001.safetensors", "000001.state", "000004.safetensors", "000004.state"}


def hasty(make_world: MakeWorld, **overrides: Any) -> tuple[World, list[Feeder]]:
    """A world that keeps one version, and makes three while the first is evaluated as the best."""
    world = world_of(
        make_world,
        evaluation__guard_loss=2.0,
        coordinator__keep_versions=1,
        rounds__max_staleness=0,
        **overrides,
    )
    workers = arrive(world, *EVALUATORS[:3])
    train(world, 1.0, 1.0, 1.0, 1.0)
    assert world.version == 2
    return world, workers


def kept(world: World) -> set[int]:
    folder = (world.folder / "state" / "models" / world.version_row(0).file).parent
    return {int(path.stem) for path in folder.iterdir() if path.suffix == ".safetensors"}


def test_a_version_that_is_being_evaluated_is_kept_and_can_be_gone_back_to(
    make_world: MakeWorld,
) -> None:
    world, workers = hasty(make_world)
    assert kept(world) == {0, 2}
    evaluate(world, workers, 0.5)
    train(world, 1.0, 1.0)
    assert kept(world) == {0, 2, 3}, "the best, the one that is being evaluated, the newest"
    evaluate(world, workers, 1.2)
    assert world.version_row(4).rolled_back_to == 0
    assert world.model(4) == world.model(0)


def test_a_run_goes_on_where_the_best_version_is_not_kept_any_more(make_world: MakeWorld) -> None:
    world, workers = hasty(make_world)
    evaluate(world, workers, 0.5)
    (world.folder / "state" / "models" / world.version_row(0).file).unlink()
    evaluate(world, workers, 1.2)
    assert (world.state, world.version) == ("collecting", 2)
    row = found_of(world, 2)
    assert row.decision == "nothing"
    assert row.reason.startswith("version 0, to go back to, is not kept any more: loss 1.2")
    world.restart()
    train(world, 1.0, 1.0)
    assert world.version_row(3).counted == 2


@pytest.mark.parametrize("counted", [0, 1])
def test_a_start_does_not_go_back_to_a_version_that_is_gone(
    make_world: MakeWorld, steps: Steps, counted: int, caplog: pytest.LogCaptureFixture
) -> None:
    world, workers = hasty(make_world)
    evaluate(world, workers, 0.5)
    before = world.model(2)
    train(world, *[1.0] * counted)
    answer(world, workers[0], 1.2)
    steps.trouble["before write"] = OSError(28, "No space left on device")
    answer(world, workers[1], 1.2)
    assert world.run_row().state == "closed"
    (world.folder / "state" / "models" / world.version_row(0).file).unlink()
    steps.trouble.clear()
    world.restart()
    world.step()
    row = world.version_row(3)
    assert (row.rolled_back_to, row.counted) == (2, 0)
    assert world.model(3) == before
    assert "version 0, to go back to, is not kept any more" in row.guard
    assert "version 0, to go back to, is not kept any more" in caplog.text
    train(world, 1.0, 1.0)
    assert world.version_row(4).counted == 2


# the coordinator's own measurements


def measure(world: World, loss: float) -> None:
    """The learner's process has evaluated the current version."""
    world.service._mailbox.put(Evaluated(world.version, {"loss": loss, "accuracy": 0.5}))
    world.step()


def measured_world(make_world: MakeWorld, **overrides: Any) -> World:
    return make_world(
        run__rounds=9,
        run__evaluate=True,
        evaluation__smoothing=1,
        evaluation__sureness=0.0,
        **overrides,
    )


def test_what_the_coordinator_measures_stops_a_run_without_a_cohort(make_world: MakeWorld) -> None:
    world = measured_world(make_world, evaluation__patience=2)
    for loss in (0.9, 0.5, 0.6):
        measure(world, loss)
        world.round(1.0, 1.0)
    measure(world, 0.7)
    assert world.state == "draining"
    assert "no improvement for 2 versions" in world.run_row().why
    assert status_of(world.settings())["best_version"] == 1


def test_what_the_coordinator_measures_takes_a_run_back(make_world: MakeWorld) -> None:
    world = measured_world(make_world, evaluation__guard_loss=2.0)
    measure(world, 0.5)
    world.round(1.0, 1.0)
    world.round(1.0)
    measure(world, 1.2)
    row = world.version_row(2)
    assert (row.rolled_back_to, row.why, row.counted) == (0, "rolled back", 0)
    world.restart()
    assert world.model() == world.model(0)
    world.round(1.0, 1.0)
    assert world.version == 3


def test_with_a_cohort_the_coordinators_measurements_are_only_recorded(
    make_world: MakeWorld,
) -> None:
    world = measured_world(make_world, evaluation__cohort=SHARE, evaluation__guard_loss=2.0)
    measure(world, 0.5)
    train(world, 1.0, 1.0)
    measure(world, 5.0)
    assert world.version == 1
    assert found_of(world, 1, "coordinator").mean("loss") == 5.0
    assert status_of(world.settings())["best_version"] is None


def test_a_disk_that_refuses_loses_no_measurement(make_world: MakeWorld, steps: Steps) -> None:
    world = measured_world(make_world, evaluation__guard_loss=2.0)
    measure(world, 0.5)
    world.round(1.0, 1.0)
    steps.trouble["before commit"] = OSError(28, "No space left on device")
    measure(world, 1.2)
    assert world.version == 1
    steps.trouble.clear()
    world.pass_to_wake()
    world.step()
    assert world.version_row(2).rolled_back_to == 0


# what people are told


def test_who_never_trains_does_not_make_taking_part_uneven(make_world: MakeWorld) -> None:
    world = world_of(make_world)
    arrive(world, *EVALUATORS[:5], *TRAINERS[:2])
    train(world, 1.0, 1.0)
    world.restart()
    arrive(world, *EVALUATORS[5:9])
    took_part = status_of(world.settings())["participation"]
    assert (took_part["workers"], took_part["jain"]) == (2, 1.0)
    assert world.service._run.roster.participation.record() == took_part
    assert world.version_row(1).participation == took_part


def test_people_are_told_who_evaluates_and_what_became_of_a_round(make_world: MakeWorld) -> None:
    world = world_of(make_world, evaluation__guard_loss=2.0)
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.9, 0.5)
    evaluate(world, workers, 1.2)
    said = explained(world, EVALUATORS[0])
    assert "it is in the evaluation cohort: it evaluates versions, and never trains" in said
    said = explained(world, "2")
    assert "version 3 has the parameters of version 1 again, because loss 1.2" in said
    lines = "\n".join(lines_of(status_of(world.settings())))
    assert "cohort   version 2: 2 workers, 20 examples: loss 1.2000 ± 0.0000 (p10 1.2000" in lines
    assert "best     version 1" in lines
    assert "version 1 again" in lines


def test_who_evaluates_has_no_part_in_how_evenly_the_others_trained(
    make_world: MakeWorld,
) -> None:
    world = world_of(make_world)
    arrive(world, *EVALUATORS[:3])
    train(world, 1.0, 1.0)
    status = status_of(world.settings())
    assert status["evaluators"] == sorted(EVALUATORS[:3])
    assert status["participation"] == world.version_row(1).participation
    assert (status["participation"]["workers"], status["participation"]["jain"]) == (2, 1.0)
    lines = lines_of(status)
    assert "workers  5 seen, 3 of them in the cohort, which never trains" in lines
    assert "fairness Jain index 1.000; workers counted once: 2" in lines


def test_why_a_run_stopped_early_is_said_once(make_world: MakeWorld) -> None:
    world = world_of(make_world, evaluation__patience=1)
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.5, 0.6)
    status = status_of(world.settings())
    said = "\n".join(lines_of(status))
    assert status["stopped_early"]
    assert said.count(status["stopped_early"]) == 1
    assert "best     version 0; the run stopped early" in said.splitlines()


def test_how_many_examples_were_measured_on_is_no_metric_of_a_version(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.round(1.0, 2.0)
    world.service._mailbox.put(Evaluated(1, {"loss": 0.5, "num_examples": 50.0}))
    world.step()
    assert status_of(world.settings())["metrics"]["num_examples"] == 50.0
    (line,) = [line for line in lines_of(status_of(world.settings())) if "version    1" in line]
    assert line.endswith("goal  loss 0.5000")


def test_of_who_evaluates_it_is_said_whether_or_not_the_run_is_over(
    make_world: MakeWorld,
) -> None:
    world = world_of(make_world, run__rounds=1)
    workers = arrive(world, *EVALUATORS[:3])
    evaluate(world, workers, 0.5)
    (worker,), belongs = EVALUATORS[:1], "in the evaluation cohort: it evaluates versions"
    said = explain(world.settings(), worker, world.now)[0]
    assert "\n".join(said.words).count(belongs) == 1
    assert said.facts["evaluates"]
    assert (said.facts["updates"], said.facts["evaluations"]) == ({}, {"counted": 1})
    assert "Its evaluations: 1 counted." in said.words
    assert any("evaluation of version 0" in line for line in said.words)
    train(world, 1.0, 1.0)
    evaluate(world, workers, 0.4)
    world.pass_time(1000.0)
    assert world.state == "ended"
    text = explained(world, worker)
    assert text.count(belongs) == 1
    assert "is over" in text
    said = explain(world.settings(), TRAINERS[0], world.now)[0]
    assert belongs not in "\n".join(said.words)
    assert not said.facts["evaluates"]


def explained(world: World, what: str) -> str:
    return "\n".join(explain(world.settings(), what, world.now)[0].words)


@pytest.mark.slow
def test_killed_at_any_step_the_same_is_found_and_follows(
    make_world: MakeWorld, steps: Steps
) -> None:
    plain = world_of(make_world, evaluation__guard_loss=2.0)
    steps.begin_again()
    play(plain)
    expected, count = outcome(plain), len(steps.names)
    for place in range(3, count, 23):
        world = world_of(make_world, evaluation__guard_loss=2.0)
        steps.begin_again(kill_at=place)
        play(world)
        assert steps.killed, place
        assert outcome(world) == expected, f"killed {steps.killed}, step {place}"


def play(world: World) -> None:
    workers = arrive(world, *EVALUATORS[:3])
    until(world, workers, 0.9, 0.5, 0.7, 1.2)


def outcome(world: World) -> list[Any]:
    """What was found, what followed, and which versions were made."""
    found = [found_of(world, version) for version in range(4)]
    made = [world.version_row(version) for version in range(5)]
    return [
        [(row.scores, row.decision, row.why, row.answers) for row in found],
        [(row.digest, row.rolled_back_to, row.counted) for row in made],
    ]
