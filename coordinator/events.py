"""What happens to a run, and what the round machine wants done about it. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coordinator.policy import RoundPolicy
from schemas.messages import TaskKind

Verdict = Literal[
    "counted",
    "late",
    "stale",
    "replaced",
    "repeated",
    "malformed",
    "unsupported version",
    "unauthenticated",
    "non-finite",
    "over-norm",
    "other timeline",
    "unknown task",
    "after end",
    "poison",
]
"""What became of an update; `docs/glossary.md` says what each means."""

TRY_AGAIN: frozenset[Verdict] = frozenset(
    {"replaced", "late", "stale", "other timeline", "unknown task", "after end"}
)
"""Refusals that say nothing of the data: another task may be answered with more luck."""

TaskEnd = Literal["answered", "declined", "lapsed", "ended"]
"""How a task leaves the open ones. A lapsed task (its lease ended) may still be answered."""

CloseReason = Literal["goal", "deadline", "time", "rolled back", "stopped"]


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal as a value: the verdict, and the reason in words."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What the store knows of the task an update answers.

    Attributes:
        worker_id: Whom it was offered to, "" for a pool task.
        base_version: The version that it pins, None for a pool task.
    """

    task_id: str
    replaced: bool
    worker_id: str = ""
    base_version: int | None = None


@dataclass(frozen=True, slots=True)
class UpdateArrived:
    """A new update, checked and spooled: never a copy of one that has its verdict.

    Attributes:
        fault: What the checks of the data found, if anything.
        task: The task it answers, None if the store does not know it.
        counted_before: An update of this worker for this base version was counted already.
        duration_s: How long ago its worker had its task, in seconds; None if nobody knows.
        since: When its worker took its task, if it never said so; None if somebody did.
    """

    update_id: str
    worker_id: str
    task_id: str
    base_version: int
    num_examples: int
    task: TaskFacts | None
    counted_before: bool
    fault: Refused | None = None
    duration_s: float | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class TaskTaken:
    """A worker has stored a task and asks what to train on.

    Attributes:
        counted_before: An update of this worker was counted for the version that it would train on:
            the one that the task pins, or the current one.
        barred: Why this worker is to have no task at all, "" if it may.
    """

    task_id: str
    worker_id: str
    counted_before: bool
    barred: str = ""


@dataclass(frozen=True, slots=True)
class UpdateAnnounced:
    """An update is not all here, and says that its task was taken, which nobody had said.

    Attributes:
        base_version: What it was trained on.
        since: When its worker took the task.
    """

    task_id: str
    worker_id: str
    base_version: int
    since: float


@dataclass(frozen=True, slots=True)
class TaskDeclined:
    """A worker gives a task up."""

    task_id: str
    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker said that it is there.

    Attributes:
        spent: Its update of the current version was counted, or refused for what another try would
            hardly change.
        sent: Its update of the current version is on its way: it may count, and takes no task.
    """

    worker_id: str
    spent: bool = False
    sent: bool = False


@dataclass(frozen=True, slots=True)
class WorkersDrawn:
    """Who was drawn when `DrawWorkers` asked for it, in the same transaction; perhaps too few."""

    worker_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """Another policy was set than the one that the run goes by; or again the same.

    Attributes:
        ends_at: When the run ends with what it has, None for no limit.
    """

    policy: RoundPolicy
    ends_at: float | None


@dataclass(frozen=True, slots=True)
class VersionStored:
    """A model version is on disk; collecting for it can begin.

    Attributes:
        stopped: Why it is to be the last, though more were planned; "" if it is not.
    """

    version: int
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class RoundDropped:
    """The next version is not made of the open round: it has an earlier one's parameters again."""


@dataclass(frozen=True, slots=True)
class RunStopped:
    """The run is to make no more versions, though more were planned, but of what was counted."""

    why: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Look at the clock."""


Event = (
    UpdateArrived
    | TaskTaken
    | UpdateAnnounced
    | TaskDeclined
    | WorkerSeen
    | WorkersDrawn
    | PolicyChanged
    | VersionStored
    | RoundDropped
    | RunStopped
    | TimePassed
)


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """Write the verdict of an update.

    Attributes:
        round_version: The version whose round it met.
        weight: What it weighs in the sum, 0 if it is not counted.
        full_weight: What it would weigh there if it were not stale.
    """

    update_id: str
    verdict: Verdict
    reason: str
    round_version: int
    staleness: int
    weight: float
    full_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class DrawWorkers:
    """Draw workers to be asked to train on a version, and hand in `WorkersDrawn`."""

    count: int
    version: int


@dataclass(frozen=True, slots=True)
class OfferTask:
    """Store a new task and publish it.

    Attributes:
        version: The current one.
        replaces: The task whose lease ended, "" if none.
        worker_id: Who was drawn, "" for a pool task.
        base_version: The version that it pins, None for a pool task.
        lease_end: When its lease ends, None for a pool task: that has none before it is taken.
        kind: What is to be done with the version; tasks of each kind have numbers of their own.
    """

    task_id: str
    number: int
    version: int
    replaces: str
    worker_id: str = ""
    base_version: int | None = None
    lease_end: float | None = None
    kind: TaskKind = "train"


@dataclass(frozen=True, slots=True)
class GrantTask:
    """Note that a worker has taken a task, and tell it which version to train on if it asks.

    Attributes:
        since: When it has, None for now.
    """

    task_id: str
    worker_id: str
    base_version: int
    lease_end: float
    since: float | None = None


@dataclass(frozen=True, slots=True)
class DenyTask:
    """Tell a worker that the task it took is no longer wanted."""

    task_id: str
    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class EndTask:
    """Note how a task ended.

    Attributes:
        worker_id: Whom it was offered to, "" for a pool task.
    """

    task_id: str
    how: TaskEnd
    reason: str
    worker_id: str = ""


@dataclass(frozen=True, slots=True)
class OpenRound:
    """Note that collecting for a version began, and under which policy."""

    version: int
    opened_at: float
    deadline_at: float
    policy: RoundPolicy


@dataclass(frozen=True, slots=True)
class ChangePolicy:
    """Note that the open round, or the paused run, goes on under another policy."""

    policy: RoundPolicy
    deadline_at: float


@dataclass(frozen=True, slots=True)
class ExtendRound:
    """Note that a deadline passed without quorum, and the round goes on."""

    version: int
    extensions: int
    deadline_at: float


@dataclass(frozen=True, slots=True)
class CloseRound:
    """Close the round in this transaction; then make the next version of its sum."""

    version: int
    why: CloseReason


@dataclass(frozen=True, slots=True)
class PauseRun:
    """Note that the run waits for workers; the sum is kept."""

    version: int


@dataclass(frozen=True, slots=True)
class LetTryAgain:
    """Note that a worker whose update of this version was refused may try again."""

    version: int


@dataclass(frozen=True, slots=True)
class DrainRun:
    """Note that the run has ended and records what still comes until `until`."""

    version: int
    why: str
    until: float


@dataclass(frozen=True, slots=True)
class EndRun:
    """Note that draining is over."""

    version: int


Action = (
    RecordVerdict
    | DrawWorkers
    | OfferTask
    | GrantTask
    | DenyTask
    | EndTask
    | OpenRound
    | ChangePolicy
    | ExtendRound
    | CloseRound
    | PauseRun
    | LetTryAgain
    | DrainRun
    | EndRun
)
