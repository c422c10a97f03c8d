"""The states of a run, and what can be read off them.

    Closed ── version stored ──▶ Collecting ── goal, or deadline with quorum ──▶ Closed
      │                           │   ▲  └── deadline without quorum: extended, again and again
      │                           ▼   │ enough workers seen
      │                          Paused ── quorum ──▶ Closed
      └── last version stored ──▶ Draining ── time ──▶ Ended

`coordinator.run` has the arrows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from coordinator.events import Action
from coordinator.policy import RoundPolicy
from coordinator.tasks import NO_TASKS, OpenTasks
from coordinator.tries import Bar, Phase, barred
from schemas.digest import identify


@dataclass(frozen=True)
class Run:
    """What every state of a run knows.

    Attributes:
        policy: What the open round was opened with.
        next_policy: What takes effect when the next version opens, None if that is the same.
        version: The current model version, -1 before the first is stored.
        salt: Drawn when a process begins, so that no two ever make tasks of the same id, not even
            after a restore that nobody told of.
        next_task: How many tasks were ever made in this run; numbers the next.
        newest_taken: The highest number of a task that was ever taken from the pool, -1 if none
            was.
        owed: Tasks of the open round whose lease has ended, and in whose place nobody could be
            drawn yet.
        durations: How long the last answered tasks took, in seconds; see `coordinator.deadline`.
        ends_at: When the run ends with what it has, None for no limit.
    """

    run_id: str
    incarnation: int
    policy: RoundPolicy
    next_policy: RoundPolicy | None = None
    version: int = -1
    tasks: OpenTasks = NO_TASKS
    salt: str = ""
    next_task: int = 0
    newest_taken: int = -1
    owed: tuple[str, ...] = ()
    durations: tuple[float, ...] = ()
    ends_at: float | None = None

    def task_id(self, number: int) -> str:
        """The id of a task: never used twice, not even after a restore."""
        return identify("task", self.run_id, self.incarnation, self.salt, number)


@dataclass(frozen=True)
class Collecting:
    """A round is open.

    Attributes:
        draw_at: When workers are drawn for the slots that the last draw left free; None if it left
            none.
    """

    run: Run
    counted: int
    opened_at: float
    deadline_at: float
    extensions: int
    draw_at: float | None = None


@dataclass(frozen=True)
class Paused:
    """Too many deadlines passed without quorum; waits for workers.

    Attributes:
        again_at: When workers whose update was refused may try again.
        seen: Workers that are there and may still count for this version.
        sent: Those that have sent an update of it, and take no task.
    """

    run: Run
    counted: int
    opened_at: float
    again_at: float
    seen: frozenset[str] = frozenset()
    sent: frozenset[str] = frozenset()


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
            leases = state.run.tasks.next_lease_end()
            times = [state.deadline_at, leases, state.run.ends_at, state.draw_at]
            return min(time for time in times if time is not None)
        case Paused():
            return min(state.again_at, state.run.ends_at or math.inf)
        case Draining():
            return state.until
        case Closed() | Ended():
            return None
        case _:
            assert_never(state)


def may_take(
    state: State, run_id: str, last_version: int, bar: Bar | None, hold: Bar | None = None
) -> bool:
    """Whether a worker that last trained on `last_version` of `run_id` may take a task.

    `bar` is what it did for the current version, and `hold` what holds it whatever it did; see
    `coordinator.tries`.
    """
    fresh = run_id != state.run.run_id or last_version < state.run.version
    return barred(phase_of(state), bar, fresh, hold) is None


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
