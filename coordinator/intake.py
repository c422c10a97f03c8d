"""What a message from the updates queue is, before anyone decides what it is worth. Pure.

Rules: only an update whose id follows from its task and worker, and whose digest holds, may take
its update id; anything else is a `Stray`, known by the digest of its bytes. A message that is newer
than the store is not judged at all: it means that the store was restored from a backup.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coordinator.aggregation.checks import inspect
from coordinator.events import Refused, Verdict
from coordinator.uploads import PARTS_MAX
from schemas.buffer import Buffer
from schemas.codecs.names import EXPECTED, spec_of
from schemas.codecs.payload import size_fault
from schemas.digest import digest_of, update_id_of
from schemas.errors import DecodeError, UnsupportedVersion
from schemas.layout import Layout
from schemas.messages import Update, UpdatePart, decode, part_count, part_span

KIND = "train"
EVALUATION = "evaluate"
LOCAL_STEPS_MAX = 1e9
NO_LOCAL_STEPS = Refused(
    "malformed",
    'algorithm.rule "nova" divides by the local steps, and its learner does not say them: return '
    "them as TrainResult.local_steps",
)
BELIEVED_AHEAD_MS = 10 * 365 * 24 * 3600 * 1000
"""How far an incarnation may be ahead: more than a wrong clock is, and far below what a message can
name, or a forged one would leave no incarnation above it to go on in.
"""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the open run expects of an update.

    Attributes:
        newest_incarnation: The newest that a message is believed to come from.
        version: The current model version.
        needs_local_steps: An update that does not say its local steps is of no use.
        digest_of_version: The digest of a version's parameters, None if it was never made.
    """

    run_id: str
    incarnation: int
    newest_incarnation: int
    version: int
    layout: Layout
    part_bytes: int
    max_norm: float
    needs_local_steps: bool
    digest_of_version: Callable[[int], str | None]


@dataclass(frozen=True, slots=True)
class Stray:
    """Bytes that take no update id."""

    verdict: Verdict
    reason: str
    worker_id: str = ""
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class Newer:
    """A message that is newer than the store."""

    incarnation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Whole:
    """An update with its payload."""

    update: Update
    payload: Buffer


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of an upload in parts; its payload is in the spool, if it has all arrived."""

    update: Update


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an upload."""

    part: UpdatePart
    payload: memoryview


Received = Whole | Closing | Part | Stray | Newer


def receive(body: Buffer, expected: Expected, sender: str | None = None) -> Received:
    """What a body from the updates queue is.

    Args:
        body: The message.
        expected: What the run expects.
        sender: The broker's user that published it, which must be the worker; None if anyone may.
    """
    try:
        message, payload = decode(body)
    except UnsupportedVersion as error:
        return Stray("unsupported version", str(error))
    except DecodeError as error:
        return Stray("malformed", str(error))
    if isinstance(message, Update | UpdatePart):
        stray = sender_fault(message.worker_id, message.task_id, sender)
        if stray is not None:
            return stray
    match message:
        case Update():
            return _receive_update(message, payload, expected)
        case UpdatePart():
            return _receive_part(message, payload, expected)
        case _:
            kind = type(message).__name__
            return Stray("malformed", f"expected an update, came a {kind} message")


def sender_fault(worker_id: str, task_id: str, sender: str | None) -> Stray | None:
    """What is wrong with who sent a message in a worker's name, None if nothing is."""
    if sender is None or sender == worker_id:
        return None
    user = f"the broker's user {sender!r}" if sender else "nobody the broker knows"
    return Stray("unauthenticated", f"{user} sent it as {worker_id!r}", worker_id, task_id)


def fault_of(
    update: Update,
    payload: Buffer,
    expected: Expected,
    passed: Callable[[], object] | None = None,
) -> Refused | None:
    """What is wrong with an update that holds its id, None if nothing is. Called once per id.

    Args:
        update: The update.
        payload: Its payload.
        expected: What the run expects.
        passed: See `coordinator.aggregation.counted.Counted`.
    """
    fault = header_fault(update, expected)
    if fault is not None:
        return fault
    codec, update_id = update.codec, update.update_id
    return inspect(payload, expected.layout, expected.max_norm, codec, update_id, passed)


def evaluation_fault(update: Update, payload: Buffer, expected: Expected) -> Refused | None:
    """What is wrong with the answer to a task to evaluate, None if nothing is."""
    fault = _origin_fault(update, expected, EVALUATION)
    if fault is None and (len(memoryview(payload)) or update.payload_bytes or update.parts):
        return Refused("malformed", f"an evaluation has no payload, came {update.payload_bytes}")
    return fault


def header_fault(update: Update, expected: Expected) -> Refused | None:
    """What is wrong with an update whatever its payload is, None if nothing is."""
    fault = _origin_fault(update, expected, KIND) or _steps_fault(update.local_steps, expected)
    if fault is not None:
        return fault
    wrong = size_fault(update.payload_bytes, update.codec, expected.layout)
    if wrong:
        return Refused("malformed", wrong)
    count = part_count(update.payload_bytes, expected.part_bytes)
    if update.parts not in (0, count):
        return Refused("malformed", f"expected {count} parts, came {update.parts}")
    return None


def _steps_fault(local_steps: float, expected: Expected) -> Refused | None:
    """What is wrong with the local steps that an update says, None if nothing is."""
    if not 0 <= local_steps <= LOCAL_STEPS_MAX:
        expects = f"expected local steps from 0 to {LOCAL_STEPS_MAX:g}"
        return Refused("malformed", f"{expects}, came {local_steps:g}")
    if expected.needs_local_steps and local_steps < 1:
        return NO_LOCAL_STEPS
    return None


def _origin_fault(update: Update, expected: Expected, kind: str) -> Refused | None:
    if update.incarnation != expected.incarnation or update.run_id != expected.run_id:
        return Refused("other timeline", "it belongs to another run or another life of the store")
    if update.base_digest != expected.digest_of_version(update.base_version):
        return Refused(
            "other timeline", f"its base is not the version {update.base_version} of this run"
        )
    if update.kind != kind:
        return Refused("malformed", f"expected an update of kind {kind!r}, came {update.kind!r}")
    if update.layout_digest != expected.layout.digest:
        return Refused("malformed", "its arrays differ from the model's in name, shape or dtype")
    if spec_of(update.codec) is None:
        return Refused("malformed", f"expected a codec, {EXPECTED}; came {update.codec!r:.40}")
    if update.num_examples < 1:
        return Refused("malformed", "num_examples is 0: it stands for nothing")
    return None


def newest_believed(own: int, now: float) -> int:
    """The newest incarnation that a message is believed to come from.

    Args:
        own: The store's, whose clock may have been ahead when it was made.
        now: The coordinator's time in seconds.
    """
    return max(own, int(now * 1000)) + BELIEVED_AHEAD_MS


def incarnation_fault(incarnation: int, expected: Expected) -> str:
    """Why no store can have this incarnation, or ""."""
    if incarnation > expected.newest_incarnation:
        return f"no store is of incarnation {incarnation}"
    return ""


def _newer(update: Update | UpdatePart, expected: Expected) -> Newer | None:
    if update.incarnation > expected.incarnation:
        return Newer(
            update.incarnation,
            f"an update of incarnation {update.incarnation} came, the store has "
            f"{expected.incarnation}",
        )
    if (
        isinstance(update, Update)
        and update.incarnation == expected.incarnation
        and update.run_id == expected.run_id
        and update.base_version > expected.version
    ):
        return Newer(
            update.incarnation,
            f"an update of version {update.base_version} came, the store has {expected.version}",
        )
    return None


def _identity_fault(update: Update | UpdatePart, expected: Expected) -> Stray | None:
    if update.update_id != update_id_of(update.incarnation, update.task_id, update.worker_id):
        reason = "its update id does not follow from its task and worker"
        return Stray("malformed", reason, update.worker_id, update.task_id)
    reason = incarnation_fault(update.incarnation, expected)
    if reason:
        return Stray("malformed", reason, update.worker_id, update.task_id)
    return None


def _receive_update(update: Update, payload: memoryview, expected: Expected) -> Received:
    stray = _identity_fault(update, expected)
    if stray is not None:
        return stray
    newer = _newer(update, expected)
    if newer is not None:
        return newer
    if update.parts:
        return Closing(update)
    if digest_of(payload) != update.payload_digest:
        reason = "its payload does not have the digest it says"
        return Stray("malformed", reason, update.worker_id, update.task_id)
    return Whole(update, payload)


def _receive_part(part: UpdatePart, payload: memoryview, expected: Expected) -> Received:
    stray = _identity_fault(part, expected)
    if stray is not None:
        return stray
    newer = _newer(part, expected)
    if newer is not None:
        return newer
    wrong = _part_fault(part, payload.nbytes, expected)
    if wrong:
        return Stray("malformed", wrong, part.worker_id, part.task_id)
    return Part(part, payload)


def _part_fault(part: UpdatePart, payload_bytes: int, expected: Expected) -> str:
    if (part.run_id, part.incarnation) != (expected.run_id, expected.incarnation):
        return "a part of an upload for another run"
    if part.layout_digest != expected.layout.digest:
        return "a part of an update for another model"
    wrong = size_fault(part.payload_bytes, part.codec, expected.layout)
    if wrong:
        return f"a part of an update of another size: {wrong}"
    whole, size = part.payload_bytes, expected.part_bytes
    if part.part_bytes != size:
        return f"expected parts of {size} bytes, came one of {part.part_bytes}"
    if part.parts > PARTS_MAX:
        return f"{part.parts} parts: at most {PARTS_MAX} are possible, set rounds.part_bytes higher"
    if part.parts != part_count(whole, size) or part.index >= part.parts:
        return f"part {part.index} of {part.parts}: the update has {part_count(whole, size)} parts"
    start, end = part_span(part.index, whole, size)
    if payload_bytes != end - start:
        return f"part {part.index}: expected {end - start} bytes, came {payload_bytes}"
    return ""
