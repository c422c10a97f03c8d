"""Rows of the store as values: what the core and the shell read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coordinator.events import TaskFacts
from coordinator.tasks import OpenTask
from schemas.codecs.names import FP32


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies in the spool: segment number, byte offset, length."""

    segment: int
    place: int
    length: int


NOWHERE = Place(0, 0, 0)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run and the state of its open round; the fields are those of table `runs`.

    Attributes:
        goal: Of the open round, as is `policy`.
        settings: What the run keeps to its end.
        tries_after: A refusal up to this arrival keeps no worker from trying again.
        ran_s: Seconds that a coordinator has run it.
    """

    run_id: str
    number: int
    state: str
    version: int
    rounds: int
    goal: int
    settings: Mapping[str, Any]
    policy: Mapping[str, Any]
    layout: list[list[Any]]
    layout_digest: str
    opened_at: float
    deadline_at: float
    tries_after: int
    extensions: int
    until: float
    why: str
    started_at: float
    ran_s: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A model version; the fields are those of table `versions`.

    Attributes:
        policy: What its round went by, empty for version 0.
        state_file: The file of what its successor needs of it, relative to the models' folder; ""
            if its algorithm keeps no state.
        cached: Workers whose last update is cached as of it.
        participation: How evenly workers had taken part when it was made (`coordinator.fairness`).
        rolled_back_to: The version whose parameters it has again, -1 if it is made of updates.
        guard: Why, in words; "" if it is made of updates.
        norm: Of the step that its round came to, taken or not; None if nobody wanted to know.
        stream_codec: In what it travels.
        coded_digest: Of what travels, "" if that is the version as it is.
        coded_bytes: How many bytes that are.
    """

    run_id: str
    version: int
    digest: str
    num_bytes: int
    file: str
    stream_offset: int | None
    counted: int
    weight: float
    why: str
    policy: Mapping[str, Any]
    made_at: float
    metrics: Mapping[str, float]
    participation: Mapping[str, Any] = field(default_factory=dict)
    state_file: str = ""
    state_digest: str = ""
    cached: int = 0
    rolled_back_to: int = -1
    guard: str = ""
    norm: float | None = None
    stream_codec: str = FP32
    coded_digest: str = ""
    coded_bytes: int = 0

    @property
    def stream_digest(self) -> str:
        """The digest of what is on the stream."""
        return self.coded_digest or self.digest

    @property
    def stream_bytes(self) -> int:
        """How many bytes are on the stream."""
        return self.coded_bytes or self.num_bytes


@dataclass(frozen=True, slots=True)
class CachedRow:
    """The last update of a worker, from a version on; the fields are those of table `cached`.

    Attributes:
        version: From which version on it is in force.
        base_version: The version it was trained from.
    """

    run_id: str
    worker_id: str
    version: int
    base_version: int
    slot: int
    scale: float
    examples: float


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """What was found of a version; the fields are those of table `evaluations`.

    Attributes:
        by: "cohort" or "coordinator".
        closed_at: None while answers are waited for.
        why: What closed it, "" while it is open.
        current: The version that was current when it closed.
        answers: How many were counted.
        examples: That they stand for, those of each capped as in training; 0 where nobody says.
        scores: Metric to `coordinator.scores.Score.facts`.
        conclusive: Enough came for something to follow from it.
        decision: What followed: "improved", "nothing", "roll back" or "stop"; "" if it was not
            asked for.
        reason: Of that, in words.
    """

    run_id: str
    version: int
    by: str
    opened_at: float
    deadline_at: float
    closed_at: float | None = None
    why: str = ""
    current: int = -1
    answers: int = 0
    examples: float = 0.0
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    conclusive: bool = False
    decision: str = ""
    reason: str = ""

    def mean(self, metric: str) -> float:
        """The mean of a metric, NaN if there is none."""
        value = self.scores.get(metric, {}).get("mean")
        return math.nan if value is None else float(value)

    def standard_error(self, metric: str) -> float:
        """The standard error of that mean, 0 if it is not known."""
        return float(self.scores.get(metric, {}).get("standard_error") or 0.0)


@dataclass(frozen=True, slots=True)
class CourseRow:
    """What follows from what was found; the fields are those of table `courses`.

    Attributes:
        best_version: -1 before the first evaluation.
        roll_back_to: The version whose parameters the next is to have; -1 for none.
        stop_why: Why the run stops early, "" if it does not.
    """

    run_id: str
    best_version: int = -1
    roll_back_to: int = -1
    roll_back_why: str = ""
    stop_why: str = ""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """An update; the fields are those of table `ledger`.

    Attributes:
        weight: What it weighs in the sum, 0 if it is not counted.
        full_weight: What it would weigh there if it were not stale.
    """

    arrival: int
    update_id: str
    run_id: str
    kind: str
    shard: int
    epoch: int
    incarnation: int
    task_id: str
    worker_id: str
    base_version: int
    base_digest: str
    payload_digest: str
    num_examples: int
    metrics: Mapping[str, float]
    train_s: float
    verdict: str
    reason: str
    round_version: int
    staleness: int
    weight: float
    full_weight: float
    local_steps: float
    copies: int
    received_at: float
    segment: int
    place: int
    length: int

    @property
    def where(self) -> Place:
        """Its place in the spool."""
        return Place(self.segment, self.place, self.length)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task; the fields are those of table `tasks`.

    Attributes:
        direct: It was offered to one worker, and pins its version; else to the pool.
        base_version: What it pins, or what who took it was told; None before that.
        on_its_way: Once it has lapsed: the update of its worker for its version that is on its way
            all the same, "" if none is known to be.
    """

    task_id: str
    run_id: str
    number: int
    kind: str
    state: str
    direct: bool
    offered_version: int
    base_version: int | None
    worker_id: str
    replaces: str
    replaced: bool
    published: bool
    offered_at: float
    taken_at: float | None
    lease_end: float | None
    ended_at: float | None
    reason: str
    on_its_way: str = ""

    def as_open(self) -> OpenTask:
        """The task as the machine knows it."""
        return OpenTask(
            self.task_id,
            self.offered_version,
            self.worker_id,
            self.lease_end,
            replaces=self.replaces,
            number=self.number,
            base_version=self.base_version if self.direct else None,
        )

    @property
    def had_at(self) -> float | None:
        """Since when a worker has it, None if nobody is known to have taken it from the pool."""
        return self.offered_at if self.direct else self.taken_at

    def is_of(self, worker_id: str) -> bool:
        """Whether a worker may answer it."""
        return not self.direct or self.worker_id == worker_id

    def as_facts(self) -> TaskFacts:
        """What the verdict of an update that answers it depends on."""
        if not self.direct:
            return TaskFacts(self.task_id, self.replaced)
        return TaskFacts(self.task_id, self.replaced, self.worker_id, self.base_version)


@dataclass(frozen=True, slots=True)
class StrayRow:
    """Bytes that could not take an update id; the fields are those of table `strays`.

    Attributes:
        verdict: The newest, as is its reason: another program may see more in the same bytes.
        claims: What they say of themselves (`worker_id`, `task_id`).
        copies: How often they came again, and were refused again.
        received_at: When they came first.
        accepted_at: When the same bytes came again and were no stray any more, None if they did
            not.
    """

    digest: str
    verdict: str
    reason: str
    claims: Mapping[str, Any]
    num_bytes: int
    copies: int
    received_at: float
    accepted_at: float | None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker that was seen; the fields are those of table `workers`.

    Attributes:
        number: Its row in the registry.
        address: Where its last question was to be answered, with `correlation_id`; "" if nowhere.
        examples: As it declares, like `capabilities` (names with spaces between them), `battery`
            and `metered`, see `coordinator.eligibility.Traits`.
        clock_offset: By how many minutes its clock is ahead of UTC's, -1 for unknown.
        hours: When it may connect, "HH:MM-HH:MM", "" for at any time.
        duration_s: Mean time that its tasks took, from the offer or from taking, 0 for unknown.
        train_s: Mean time that it trained, 0 for unknown.
        loss: That its last update reported, None for none.
        rest_until: Until then it is given no task.
        unheard: Leases in a row that ended without a word from it.
    """

    worker_id: str
    number: int
    first_seen: float
    last_seen: float
    leaving: bool
    address: str
    correlation_id: str
    examples: int
    capabilities: str
    battery: float
    metered: bool
    clock_offset: int
    hours: str
    duration_s: float
    train_s: float
    loss: float | None
    rest_until: float
    unheard: int
