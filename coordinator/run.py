"""The round machine: `advance(state, event, now) -> (state, actions)`.

    Closed ── version stored ──▶ Collecting ── goal, or deadline with quorum ──▶ Closed
      │                           │   ▲  └── deadline without quorum: extended, again and again
      │                           ▼   │ enough workers seen
      │                          Paused ── quorum ──▶ Closed
      └── last version stored ──▶ Draining ── time ──▶ Ended

Rules of the file: ids and numbers only, no tensor comes here; `now` is the coordinator's time in
seconds; every action of one `advance` belongs to one transaction; the same events give the same
actions.

A pool task pins no version, so one that nobody has taken is as good for the next version and stays
(docs/decisions/0004). It is given up, in case the broker lost it, when a deadline passes without
quorum, or short of the goal though later tasks were taken: the pool keeps its order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import assert_never

from coordinator.events import (
    TRY_AGAIN,
    Action,
    CloseReason,
    CloseRound,
    DenyTask,
    DrainRun,
    EndRun,
    EndTask,
    Event,
    ExtendRound,
    GrantTask,
    LetTryAgain,
    OfferTask,
    OpenRound,
    PauseRun,
    TaskDeclined,
    TaskTaken,
    TimePassed,
    UpdateArrived,
    VersionStored,
    WorkerSeen,
)
from coordinator.policy import RoundPolicy
from coordinator.round import judge, judge_after_end
from coordinator.tasks import NO_TASKS, OpenTask, OpenTasks
from coordinator.tries import Bar, Phase, barred
from schemas.digest import identify

DEADLINES_PAUSED = 10
"""After how many deadlines a paused run lets workers try again whose update was refused."""


@dataclass(frozen=True, slots=True)
class Run:
    """What every state of a run knows.

    Attributes:
        version: The current model version, -1 before the first is stored.
        salt: Drawn when a process begins, so that no two ever make tasks of the same id, not even
            after a restore that nobody told of.
        next_task: How many tasks were ever made in this run; numbers the next.
        newest_taken: The highest number of a task that was ever taken, -1 if none was.
        ends_at: When the run ends with what it has, None for no limit.
    """

    run_id: str
    incarnation: int
    policy: RoundPolicy
    version: int = -1
    tasks: OpenTasks = NO_TASKS
    salt: str = ""
    next_task: int = 0
    newest_taken: int = -1
    ends_at: float | None = None

    def task_id(self, number: int) -> str:
        """The id of a task: never used twice, not even after a restore."""
        return identify("task", self.run_id, self.incarnation, self.salt, number)


@dataclass(frozen=True, slots=True)
class Collecting:
    """A round is open."""

    run: Run
    counted: int
    opened_at: float
    deadline_at: float
    extensions: int


@dataclass(frozen=True, slots=True)
class Paused:
    """Too many deadlines passed without quorum; waits for workers.

    Attributes:
        again_at: When workers whose update was refused may try again.
        seen: Workers that are there and may still count for this version.
    """

    run: Run
    counted: int
    opened_at: float
    again_at: float
    seen: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Closed:
    """The round is closed and its sum is being made into the next version."""

    run: Run


@dataclass(frozen=True, slots=True)
class Draining:
    """The last version is made; what still comes is recorded."""

    run: Run
    until: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more happens."""

    run: Run


State = Collecting | Paused | Closed | Draining | Ended
Step = tuple[State, list[Action]]


def wake_at(state: State) -> float | None:
    """When the machine wants to see `TimePassed`, None if only an event can move it."""
    match state:
        case Collecting():
            times = [state.deadline_at, state.run.tasks.next_lease_end(), state.run.ends_at]
            return min(time for time in times if time is not None)
        case Paused():
            return min(state.again_at, state.run.ends_at or math.inf)
        case Draining():
            return state.until
        case Closed() | Ended():
            return None
        case _:
            assert_never(state)


def may_take(state: State, run_id: str, last_version: int, bar: Bar | None) -> bool:
    """Whether a worker that last trained on `last_version` of `run_id` may take a task.

    `bar` is what it did for the current version, see `coordinator.tries`.
    """
    fresh = run_id != state.run.run_id or last_version < state.run.version
    return barred(phase_of(state), bar, fresh) is None


def phase_of(state: State) -> Phase:
    """The name of a state."""
    match state:
        case Collecting():
            return "collecting"
        case Paused():
            return "paused"
        case Closed():
            return "closed"
        case Draining():
            return "draining"
        case Ended():
            return "ended"
        case _:
            assert_never(state)


def advance(state: State, event: Event, now: float) -> Step:
    """The next state, and what to do in the same transaction."""
    match state:
        case Collecting():
            return _collecting(state, event, now)
        case Paused():
            return _paused(state, event, now)
        case Closed():
            return _closed(state, event, now)
        case Draining() | Ended():
            return _over(state, event, now)
        case _:
            assert_never(state)


def _collecting(state: Collecting, event: Event, now: float) -> Step:
    match event:
        case UpdateArrived():
            return _count(state, event, now)
        case TaskTaken():
            run, actions = _take(state.run, event, now)
            return _refilled(replace(state, run=run), actions)
        case TaskDeclined():
            run, actions = _decline(state.run, event)
            return _refilled(replace(state, run=run), actions)
        case TimePassed():
            return _look_at_the_clock(state, now)
        case WorkerSeen() | VersionStored():
            return state, []
        case _:
            assert_never(event)


def _paused(state: Paused, event: Event, now: float) -> Step:
    match event:
        case UpdateArrived():
            return _count(state, event, now)
        case TaskTaken():
            run, actions = _take(state.run, event, now)
            state = replace(state, run=run)
            return _resumed(_seen(state, event.worker_id, event.counted_before), actions, now)
        case TaskDeclined():
            run, actions = _decline(state.run, event)
            return replace(state, run=run), actions
        case WorkerSeen():
            return _resumed(_seen(state, event.worker_id, event.spent), [], now)
        case TimePassed():
            if state.run.ends_at is not None and state.run.ends_at <= now:
                return _out_of_time(state, now)
            if state.again_at <= now:
                again = replace(state, again_at=_again_at(state.run, now))
                return again, [LetTryAgain(state.run.version)]
            return state, []
        case VersionStored():
            return state, []
        case _:
            assert_never(event)


def _closed(state: Closed, event: Event, now: float) -> Step:
    match event:
        case VersionStored():
            run = replace(state.run, version=event.version)
            if event.version >= run.policy.rounds:
                return _drain(run, "all rounds are done", now)
            if run.ends_at is not None and run.ends_at <= now:
                return _drain(run, "time was up", now)
            return _open(run, now)
        case UpdateArrived() | TaskTaken() | TaskDeclined():
            # The shell makes the version before it hands in anything else, so that what comes
            # after a close meets the next round.
            raise AssertionError(f"{type(event).__name__} while a version is being made")
        case WorkerSeen() | TimePassed():
            return state, []
        case _:
            assert_never(event)


def _over(state: Draining | Ended, event: Event, now: float) -> Step:
    match event:
        case UpdateArrived():
            version = state.run.version
            return state, [judge_after_end(event, version).record(event.update_id, version)]
        case TaskTaken():
            return state, [DenyTask(event.task_id, event.worker_id, "the run is over")]
        case TimePassed():
            if isinstance(state, Draining) and state.until <= now:
                return Ended(state.run), [EndRun(state.run.version)]
            return state, []
        case TaskDeclined() | WorkerSeen() | VersionStored():
            return state, []
        case _:
            assert_never(event)


def _open(run: Run, now: float) -> Step:
    deadline_at = now + run.policy.deadline_s
    state = Collecting(run, 0, now, deadline_at, 0)
    return _refilled(state, [OpenRound(run.version, now, deadline_at)])


def _count(state: Collecting | Paused, event: UpdateArrived, now: float) -> Step:
    run = state.run
    judgement = judge(event, run.version, run.policy)
    actions: list[Action] = [judgement.record(event.update_id, run.version)]
    if event.task_id in run.tasks:
        run = replace(run, tasks=run.tasks.remove(event.task_id))
        actions.append(EndTask(event.task_id, "answered", judgement.verdict))
    counted = state.counted + (1 if judgement.counted else 0)
    state = replace(state, run=run, counted=counted)
    if counted >= run.policy.goal:
        return _close(state, "goal", actions)
    if isinstance(state, Paused):
        if counted >= run.policy.quorum:
            return _close(state, "deadline", actions)
        current = judgement.staleness == 0
        done = current and judgement.verdict not in TRY_AGAIN
        state = _seen(state, event.worker_id, done)
        return _resumed(state, actions, now)
    return _refilled(state, actions)


def _close(state: Collecting | Paused, why: CloseReason, actions: list[Action]) -> Step:
    run = state.run
    actions.append(CloseRound(run.version, why))
    if run.policy.late == "refuse":
        # Their updates could only be late: the slots are better used for the next version.
        run = _ended(run, run.tasks.taken(), "the round closed", actions)
    return Closed(run), actions


def _out_of_time(state: Collecting | Paused, now: float) -> Step:
    if state.counted:
        return _close(state, "time", [])  # what was counted goes into the last version
    return _drain(state.run, "time was up", now)


def _look_at_the_clock(state: Collecting, now: float) -> Step:
    run = state.run
    actions: list[Action] = []
    if run.ends_at is not None and run.ends_at <= now:
        return _out_of_time(state, now)
    run = _replace_lapsed(run, now, actions)
    if now < state.deadline_at:
        return _refilled(replace(state, run=run), actions)
    if state.counted >= run.policy.quorum:
        run = _replace_untaken(run, run.newest_taken, "later tasks were taken before it", actions)
        return _close(replace(state, run=run), "deadline", actions)
    run = _replace_untaken(run, run.next_task, "nobody took it by the deadline", actions)
    if state.extensions >= run.policy.max_extensions:
        actions.append(PauseRun(run.version))
        return Paused(run, state.counted, state.opened_at, _again_at(run, now)), actions
    return _extend(replace(state, run=run), state.extensions + 1, actions, now)


def _extend(state: Collecting, extensions: int, actions: list[Action], now: float) -> Step:
    deadline_at = now + state.run.policy.deadline_s
    actions.append(ExtendRound(state.run.version, extensions, deadline_at))
    return _refilled(replace(state, extensions=extensions, deadline_at=deadline_at), actions)


def _seen(state: Paused, worker_id: str, counted: bool) -> Paused:
    """One more worker is there; one that counted for this version cannot do so again."""
    seen = state.seen - {worker_id} if counted else state.seen | {worker_id}
    return replace(state, seen=seen)


def _resumed(state: Paused, actions: list[Action], now: float) -> Step:
    if state.counted + len(state.seen) < state.run.policy.quorum:
        return state, actions
    run = _replace_lapsed(state.run, now, actions)
    collecting = Collecting(run, state.counted, state.opened_at, now, 0)
    return _extend(collecting, 0, actions, now)


def _drain(run: Run, why: str, now: float) -> Step:
    actions: list[Action] = []
    run = _ended(run, run.tasks.in_order(), "the run is over", actions)
    until = now + run.policy.drain_s
    actions.append(DrainRun(run.version, why, until))
    return Draining(run, until), actions


def _take(run: Run, event: TaskTaken, now: float) -> tuple[Run, list[Action]]:
    actions: list[Action] = []
    # First, or a worker that asks again is granted a task whose replacement comes a moment later.
    run = _replace_lapsed(run, now, actions)
    run, granted = _grant(run, event, now)
    return run, actions + granted


def _grant(run: Run, event: TaskTaken, now: float) -> tuple[Run, list[Action]]:
    task = run.tasks.get(event.task_id)
    if task is None:
        return run, [DenyTask(event.task_id, event.worker_id, "the task is no longer open")]
    if event.counted_before:
        actions: list[Action] = []
        if task.worker_id in ("", event.worker_id):
            run = _ended(run, [task], "taken by a worker that had counted", actions)
        reason = f"this worker already counted for version {run.version}"
        return run, [*actions, DenyTask(event.task_id, event.worker_id, reason)]
    lease_end = task.lease_end
    if lease_end is None:
        lease_end = now + run.policy.lease_s
        run = replace(
            run,
            tasks=run.tasks.take(task.task_id, event.worker_id, lease_end),
            newest_taken=max(run.newest_taken, task.number),
        )
    return run, [GrantTask(task.task_id, event.worker_id, run.version, lease_end)]


def _decline(run: Run, event: TaskDeclined) -> tuple[Run, list[Action]]:
    task = run.tasks.get(event.task_id)
    if task is None or task.worker_id not in ("", event.worker_id):
        return run, []  # ended already, or another worker has it
    run = replace(run, tasks=run.tasks.remove(task.task_id))
    return run, [EndTask(task.task_id, "declined", event.reason)]


def _replace_lapsed(run: Run, now: float, actions: list[Action]) -> Run:
    while (task := run.tasks.lapsed(now)) is not None:
        run = replace(run, tasks=run.tasks.remove(task.task_id))
        actions.append(EndTask(task.task_id, "lapsed", "its lease ended"))
        run = _offered(run, task.task_id, actions)
    return run


def _replace_untaken(run: Run, below: int, why: str, actions: list[Action]) -> Run:
    """Give up the untaken tasks with numbers below one, in case the broker lost them."""
    for task in run.tasks.untaken():
        if task.number < below:
            run = _ended(run, [task], why, actions)
            run = _offered(run, task.task_id, actions)
    return run


def _again_at(run: Run, now: float) -> float:
    return now + DEADLINES_PAUSED * run.policy.deadline_s


def _ended(run: Run, tasks: list[OpenTask], reason: str, actions: list[Action]) -> Run:
    for task in tasks:
        run = replace(run, tasks=run.tasks.remove(task.task_id))
        actions.append(EndTask(task.task_id, "ended", reason))
    return run


def _refilled(state: Collecting, actions: list[Action]) -> Step:
    """Offer tasks until `concurrency` are in flight.

    Where late updates are refused, one that answers in this round keeps its slot until the round
    closes: a fresh task could hardly be answered in time.
    """
    run = state.run
    held = state.counted if run.policy.late == "refuse" else 0
    while len(run.tasks) + held < run.policy.concurrency:
        run = _offered(run, "", actions)
    return replace(state, run=run), actions


def _offered(run: Run, replaces: str, actions: list[Action]) -> Run:
    task_id = run.task_id(run.next_task)
    actions.append(OfferTask(task_id, run.next_task, run.version, replaces))
    tasks = run.tasks.offer(OpenTask(task_id, run.version, replaces=replaces, number=run.next_task))
    return replace(run, tasks=tasks, next_task=run.next_task + 1)
