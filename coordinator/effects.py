"""What is done once a transaction has committed, and never before."""

from __future__ import annotations

from dataclasses import dataclass

from broker.transport import AnswerTo, Delivered
from coordinator.aggregation.counted import Counted
from coordinator.records import Place
from coordinator.tries import Bar
from coordinator.uploads import Upload
from schemas.buffer import Buffer
from schemas.messages import Presence, Update


@dataclass(frozen=True, slots=True)
class Ack:
    """Settle a delivery: the store now knows what it said."""

    tag: int


@dataclass(frozen=True, slots=True)
class AddToSum:
    """Add a counted update, which lies in the spool, to the sum."""

    update: Counted
    where: Place


@dataclass(frozen=True, slots=True)
class PublishTask:
    """Publish a task that the store has."""

    task_id: str


@dataclass(frozen=True, slots=True)
class PutAgain:
    """A worker is there and has not taken its direct task: it may not be in its queue any more."""

    task_id: str


@dataclass(frozen=True, slots=True)
class PublishRefused:
    """Keep a copy of a refused message for people to look at.

    Attributes:
        routing_key: The one that it came with.
    """

    body: Buffer
    message_id: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class AnswerStart:
    """Tell a worker what to train on, as soon as the stream has it.

    Attributes:
        base_version: The version that is meant: the current one, but for a direct task.
    """

    to: AnswerTo
    task_id: str
    lease_end: float
    base_version: int


@dataclass(frozen=True, slots=True)
class AnswerUnwanted:
    """Tell a worker that the task it took is not wanted."""

    to: AnswerTo
    run_id: str
    task_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class AnswerPresence:
    """Tell a worker how things stand, and remember that it is there.

    Attributes:
        bar: What it did for the current version and may keep it from taking a task.
        hold: What keeps it from taking one whatever it did.
        away_s: Pace steering, see `Standing`.
        in_hand: Updates that are read from the depot, or wait for that.
    """

    to: AnswerTo | None
    presence: Presence
    bar: Bar | None
    verdicts: dict[str, str]
    missing: dict[str, tuple[int, ...]]
    unknown: tuple[str, ...]
    hold: Bar | None = None
    away_s: float = 0.0
    in_hand: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Have a worker ask how things stand, at once: what it asked cannot be answered."""

    to: AnswerTo


@dataclass(frozen=True, slots=True)
class ForgetParts:
    """Delete the parts of an upload that has its verdict."""

    update_id: str


@dataclass(frozen=True, slots=True)
class FetchParts:
    """Hold an update's closing message, and read its parts from the depot.

    Attributes:
        missing: The numbers of those that are not here.
        part_bytes: How long each is, but for the last.
    """

    delivery: Delivered
    update: Update
    missing: tuple[int, ...]
    part_bytes: int


@dataclass(frozen=True, slots=True)
class PartKept:
    """A part that was read from the depot is here, or there was no room for it."""

    upload: Upload
    index: int
    taken: bool


@dataclass(frozen=True, slots=True)
class ForgetObject:
    """Delete an update from the depot: it has its verdict, or is not what it should be."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class LookAtModel:
    """A worker did not find the model where it should be: look whether it is there."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class DropTasks:
    """The run is over: tasks that nobody has taken need not be taken."""


@dataclass(frozen=True, slots=True)
class TellChanges:
    """What workers were told when they were there does not hold any more."""


Effect = (
    Ack
    | AddToSum
    | PublishTask
    | PutAgain
    | PublishRefused
    | AnswerStart
    | AnswerUnwanted
    | AnswerPresence
    | AskAgain
    | ForgetParts
    | FetchParts
    | PartKept
    | ForgetObject
    | LookAtModel
    | DropTasks
    | TellChanges
)
