"""The evaluation machine: `advance(state, event, now) -> (state, actions)`, beside the rounds.

    idle ── a version is due ──▶ open ── goal, deadline, or the last version is due ──▶ idle
                                  │  ▲
                                  └──┘ workers of the cohort are drawn, asked, and answer

Rules of the file: ids and numbers only; one evaluation is open at a time, of the newest version
that was due when it opened; a worker is asked once in it, by a direct task that pins the version
and whose lease is the deadline; what comes after the close changes nothing and is recorded as late;
the same events give the same actions, and every action of one `advance` belongs to one transaction.

What the answers say is in `coordinator.scores`, what follows from it in `coordinator.guard`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from immutables import Map

from coordinator.cohort import NO_COHORT, Cohort
from coordinator.dispatch import DRAW_AGAIN_S, DRAW_SOON_S
from coordinator.events import (
    DenyTask,
    EndTask,
    GrantTask,
    OfferTask,
    RecordVerdict,
    Refused,
    TaskDeclined,
    TaskTaken,
    TimePassed,
    UpdateArrived,
    VersionStored,
    WorkersDrawn,
    WorkerSeen,
)
from schemas.digest import identify

KIND: Literal["evaluate"] = "evaluate"

NO_TASKS: Map[str, str] = Map()

ASKED_TIMES = 4
"""Of so many times the workers that are wanted, all may decline: then the fault is not theirs, the
model may be gone, and the rest of the cohort is left alone.
"""

CloseReason = Literal["goal", "deadline", "a newer version", "the end of the run"]


@dataclass(frozen=True, slots=True)
class Plan:
    """When versions are evaluated, and by how many.

    Attributes:
        every: Versions from one to the next; 0 for no evaluation.
        goal: Answers that close one.
        deadline_s: Seconds after which it closes with what has come.
        rounds: The last version, which is evaluated in any case.
        max_examples: The most examples that an answer can weigh, 0 for no cap.
        cohort: Who evaluates.
    """

    every: int = 0
    goal: int = 10
    deadline_s: float = 600.0
    rounds: int = 1
    max_examples: int = 0
    cohort: Cohort = NO_COHORT

    @property
    def asked(self) -> int:
        """How many workers are asked at once: the goal and 30 % more, for some will not answer."""
        return -(-13 * self.goal // 10)

    def due(self, version: int) -> bool:
        """Whether a version is to be evaluated."""
        return self.every > 0 and (version % self.every == 0 or version >= self.rounds)

    def weight(self, num_examples: int) -> float:
        """What an answer weighs in the mean: its examples, capped."""
        return float(min(num_examples, self.max_examples or num_examples))


@dataclass(frozen=True, slots=True)
class Open:
    """An evaluation that waits for answers.

    Attributes:
        answered: How many were counted.
        tasks: Open tasks, each with the worker that was asked.
        asked: All workers that were, each with its task.
        draw_at: When workers are drawn for what the last draw left open; None if it left nothing.
    """

    version: int
    deadline_at: float
    answered: int = 0
    tasks: Map[str, str] = NO_TASKS
    asked: Map[str, str] = NO_TASKS
    draw_at: float | None = None

    def task_of(self, worker_id: str) -> str:
        """The open task of a worker, "" if it has none."""
        task_id = self.asked.get(worker_id, "")
        return task_id if task_id in self.tasks else ""


@dataclass(frozen=True, slots=True)
class Evaluations:
    """All evaluations of a run by its cohort.

    Attributes:
        salt: As in `coordinator.states.Run`.
        next_number: How many tasks to evaluate were ever made in this run.
        newest: The newest version whose evaluation was opened, -1 before the first.
        due: The newest version that is to be evaluated next, -1 for none.
        over_at: When nothing more is waited for but who was asked; None while the run goes on.
    """

    run_id: str
    incarnation: int
    plan: Plan
    salt: str = ""
    next_number: int = 0
    newest: int = -1
    due: int = -1
    open: Open | None = None
    over_at: float | None = None

    @property
    def awaits(self) -> bool:
        """Whether answers may still come, or a version is due."""
        return self.open is not None or self.due >= 0

    def evaluates(self, worker_id: str) -> bool:
        """Whether a worker is one of those that evaluate and never train."""
        return worker_id in self.plan.cohort

    def task_of(self, worker_id: str) -> str:
        """The open task of a worker, "" if it has none."""
        return "" if self.open is None else self.open.task_of(worker_id)

    def worker_of(self, task_id: str) -> str:
        """Who was asked by an open task, "" if it is not open."""
        return "" if self.open is None else self.open.tasks.get(task_id, "")

    def task_id(self, number: int) -> str:
        """The id of a task: never used twice, and never that of a task to train."""
        return identify("task", KIND, self.run_id, self.incarnation, self.salt, number)


@dataclass(frozen=True, slots=True)
class RunOver:
    """The run makes no more versions; who was asked may still answer.

    Attributes:
        version: The last one, which is to be evaluated; -1 if that is not wanted.
        until: When it is over for whoever was not asked.
    """

    version: int
    until: float


Event = (
    VersionStored
    | UpdateArrived
    | TaskTaken
    | TaskDeclined
    | WorkerSeen
    | WorkersDrawn
    | TimePassed
    | RunOver
)


@dataclass(frozen=True, slots=True)
class OpenEvaluation:
    """Note that the answers of a version are waited for."""

    version: int
    deadline_at: float


@dataclass(frozen=True, slots=True)
class DrawEvaluators:
    """Draw workers of the cohort, and hand in `WorkersDrawn`.

    Attributes:
        but: Those that were asked already.
    """

    count: int
    version: int
    but: Collection[str]


@dataclass(frozen=True, slots=True)
class CloseEvaluation:
    """Note what the answers say, and what follows from it."""

    version: int
    why: CloseReason


Action = (
    OpenEvaluation
    | DrawEvaluators
    | OfferTask
    | GrantTask
    | DenyTask
    | EndTask
    | RecordVerdict
    | CloseEvaluation
)
Step = tuple[Evaluations, list[Action]]


def wake_at(state: Evaluations) -> float | None:
    """When the machine wants to see `TimePassed`, None if only an event can move it."""
    opened = state.open
    if opened is None:
        return None if state.due < 0 else -1.0
    times = [opened.deadline_at]
    times += [] if opened.draw_at is None else [opened.draw_at]
    times += [] if state.over_at is None or opened.tasks else [state.over_at]
    return min(times)


def advance(state: Evaluations, event: Event, now: float) -> Step:
    """The next state, and what to do in the same transaction."""
    match event:
        case VersionStored():
            # A run that goes on after its end stores its last version once more.
            new = event.version > state.newest and state.plan.due(event.version)
            return _opened(replace(state, due=event.version if new else state.due), [], now)
        case UpdateArrived():
            return _answer(state, event, now)
        case TaskTaken():
            return _take(state, event)
        case TaskDeclined():
            return _decline(state, event, now)
        case WorkerSeen():
            return _draw_soon(state, now), []
        case WorkersDrawn():
            return _ask(state, event.worker_ids, now)
        case TimePassed():
            return _look_at_the_clock(state, now)
        case RunOver():
            return _over(state, event, now)
        case _:
            assert_never(event)


def _opened(state: Evaluations, actions: list[Action], now: float) -> Step:
    """With an evaluation open, if one is due and none is."""
    if state.open is not None or state.due < 0:
        return state, actions
    version, deadline_at = state.due, now + state.plan.deadline_s
    actions.append(OpenEvaluation(version, deadline_at))
    state = replace(state, due=-1, newest=version, open=Open(version, deadline_at))
    return _refilled(state, actions, now)


def _closed(state: Evaluations, why: CloseReason, actions: list[Action], now: float) -> Step:
    """With the open evaluation closed, and another open if one is due."""
    opened = state.open
    assert opened is not None
    how: Literal["lapsed", "ended"] = "lapsed" if why == "deadline" else "ended"
    for task_id, worker_id in sorted(opened.tasks.items()):
        actions.append(EndTask(task_id, how, f"the evaluation closed: {why}", worker_id))
    actions.append(CloseEvaluation(opened.version, why))
    return _opened(replace(state, open=None), actions, now)


def _refilled(state: Evaluations, actions: list[Action], now: float) -> Step:
    opened = state.open
    if opened is None:
        return state, actions
    missing = _missing(state.plan, opened)
    if missing <= 0:
        return replace(state, open=replace(opened, draw_at=None)), actions
    if opened.draw_at is not None and opened.draw_at > now:
        return state, actions
    actions.append(DrawEvaluators(missing, opened.version, opened.asked))
    again = replace(opened, draw_at=now + DRAW_AGAIN_S)
    return replace(state, open=again), actions


def _missing(plan: Plan, opened: Open) -> int:
    """How many more are to be asked now."""
    room = ASKED_TIMES * plan.asked - len(opened.asked)
    return min(plan.asked - opened.answered - len(opened.tasks), room)


def _draw_soon(state: Evaluations, now: float) -> Evaluations:
    opened = state.open
    if opened is None or opened.draw_at is None:
        return state
    return replace(state, open=replace(opened, draw_at=min(opened.draw_at, now + DRAW_SOON_S)))


def _ask(state: Evaluations, worker_ids: tuple[str, ...], now: float) -> Step:
    """Offer a task to each worker that was drawn, as far as there is room."""
    actions: list[Action] = []
    opened = state.open
    if opened is None:
        return state, actions
    number, version, deadline_at = state.next_number, opened.version, opened.deadline_at
    for worker_id in worker_ids:
        if _missing(state.plan, opened) <= 0 or worker_id in opened.asked:
            continue
        task_id = state.task_id(number)
        actions.append(
            OfferTask(task_id, number, version, "", worker_id, version, deadline_at, KIND)
        )
        opened = replace(
            opened,
            tasks=opened.tasks.set(task_id, worker_id),
            asked=opened.asked.set(worker_id, task_id),
        )
        number += 1
    draw_at = now + DRAW_AGAIN_S if _missing(state.plan, opened) > 0 else None
    return replace(state, next_number=number, open=replace(opened, draw_at=draw_at)), actions


def _take(state: Evaluations, event: TaskTaken) -> Step:
    """A worker has a task and asks what to evaluate."""
    opened = state.open
    asked = None if opened is None else opened.tasks.get(event.task_id)
    if opened is None or asked is None:
        reason = "the evaluation has closed, or it was answered"
        return state, [DenyTask(event.task_id, event.worker_id, reason)]
    if asked != event.worker_id:
        reason = "it was offered to another worker"
        return state, [DenyTask(event.task_id, event.worker_id, reason)]
    return state, [GrantTask(event.task_id, asked, opened.version, opened.deadline_at)]


def _decline(state: Evaluations, event: TaskDeclined, now: float) -> Step:
    opened = state.open
    asked = None if opened is None else opened.tasks.get(event.task_id)
    if opened is None or asked is None or event.worker_id not in ("", asked):
        return state, []
    opened = replace(opened, tasks=opened.tasks.delete(event.task_id), draw_at=None)
    actions: list[Action] = [EndTask(event.task_id, "declined", event.reason, asked)]
    return _refilled(replace(state, open=opened), actions, now)


def _answer(state: Evaluations, event: UpdateArrived, now: float) -> Step:
    opened = state.open
    refused = event.fault or _refusal(event, opened)
    verdict = _verdict(event, refused, state.plan)
    actions: list[Action] = [verdict]
    if opened is None:
        return state, actions
    if opened.tasks.get(event.task_id) == event.worker_id:
        actions.append(EndTask(event.task_id, "answered", verdict.verdict, event.worker_id))
        opened = replace(opened, tasks=opened.tasks.delete(event.task_id))
    if refused is None:
        opened = replace(opened, answered=opened.answered + 1)
    state = replace(state, open=opened)
    if opened.answered >= state.plan.goal:
        return _closed(state, "goal", actions, now)
    return _refilled(state, actions, now)


def _refusal(event: UpdateArrived, opened: Open | None) -> Refused | None:
    version, task = event.base_version, event.task
    if task is None or task.worker_id != event.worker_id or task.base_version != version:
        return Refused("unknown task", "no such task was offered to this worker in this run")
    if event.counted_before:
        return Refused("repeated", f"this worker's answer for version {version} is counted")
    if opened is None or opened.version != version:
        return Refused("late", f"the evaluation of version {version} had closed")
    return None


def _verdict(event: UpdateArrived, refused: Refused | None, plan: Plan) -> RecordVerdict:
    version = event.base_version
    if refused is not None:
        return RecordVerdict(event.update_id, refused.verdict, refused.reason, version, 0, 0.0)
    weight = plan.weight(event.num_examples)
    return RecordVerdict(event.update_id, "counted", "in time", version, 0, weight)


def _look_at_the_clock(state: Evaluations, now: float) -> Step:
    opened = state.open
    if opened is None:
        return _opened(state, [], now)
    if opened.deadline_at <= now:
        return _closed(state, "deadline", [], now)
    if state.over_at is not None and state.over_at <= now and not opened.tasks:
        return _closed(state, "the end of the run", [], now)
    return _refilled(state, [], now)


def _over(state: Evaluations, event: RunOver, now: float) -> Step:
    """Nothing is newer than the last version: it is evaluated, and no other any more."""
    due = event.version if state.plan.every and state.newest < event.version else -1
    state = replace(state, due=due, over_at=event.until)
    if state.open is not None and due >= 0:
        return _closed(state, "a newer version", [], now)
    return _opened(state, [], now)
