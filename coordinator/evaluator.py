"""Evaluations in one transaction: the machine's actions as rows, and what follows from them.

    event ─▶ evaluating.advance ─▶ rows, tasks ─┬─ an evaluation closes ─▶ scores ─▶ guard ─▶ course
                                                └─ workers are wanted ───▶ drawn ──▶ event

Rules: as of a batch (`coordinator.batch.batch`); an answer's row is in the ledger before the
evaluation that it closes is added up, from the ledger alone; what follows is in the same
transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, assert_never

from broker.transport import AnswerTo
from coordinator.cohort import Cohort
from coordinator.effects import Effect, TellChanges
from coordinator.evaluating import (
    Action,
    CloseEvaluation,
    DrawEvaluators,
    Evaluations,
    Event,
    Open,
    OpenEvaluation,
    Plan,
    RunOver,
    advance,
)
from coordinator.events import (
    DenyTask,
    EndTask,
    GrantTask,
    OfferTask,
    RecordVerdict,
    WorkersDrawn,
)
from coordinator.findings import Findings
from coordinator.guard import (
    Course,
    Decision,
    Improved,
    Measured,
    Nothing,
    RollBack,
    Rules,
    Stop,
    course_of,
    first_stop,
    follow,
)
from coordinator.records import CourseRow, EvaluationRow, RunRow
from coordinator.restoring import GRACE_S
from coordinator.rows import write
from coordinator.scores import metrics_of, score
from coordinator.states import Run
from coordinator.work import Work
from settings import Settings

_log = logging.getLogger(__name__)

By = Literal["cohort", "coordinator"]
TaskAction = OfferTask | GrantTask | DenyTask | EndTask


class Crowd(Protocol):
    """The workers, as far as an evaluation needs them."""

    def draw_evaluators(
        self, count: int, version: int, but: Collection[str], now: float
    ) -> Sequence[str]:
        """Draw workers of the cohort that have no task.

        Args:
            count: How many are wanted.
            version: The version that they are to evaluate.
            but: Workers that are out.
            now: The coordinator's time.
        """
        ...

    def note(self, work: Work, action: TaskAction, now: float) -> None:
        """Note what becomes of their tasks."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What is to follow from which measurements.

    Attributes:
        by: Whose measurements count.
        min_examples: The fewest that they must stand for together.
    """

    rules: Rules
    by: By
    min_examples: int

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """As settings say."""
        evaluation = settings.evaluation
        rules = Rules(
            metric=evaluation.metric,
            better=evaluation.better,
            smoothing=evaluation.smoothing,
            min_delta=evaluation.min_delta,
            sureness=evaluation.sureness,
            patience=evaluation.patience,
            guard=evaluation.guard_loss,
        )
        by = evaluation.by if evaluation.cohort else "coordinator"
        return cls(rules, by, evaluation.min_examples)


def plan_of(settings: Settings) -> Plan:
    """When the cohort evaluates, as settings say."""
    evaluation = settings.evaluation
    return Plan(
        every=evaluation.every if evaluation.cohort else 0,
        goal=evaluation.goal,
        deadline_s=evaluation.deadline_s,
        rounds=settings.run.rounds,
        max_examples=settings.rounds.max_examples,
        cohort=Cohort(settings.run.seed, evaluation.cohort),
    )


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How the evaluations of a run stand, as of the last commit.

    Attributes:
        machine: The cohort's.
        course: What the measurements say so far.
        row: What follows.
        written: The store has the row.
        over: The run makes no more versions: none is to be made again, and it cannot stop.
    """

    machine: Evaluations
    course: Course
    row: CourseRow
    written: bool = True
    over: bool = False

    def reopened(self) -> Evaluated:
        """As it is when a run that was over goes on."""
        return replace(self, over=False, machine=replace(self.machine, over_at=None))

    def staying(self, version: int) -> Evaluated:
        """As it is when what the run was to go back to is gone: it begins again where it is.

        Args:
            version: The current one.
        """
        gone = not_kept(self.row.roll_back_to, self.row.roll_back_why)
        row = replace(self.row, roll_back_to=version, roll_back_why=gone)
        return replace(self, row=row, written=False)


def load(work: Work, run: RunRow, plan: Plan, terms: Terms, salt: str, now: float) -> Evaluated:
    """How the evaluations of a run stand in the store, by the plan and the terms of today.

    As with rounds (`coordinator.restoring`), no timer runs longer than one that begins now, nor
    ends before what waits in the broker was looked at.

    Args:
        work: A transaction.
        run: The run.
        plan: When its cohort evaluates.
        terms: What follows.
        salt: Of the tasks that this process makes.
        now: The coordinator's time.
    """
    findings = Findings(work)
    rows = findings.of_run(run.run_id, terms.by)
    measured = _measured(rows, terms.rules)
    course, _ = course_of(measured, terms.rules)
    stops = first_stop(measured, terms.rules) is not None
    stored = findings.course(run.run_id)
    # What is better, and how long one is patient, may be something else today.
    row = replace(
        stored,
        best_version=-1 if course.best is None else course.best.version,
        stop_why=stored.stop_why if stops else "",
    )
    machine = _machine(findings, run, plan, salt, now)
    over = run.state in ("draining", "ended")
    if row.stop_why:
        machine = replace(machine, due=-1)
    return Evaluated(machine, course, row, row == stored, over)


def _machine(findings: Findings, run: RunRow, plan: Plan, salt: str, now: float) -> Evaluations:
    cohort = findings.of_run(run.run_id, "cohort")
    over = run.state in ("draining", "ended")
    machine = Evaluations(
        run_id=run.run_id,
        incarnation=findings.incarnation(),
        plan=plan,
        salt=salt,
        next_number=findings.next_number(run.run_id),
        newest=max((row.version for row in cohort), default=-1),
        over_at=now if over else None,
    )
    opened = [row for row in cohort if row.closed_at is None]
    if opened:
        return replace(machine, open=_open_again(findings, opened[-1], plan, now))
    due = run.version if plan.due(run.version) or (over and plan.every) else -1
    return replace(machine, due=due if due > machine.newest else -1)


def _open_again(findings: Findings, row: EvaluationRow, plan: Plan, now: float) -> Open:
    asked = findings.asked(row.run_id, row.version)
    grace_s = min(GRACE_S, plan.deadline_s)
    opened = Open(
        row.version,
        min(max(row.deadline_at, now + grace_s), now + plan.deadline_s),
        answered=len(findings.answers(row.run_id, row.version)),
        draw_at=now,
    )
    for worker_id, (task_id, state) in asked.items():
        if state == "ended":
            continue  # by a restore, so that nothing can come of it
        opened = replace(opened, asked=opened.asked.set(worker_id, task_id))
        if state in ("offered", "taken"):
            opened = replace(opened, tasks=opened.tasks.set(task_id, worker_id))
    return opened


def _measured(rows: Sequence[EvaluationRow], rules: Rules) -> list[Measured]:
    return [
        Measured(row.version, row.current, row.mean(rules.metric), row.standard_error(rules.metric))
        for row in rows
        if row.conclusive
    ]


class Evaluator:
    """The evaluations of a run, in a transaction in the making.

    Args:
        work: The transaction.
        crowd: The workers.
        terms: What is to follow.
        evaluated: How it stood at the last commit.
        now: The coordinator's time.
        effects: Takes what is to be done after the commit.
        keeps: Whether the file of a version is there.

    Attributes:
        evaluated: How it stands now.
    """

    def __init__(
        self,
        work: Work,
        crowd: Crowd,
        terms: Terms,
        evaluated: Evaluated,
        now: float,
        effects: list[Effect],
        keeps: Callable[[int], bool],
    ) -> None:
        self._work = work
        self._findings = Findings(work)
        self._crowd = crowd
        self._terms = terms
        self._now = now
        self._said: list[Action] = []
        self.evaluated = evaluated
        self._effects = effects
        self._keeps = keeps

    def take(self, event: Event) -> RecordVerdict | None:
        """Take the machine a step further; the verdict, if it gave one.

        `settle` writes the rest, once the verdict is in the ledger.
        """
        machine, actions = advance(self.evaluated.machine, event, self._now)
        self.evaluated = replace(self.evaluated, machine=machine)
        verdict = None
        for action in actions:
            if isinstance(action, RecordVerdict):
                verdict = action
            else:
                self._said.append(action)
        return verdict

    def end(self, last: int, until: float) -> None:
        """The run makes no more versions, see `RunOver`."""
        self.evaluated = replace(self.evaluated, over=True)
        self.take(RunOver(last, until))

    def settle(self, run: Run, asking: AnswerTo | None = None) -> None:
        """Write what the machine said, and draw the workers that it wants."""
        if not self.evaluated.written:
            self.set_course()
        while self._said:
            self._write(self._said.pop(0), run, asking)

    def _write(self, action: Action, run: Run, asking: AnswerTo | None) -> None:
        match action:
            case OpenEvaluation():
                row = EvaluationRow(
                    run.run_id, action.version, "cohort", self._now, action.deadline_at
                )
                self._findings.insert(row)
            case DrawEvaluators():
                drawn = self._crowd.draw_evaluators(
                    action.count, action.version, action.but, self._now
                )
                self.take(WorkersDrawn(tuple(drawn)))
            case CloseEvaluation():
                self._close(action, run)
            case OfferTask() | GrantTask() | DenyTask() | EndTask():
                effect = write(action, self._work, run, self._now, asking)
                self._effects += [] if effect is None else [effect]
                self._crowd.note(self._work, action, self._now)
            case RecordVerdict():
                raise AssertionError("a verdict is written with its update")
            case _:
                assert_never(action)

    def _close(self, action: CloseEvaluation, run: Run) -> None:
        answers = self._findings.answers(run.run_id, action.version)
        metric, better = self._terms.rules.metric, self._terms.rules.better
        scores = {
            name: found.facts()
            for name in metrics_of(answers)
            if (found := score(answers, name, better if name == metric else None)) is not None
        }
        examples = sum(answer.examples for answer in answers)
        row = EvaluationRow(
            run_id=run.run_id,
            version=action.version,
            by="cohort",
            opened_at=self._now,
            deadline_at=self._now,
            closed_at=self._now,
            why=action.why,
            current=run.version,
            answers=len(answers),
            examples=examples,
            scores=scores,
            conclusive=metric in scores and examples >= self._terms.min_examples,
        )
        self._follow(row)
        if self.evaluated.over and not self.evaluated.machine.awaits:
            self._effects.append(TellChanges())  # who waited for a task need not any more

    def measured(self, version: int, metrics: Mapping[str, float], run: Run) -> None:
        """The coordinator has measured a version itself."""
        metric = self._terms.rules.metric
        # A diverged model has no finite loss: this is not the same as never to have had one.
        known = metric in metrics or self.evaluated.course.best is not None
        row = EvaluationRow(
            run_id=run.run_id,
            version=version,
            by="coordinator",
            opened_at=self._now,
            deadline_at=self._now,
            closed_at=self._now,
            why="measured",
            current=run.version,
            scores={name: {"mean": value} for name, value in metrics.items()},
            conclusive=known,
        )
        self._follow(row)

    def _follow(self, row: EvaluationRow) -> None:
        """Note what was found, and what follows from it."""
        if row.by == self._terms.by and row.conclusive:
            (measured,) = _measured([row], self._terms.rules)
            course, decision = follow(self.evaluated.course, measured, self._terms.rules)
            if isinstance(decision, RollBack) and not self._keeps(decision.version):
                decision = Nothing(not_kept(decision.version, decision.why))
                _log.warning("the run goes on: %s", decision.why)
            row = replace(row, decision=named(decision), reason=decision.why)
            self.evaluated = replace(self.evaluated, course=course)
            self._decide(decision)
        if row.by == "cohort":
            kept = {"opened_at", "deadline_at", "run_id", "version", "by"}
            names = [name for name in row.__dataclass_fields__ if name not in kept]
            changed = {name: getattr(row, name) for name in names}
            self._findings.change(row.run_id, row.version, row.by, **changed)
        else:
            self._findings.insert(row)

    def _decide(self, decision: Decision) -> None:
        over = self.evaluated.over
        match decision:
            case Improved():
                self.set_course(best_version=decision.version)
            case RollBack() if not over:
                self.set_course(roll_back_to=decision.version, roll_back_why=decision.why)
            case Stop() if not over:
                self.set_course(stop_why=decision.why)
            case RollBack() | Stop() | Nothing():
                pass
            case _:
                assert_never(decision)

    def set_course(self, **changes: Any) -> None:
        """Note what follows: fields of `CourseRow` that change."""
        row = replace(self.evaluated.row, **changes)
        self._findings.set_course(row)
        self.evaluated = replace(self.evaluated, row=row, written=True)


def not_kept(version: int, why: str) -> str:
    """Why the run does not go back to a version: its file was pruned, or deleted."""
    return f"version {version}, to go back to, is not kept any more: {why}"


def named(decision: Decision) -> str:
    """A decision's name in the store."""
    match decision:
        case Improved():
            return "improved"
        case RollBack():
            return "roll back"
        case Stop():
            return "stop"
        case Nothing():
            return "nothing"
        case _:
            assert_never(decision)
