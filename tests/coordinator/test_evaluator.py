"""Evaluations in the store: what closes them is added up, and what follows is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.effects import Effect, TellChanges
from coordinator.evaluating import Evaluations, Open, Plan
from coordinator.evaluator import Evaluated, Evaluator, TaskAction, Terms, load
from coordinator.events import EndTask, TaskTaken, TimePassed, UpdateArrived, VersionStored
from coordinator.findings import Findings
from coordinator.guard import BEGINNING, Rules
from coordinator.policy import RoundPolicy
from coordinator.records import CourseRow
from coordinator.states import Run
from coordinator.store import Store
from coordinator.work import Work
from tests.coordinator.rows import RUN_ID, ledger_row, run_row

PLAN = Plan(every=1, goal=2, deadline_s=100.0, rounds=10, max_examples=50)
RULES = Rules(smoothing=1, sureness=0.0, patience=2, guard=2.0)
TERMS = Terms(RULES, "cohort", min_examples=10)
RUN = Run(RUN_ID, 1_000_000, RoundPolicy(10, 2, 1, 3, 60.0, 60.0), version=0, salt="salt")
WORKERS = ("a", "b", "c")


class Villagers:
    """A crowd of which the first free are drawn."""

    def __init__(self) -> None:
        self.ended: list[EndTask] = []

    def draw_evaluators(
        self, count: int, version: int, but: Collection[str], now: float
    ) -> Sequence[str]:
        return [worker for worker in WORKERS if worker not in but][:count]

    def note(self, work: Work, action: TaskAction, now: float) -> None:
        if isinstance(action, EndTask):
            self.ended.append(action)


class Bench:
    """A run whose cohort evaluates; each step is a transaction."""

    def __init__(self, store: Store, terms: Terms = TERMS, plan: Plan = PLAN) -> None:
        self.store, self.terms, self.plan = store, terms, plan
        self.run, self.now = RUN, 1.0
        self.crowd = Villagers()
        self.effects: list[Effect] = []
        self.gone: set[int] = set()
        machine = Evaluations(RUN_ID, RUN.incarnation, plan, "salt")
        self.evaluated = Evaluated(machine, BEGINNING, CourseRow(RUN_ID))

    def evaluator(self, work: Work) -> Evaluator:
        return Evaluator(
            work, self.crowd, self.terms, self.evaluated, self.now, self.effects, self.kept
        )

    def kept(self, version: int) -> bool:
        return version not in self.gone

    def store_version(self, version: int) -> None:
        self.run = replace(self.run, version=version)
        with self.store.transaction() as work:
            evaluator = self.evaluator(work)
            evaluator.take(VersionStored(version))
            evaluator.settle(self.run)
        self.evaluated = evaluator.evaluated

    def answer(self, worker: str, loss: float, examples: int = 10) -> str:
        """A worker's answer to its open task; its verdict."""
        opened = self.opened
        task_id = opened.asked[worker]
        with self.store.transaction() as work:
            evaluator, task = self.evaluator(work), work.task(task_id)
            assert task is not None
            update_id = f"{opened.version}{worker}".rjust(32, "0")
            event = UpdateArrived(
                update_id, worker, task_id, opened.version, examples, task.as_facts(), False
            )
            verdict = evaluator.take(event)
            assert verdict is not None
            row = ledger_row(
                update_id=update_id,
                kind="evaluate",
                task_id=task_id,
                worker_id=worker,
                base_version=opened.version,
                num_examples=examples,
                metrics={"loss": loss * examples, "speed": 3.0 * examples},
                verdict=verdict.verdict,
                round_version=verdict.round_version,
                weight=verdict.weight,
            )
            work.insert_ledger_row(row)
            evaluator.settle(self.run)
        self.evaluated = evaluator.evaluated
        return verdict.verdict

    def evaluate(self, version: int, loss: float) -> None:
        """A version is stored, and found to have a loss."""
        self.now += 1
        self.store_version(version)
        self.answer("a", loss)
        self.answer("b", loss)

    def measure(self, version: int, **metrics: float) -> None:
        """The coordinator measures a version."""
        self.now += 1
        self.run = replace(self.run, version=version)
        with self.store.transaction() as work:
            evaluator = self.evaluator(work)
            evaluator.measured(version, metrics, self.run)
            evaluator.settle(self.run)
        self.evaluated = evaluator.evaluated

    def pass_time(self, to: float) -> None:
        self.now = to
        with self.store.transaction() as work:
            evaluator = self.evaluator(work)
            evaluator.take(TimePassed())
            evaluator.settle(self.run)
        self.evaluated = evaluator.evaluated

    @property
    def opened(self) -> Open:
        assert self.evaluated.machine.open is not None
        return self.evaluated.machine.open

    def restarted(self, state: str = "collecting") -> Evaluated:
        with self.store.reading() as work:
            row = run_row(version=self.run.version, state=state)
            return load(work, row, self.plan, self.terms, "salt", self.now)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.create_or_open(tmp_path / "coordinator.db", "shops", 1_000.0)
    opened.take_epoch()
    with opened.transaction() as work:
        work.insert_run(run_row())
    yield opened
    opened.close()


def test_a_due_version_is_offered_to_the_cohort_in_one_transaction(store: Store) -> None:
    bench = Bench(store)
    bench.store_version(0)
    assert set(bench.opened.tasks.values()) == set(WORKERS)
    with store.reading() as work:
        (row,) = Findings(work).of_version(RUN_ID, 0)
        task = work.task(bench.opened.asked["b"])
    assert (row.by, row.closed_at, row.deadline_at) == ("cohort", None, 101.0)
    assert task is not None
    assert (task.kind, task.state, task.direct) == ("evaluate", "offered", True)
    assert (task.base_version, task.worker_id, task.lease_end) == (0, "b", 101.0)


def test_answers_are_added_up_when_the_goal_is_met(store: Store) -> None:
    bench = Bench(store)
    bench.store_version(0)
    assert bench.answer("a", 1.0, examples=10) == "counted"
    assert bench.answer("b", 3.0, examples=30) == "counted"
    with store.reading() as work:
        (row,) = Findings(work).of_version(RUN_ID, 0)
    assert (row.why, row.answers, row.examples) == ("goal", 2, 40.0)
    assert row.mean("loss") == pytest.approx(2.5)
    assert row.scores["loss"]["worst_decile"] == 3.0
    assert row.scores["speed"]["mean"] == 3.0
    assert row.scores["speed"]["worst_decile"] is None
    assert (row.conclusive, row.decision) == (True, "improved")
    assert [task.worker_id for task in bench.crowd.ended if task.how == "ended"] == ["c"]


def test_what_an_answer_weighs_is_capped_and_what_it_says_is_not(store: Store) -> None:
    bench = Bench(store)
    bench.store_version(0)
    bench.answer("a", 1.0, examples=50)
    bench.answer("b", 3.0, examples=5_000)
    with store.reading() as work:
        (row,) = Findings(work).of_version(RUN_ID, 0)
    assert row.mean("loss") == pytest.approx(2.0)
    assert row.examples == 100.0


def test_too_few_examples_are_recorded_and_nothing_follows(store: Store) -> None:
    bench = Bench(store)
    bench.store_version(0)
    bench.answer("a", 1.0, examples=9)
    bench.pass_time(101.0)
    with store.reading() as work:
        (row,) = Findings(work).of_version(RUN_ID, 0)
    assert (row.why, row.answers, row.conclusive, row.decision) == ("deadline", 1, False, "")
    assert bench.evaluated.row.best_version == -1


def test_a_late_answer_is_in_the_ledger_and_changes_nothing(store: Store) -> None:
    bench = Bench(store)
    bench.store_version(0)
    late = bench.opened
    bench.answer("a", 1.0)
    bench.answer("b", 1.0)
    before = bench.evaluated
    bench.evaluated = replace(before, machine=replace(before.machine, open=None))
    with store.transaction() as work:
        evaluator, task = bench.evaluator(work), work.task(late.asked["c"])
        assert task is not None
        event = UpdateArrived("u" * 32, "c", task.task_id, 0, 10, task.as_facts(), False)
        verdict = evaluator.take(event)
        evaluator.settle(bench.run)
    assert verdict is not None
    assert verdict.verdict == "late"
    assert evaluator.evaluated == before


def test_the_best_version_is_known_and_a_run_without_improvement_is_to_stop(store: Store) -> None:
    bench = Bench(store)
    for version, loss in enumerate([3.0, 1.0, 1.1]):
        bench.evaluate(version, loss)
    assert bench.evaluated.row.best_version == 1
    assert bench.evaluated.row.stop_why == ""
    bench.evaluate(3, 1.2)
    assert "no improvement for 2 versions" in bench.evaluated.row.stop_why
    with store.reading() as work:
        assert Findings(work).course(RUN_ID) == bench.evaluated.row
        assert [row.decision for row in Findings(work).of_run(RUN_ID, "cohort")] == [
            "improved",
            "improved",
            "nothing",
            "stop",
        ]


def test_a_jump_of_the_loss_is_to_go_back_to_the_best(store: Store) -> None:
    bench = Bench(store)
    for version, loss in enumerate([2.0, 1.0, 2.5]):
        bench.evaluate(version, loss)
    row = bench.evaluated.row
    assert row.roll_back_to == 1
    assert "loss 2.5 of version 2 is worse than 1 of version 1" in row.roll_back_why


def test_what_is_not_kept_any_more_is_not_gone_back_to_and_the_run_stops_in_the_end(
    store: Store,
) -> None:
    bench = Bench(store)
    bench.evaluate(0, 1.0)
    bench.gone.add(0)
    for version in range(1, 4):
        bench.evaluate(version, 9.0)
        assert (bench.evaluated.row.roll_back_to, bench.evaluated.row.stop_why) == (-1, "")
    assert bench.restarted() == bench.evaluated
    bench.evaluate(4, 9.0)
    assert "the run went back 3 times without an improvement" in bench.evaluated.row.stop_why
    with store.reading() as work:
        found = [row.decision for row in Findings(work).of_run(RUN_ID, "cohort")]
    assert found == ["improved", "nothing", "nothing", "nothing", "stop"]


def test_a_run_that_is_over_neither_stops_nor_goes_back(store: Store) -> None:
    bench = Bench(store)
    bench.evaluate(0, 1.0)
    bench.evaluated = replace(bench.evaluated, over=True)
    bench.evaluate(1, 9.0)
    bench.evaluate(4, 1.5)
    assert (bench.evaluated.row.roll_back_to, bench.evaluated.row.stop_why) == (-1, "")


def test_the_coordinators_own_measurements_are_followed_where_they_count(store: Store) -> None:
    bench = Bench(store, replace(TERMS, by="coordinator"))
    for version, loss in enumerate([3.0, 1.0, 1.1, 1.2]):
        bench.measure(version, loss=loss, accuracy=0.5)
    assert bench.evaluated.row.best_version == 1
    assert bench.evaluated.row.stop_why


def test_they_are_recorded_and_not_followed_where_the_cohorts_count(store: Store) -> None:
    bench = Bench(store)
    bench.measure(0, loss=3.0)
    assert bench.evaluated.row.best_version == -1
    with store.reading() as work:
        (row,) = Findings(work).of_version(RUN_ID, 0)
    assert (row.by, row.mean("loss"), row.decision) == ("coordinator", 3.0, "")


def test_a_loss_that_is_no_number_any_more_goes_back(store: Store) -> None:
    bench = Bench(store, replace(TERMS, by="coordinator"))
    bench.measure(0, loss=3.0)
    bench.measure(1, accuracy=0.1)  # a loss that is not finite is not told
    assert bench.evaluated.row.roll_back_to == 0


def test_a_learner_without_the_metric_has_no_best_version(store: Store) -> None:
    bench = Bench(store, replace(TERMS, by="coordinator"))
    bench.measure(0, accuracy=0.1)
    bench.measure(1, accuracy=0.2)
    assert bench.evaluated.row.best_version == -1
    assert bench.evaluated.course.best is None


# after a restart


def test_a_restart_finds_the_open_evaluation_as_it_was(store: Store) -> None:
    bench = Bench(store)
    bench.store_version(0)
    bench.answer("a", 1.0)
    again = bench.restarted()
    assert again.machine.open == replace(bench.opened, draw_at=bench.now)
    assert again.machine.next_number == bench.evaluated.machine.next_number
    bench.evaluated = again
    assert bench.answer("b", 1.0) == "counted"
    with store.reading() as work:
        (row,) = Findings(work).of_version(RUN_ID, 0)
    assert (row.answers, row.why) == (2, "goal")


def test_a_restart_comes_to_the_same_course(store: Store) -> None:
    bench = Bench(store)
    for version, loss in enumerate([3.0, 1.0, 5.0, 0.9, 1.1]):
        bench.evaluate(version, loss)
    assert bench.restarted() == bench.evaluated


def test_a_stored_deadline_neither_ends_at_once_nor_runs_longer_than_a_new_one(
    store: Store,
) -> None:
    bench = Bench(store)
    bench.store_version(0)
    for now, deadline in ((99.0, 109.0), (500.0, 510.0), (-900.0, -800.0)):
        bench.now = now
        opened = bench.restarted().machine.open
        assert opened is not None
        assert opened.deadline_at == deadline


def test_what_stops_a_run_is_decided_by_the_terms_of_today(store: Store) -> None:
    bench = Bench(store)
    for version, loss in enumerate([3.0, 1.0, 1.1, 1.2]):
        bench.evaluate(version, loss)
    assert bench.restarted("ended").row.stop_why
    bench.terms = replace(TERMS, rules=replace(RULES, patience=0))
    assert not bench.restarted("ended").row.stop_why


def test_what_is_found_after_a_stop_does_not_take_it_back(store: Store) -> None:
    bench = Bench(store)
    for version, loss in enumerate([3.0, 1.0, 1.1, 1.2]):
        bench.evaluate(version, loss)
    why = bench.evaluated.row.stop_why
    bench.evaluated = replace(bench.evaluated, over=True)
    bench.evaluate(4, 0.1)  # its evaluation was open when the run stopped
    assert bench.evaluated.row.best_version == 4
    again = bench.restarted("ended").row
    assert (again.stop_why, again.best_version) == (why, 4)


def test_a_run_that_was_given_more_patience_is_not_stopped_by_what_was_before(
    store: Store,
) -> None:
    bench = Bench(store)
    for version, loss in enumerate([3.0, 1.0, 1.1, 1.2]):
        bench.evaluate(version, loss)
    bench.terms = replace(TERMS, rules=replace(RULES, patience=9))
    bench.evaluated = bench.restarted("ended").reopened()
    bench.evaluate(4, 0.9)
    bench.terms = TERMS
    assert not bench.restarted().row.stop_why


def test_another_metric_names_another_best_version_and_the_store_learns_it(store: Store) -> None:
    bench = Bench(store, replace(TERMS, by="coordinator"))
    bench.measure(0, loss=3.0, accuracy=0.9)
    bench.measure(1, loss=2.0, accuracy=0.5)
    assert bench.evaluated.row.best_version == 1
    by_accuracy = replace(RULES, metric="accuracy", better="higher", guard=0.0)
    bench.terms = replace(bench.terms, rules=by_accuracy)
    bench.evaluated = bench.restarted()
    bench.pass_time(bench.now)
    with store.reading() as work:
        assert Findings(work).course(RUN_ID).best_version == 0


def test_a_version_whose_evaluation_was_never_opened_is_due_at_a_start(store: Store) -> None:
    bench = Bench(store)
    bench.run = replace(RUN, version=3)
    assert bench.restarted().machine.due == 3


def test_a_worker_that_takes_its_task_is_granted_the_version(store: Store) -> None:
    bench = Bench(store)
    bench.store_version(0)
    task_id = bench.opened.asked["a"]
    with store.transaction() as work:
        evaluator = bench.evaluator(work)
        evaluator.take(TaskTaken(task_id, "a", False))
        evaluator.settle(bench.run)
        task = work.task(task_id)
    assert task is not None
    assert (task.state, task.taken_at) == ("taken", 1.0)


@pytest.mark.parametrize(("state", "due"), [("collecting", -1), ("draining", 3), ("ended", 3)])
def test_the_last_version_of_a_run_is_due_whatever_its_number(
    store: Store, state: str, due: int
) -> None:
    bench = Bench(store, plan=replace(PLAN, every=5))
    bench.run = replace(RUN, version=3)
    again = bench.restarted(state)
    assert again.machine.due == due
    assert again.over == (state != "collecting")


def test_a_run_that_stopped_early_needs_no_evaluation_of_its_last_version(store: Store) -> None:
    bench = Bench(store)
    for version, loss in enumerate([3.0, 1.0, 1.1, 1.2]):
        bench.evaluate(version, loss)
    bench.run = replace(bench.run, version=5)
    assert not bench.restarted("draining").machine.awaits


def test_when_a_run_is_over_its_workers_are_told_once_nothing_is_awaited(store: Store) -> None:
    bench = Bench(store)
    bench.store_version(10)
    with store.transaction() as work:
        evaluator = bench.evaluator(work)
        evaluator.end(10, bench.now + 5.0)
        evaluator.settle(bench.run)
        assert bench.effects[-1] != TellChanges()
        bench.evaluated = evaluator.evaluated
    bench.answer("a", 1.0)
    bench.answer("b", 1.0)
    assert bench.effects[-1] == TellChanges()
    assert bench.evaluated.over


def test_after_a_restore_who_was_asked_before_is_asked_again(store: Store) -> None:
    bench = Bench(store)
    bench.store_version(0)
    bench.answer("a", 1.0)
    store.take_incarnation(0, 2_000.0)
    again = bench.restarted()
    assert again.machine.incarnation == 2_000_000
    assert again.machine.open is not None
    assert set(again.machine.open.asked) == {"a"}
    assert (again.machine.open.answered, len(again.machine.open.tasks)) == (1, 0)
    bench.evaluated, bench.now = again, bench.now + 10.0
    bench.pass_time(bench.now)
    assert set(bench.opened.tasks.values()) == {"b", "c"}
