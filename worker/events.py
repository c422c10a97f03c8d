"""What happens to a worker's session, and what it wants done.

The shell turns broker, disk and training into events, and carries actions out in the order given.
`Ref` names one attempt to publish: what became of an older attempt is never taken for news.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from schemas.messages import Declined, Presence, Standing, Start, Taken, Task, TaskSource
from worker.parcel import Parcel, Trained


class Rng(Protocol):
    """Where jitter comes from."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


@dataclass(frozen=True, slots=True)
class Ref:
    """One attempt to publish, or to put something into the depot.

    Attributes:
        about: What is published.
        subject: The worker, task or update it is about.
        index: Which part of an upload, 0 for everything else.
        serial: Tells attempts apart.
    """

    about: Literal["presence", "taken", "declined", "part", "object", "update"]
    subject: str
    index: int
    serial: int


# Events: the broker.


@dataclass(frozen=True, slots=True)
class WentOnline:
    """The broker is reached."""


@dataclass(frozen=True, slots=True)
class WentOffline:
    """The connection is gone: deliveries, consumers and what was in flight are void."""


@dataclass(frozen=True, slots=True)
class TaskCame:
    """A task was delivered.

    Attributes:
        tag: What settles the delivery.
        known: What the store knows of the task: "new", "held" in the inbox, "open" in the outbox,
            or "done".
        start: What it may be begun on at once, None if the coordinator is to be asked.
    """

    tag: int
    task: Task
    known: Literal["new", "held", "open", "done"]
    start: Start | None = None


@dataclass(frozen=True, slots=True)
class NonsenseCame:
    """What was delivered is no task that this version can read."""

    tag: int
    reason: str


@dataclass(frozen=True, slots=True)
class ConsumerEnded:
    """The consumer of tasks ended though the connection stands."""

    reason: str


@dataclass(frozen=True, slots=True)
class Published:
    """The broker has confirmed a publish."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A publish was returned, refused, or is in doubt."""

    ref: Ref
    reason: str


@dataclass(frozen=True, slots=True)
class StartCame:
    """The coordinator says what to train on."""

    start: Start


@dataclass(frozen=True, slots=True)
class StandingCame:
    """The coordinator says how things stand, in answer to the question `ref`."""

    ref: Ref
    standing: Standing


# Events: disk and training.


@dataclass(frozen=True, slots=True)
class TaskKept:
    """The task is in the inbox, on disk."""

    task_id: str


@dataclass(frozen=True, slots=True)
class TaskNotKept:
    """The disk did not take the task."""

    task_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class StartKept:
    """The task in the inbox, and what it was begun on, are on disk."""

    task_id: str


@dataclass(frozen=True, slots=True)
class ModelMoved:
    """A part of the model came."""


@dataclass(frozen=True, slots=True)
class ModelInterrupted:
    """The model's stream broke off, or is not there yet; it may be read again."""


@dataclass(frozen=True, slots=True)
class ModelReady:
    """The model is in the cache, whole and verified."""

    model_digest: str


@dataclass(frozen=True, slots=True)
class ModelGone:
    """The model cannot be had from where it was said to be."""

    model_digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelNotKept:
    """The disk did not take the model, or the depot did not give it; it may be read again.

    Attributes:
        from_depot: It was the depot.
    """

    model_digest: str
    reason: str
    from_depot: bool = False


@dataclass(frozen=True, slots=True)
class TrainingMoved:
    """Training has begun, or made progress."""

    task_id: str


@dataclass(frozen=True, slots=True)
class TrainingDone:
    """Training is done; its update is in the outbox, on disk."""

    task_id: str
    parcel: Parcel


@dataclass(frozen=True, slots=True)
class TrainingFailed:
    """Training ended without an update.

    Attributes:
        kind: "crash": the learner raised, or its process died; may be tried again. "unfit": it can
            never work here. "model": the cached model is damaged. "cancelled": as was asked.
            "disk": the attempt could not be counted, so it was not begun and is none.
    """

    task_id: str
    kind: Literal["crash", "unfit", "model", "cancelled", "disk"]
    reason: str


@dataclass(frozen=True, slots=True)
class PayloadGone:
    """The disk has lost an update's payload.

    Attributes:
        trained: What was trained last, as if this update had never been.
    """

    update_id: str
    trained: Trained


# Events: the owner, and time.


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave in good order."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


WorkEvent = (
    WentOnline
    | WentOffline
    | TaskCame
    | ConsumerEnded
    | Published
    | Unpublished
    | StartCame
    | TaskKept
    | TaskNotKept
    | ModelMoved
    | ModelInterrupted
    | ModelReady
    | ModelGone
    | ModelNotKept
    | TrainingMoved
    | TrainingDone
    | TrainingFailed
    | Stop
    | Tick
)
"""What concerns the task in hand."""

SessionEvent = WorkEvent | NonsenseCame | StandingCame | StartKept | PayloadGone
Events = tuple[SessionEvent, ...]


# Actions.


@dataclass(frozen=True, slots=True)
class Say:
    """Publish a control message; what is answerable is asked."""

    ref: Ref
    message: Presence | Taken | Declined


@dataclass(frozen=True, slots=True)
class SendUpdate:
    """Publish an update: the whole of it, or what closes an upload.

    Attributes:
        stored: Its payload lies in the depot.
    """

    ref: Ref
    update_id: str
    stored: bool = False


@dataclass(frozen=True, slots=True)
class PutObject:
    """Put an update's payload into the depot; `Published` or `Unpublished` follows."""

    ref: Ref
    update_id: str


@dataclass(frozen=True, slots=True)
class SendPart:
    """Publish one part of an update."""

    ref: Ref
    update_id: str
    index: int


@dataclass(frozen=True, slots=True)
class Consume:
    """Take one task from the pool, or from the worker's own queue."""

    queue: TaskSource


@dataclass(frozen=True, slots=True)
class StopConsuming:
    """End the consumer of tasks; an unsettled delivery can still be settled."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The broker may forget the delivery."""

    tag: int


@dataclass(frozen=True, slots=True)
class Reject:
    """Give a delivery back to its queue, or to the dead letters."""

    tag: int
    requeue: bool


@dataclass(frozen=True, slots=True)
class KeepTask:
    """Put the task into the inbox; `TaskKept` or `TaskNotKept` follows."""

    task: Task


@dataclass(frozen=True, slots=True)
class KeepStart:
    """Put the task into the inbox, and what it was begun on; `StartKept` follows if it is there.

    Attributes:
        said: Somebody knows that the task is here; else it goes on, and is to be said.
    """

    task: Task
    start: Start
    said: bool = True


@dataclass(frozen=True, slots=True)
class DropTask:
    """Take the task out of the inbox."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Have the model in the cache; `ModelReady`, `ModelGone` or `ModelNotKept` follows."""

    start: Start


@dataclass(frozen=True, slots=True)
class StopFetching:
    """Leave the model's stream."""


@dataclass(frozen=True, slots=True)
class Train:
    """Count an attempt and remember what it is on, then train.

    Attributes:
        deadline_s: Seconds left of the lease, None if unknown.
        said: The task is in the inbox, and somebody knows that it is here; else it is put there,
            and after a restart the coordinator is asked.
    """

    task: Task
    start: Start
    deadline_s: float | None
    said: bool = True


@dataclass(frozen=True, slots=True)
class CancelTraining:
    """Ask the training to end; `TrainingFailed` or `TrainingDone` follows.

    Attributes:
        forgive: The attempt does not count: it was stopped by us, not by a crash.
    """

    task_id: str
    forgive: bool


@dataclass(frozen=True, slots=True)
class KillTraining:
    """End a training that hangs; `TrainingFailed` follows."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Release:
    """The update is in the broker's hands: out of the outbox."""

    update_id: str


@dataclass(frozen=True, slots=True)
class Settle:
    """The update has a verdict: note it, and out of the outbox."""

    update_id: str
    verdict: str


@dataclass(frozen=True, slots=True)
class MarkSent:
    """All parts of an upload were confirmed (or some are wanted again)."""

    update_id: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """Give up an update whose payload is lost."""

    update_id: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a person should be able to read."""

    level: Literal["debug", "info", "warning", "error"]
    text: str


@dataclass(frozen=True, slots=True)
class GoAway:
    """Disconnect, and come back in about so many seconds: nothing is open."""

    for_s: float


@dataclass(frozen=True, slots=True)
class Leave:
    """The session is over; the last action.

    Attributes:
        code: The exit code: 0 in order, 1 if the broker could not be reached.
    """

    code: int
    reason: str


Action = (
    Say
    | SendUpdate
    | SendPart
    | PutObject
    | Consume
    | StopConsuming
    | Ack
    | Reject
    | KeepTask
    | KeepStart
    | DropTask
    | Fetch
    | StopFetching
    | Train
    | CancelTraining
    | KillTraining
    | Release
    | Settle
    | MarkSent
    | Forget
    | Remark
    | GoAway
    | Leave
)
Actions = tuple[Action, ...]
