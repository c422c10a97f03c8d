"""Every message of the protocol, as a frozen dataclass, and its bytes.

    coordinator                                  worker
      Task ── pool, or the worker's own queue ────▶ stored in the inbox
      ◀───────────────── control queue ───── Taken   (asks: which model is current?)
      Start ──────────── the way back ────────────▶
      ModelPart ───────── model stream ───────────▶ read by any number of workers
      ◀───────────────── updates queue ───── Update  (or UpdateParts, then Update)
      ◀───────────────── control queue ───── Presence (asks: what became of my updates?)
      Standing ────────── the way back ───────────▶
      ◀───────────────── control queue ───── Declined

`decode(encode(m)) == (m, payload)`; any other bytes raise `DecodeError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from schemas.buffer import Buffer
from schemas.errors import DecodeError
from schemas.fields import (
    CodecName,
    Count,
    Digest,
    Id,
    MaybeId,
    Name,
    Number,
    Seed,
    Text,
    Version,
    WorkerId,
    from_fields,
    to_fields,
)
from schemas.frame import decode_frame, encode_frame, frame_head

TaskKind = Literal["train", "evaluate"]
TaskSource = Literal["pool", "own"]
RunState = Literal["waiting", "running", "paused", "draining", "ended", "failed"]

NAMES_MAX = 256  # open updates a worker asks about at once, and metrics of an update


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of training offered to one worker.

    Attributes:
        not_after: The coordinator's time, in UTC seconds, after which no answer is of use; None
            while the coordinator sets no such time.
        codec: How the update is to be encoded.
        part_bytes: The largest payload of one message; a larger update goes in parts.
        replaces: The task whose lease ended, "" if none.
        base_version: The version to train on in direct dispatch; None in pool dispatch, where the
            worker asks which is current.
        time_s: The coordinator's time when it wrote the message.
        seed: Derived from (run seed, task id).
    """

    run_id: Id
    task_id: Id
    kind: TaskKind
    incarnation: Count
    not_after: Number | None
    codec: CodecName
    part_bytes: Count
    replaces: MaybeId
    base_version: Count | None
    time_s: Number
    seed: Seed


@dataclass(frozen=True, slots=True)
class Taken:
    """A worker has stored a task; it asks which model to train on. Answered by `Start`."""

    run_id: Id
    task_id: Id
    worker_id: WorkerId
    incarnation: Count


@dataclass(frozen=True, slots=True)
class Base:
    """What a worker that may take a task would train on now. The fields are those of `Start`."""

    model_digest: Digest
    model_bytes: Count
    layout_digest: Digest
    parts: Count
    offset: Count
    lease_s: Number
    prox_mu: Number
    stored: bool
    model_codec: CodecName
    base_digest: Digest | None


_OF_BASE = tuple(field.name for field in fields(Base))


@dataclass(frozen=True, slots=True)
class Start:
    """What to train on, or that the task is no longer wanted.

    Attributes:
        wanted: False if the task needs no answer any more; `reason` says why, and the fields of
            the model are empty.
        model_digest: The name of what is on the stream; the stream and offset are hints to find it.
        model_bytes: Its size.
        parts: Messages that carry it.
        seed: Derived from (run seed, task id).
        lease_s: Seconds the coordinator waits for the answer before it offers another task.
        prox_mu: FedProx's mu, the weight of the pull towards the model received; 0 for none.
        stored: The model lies in the depot under its digest, and not on the stream.
        model_codec: In what the parameters travel: "fp32" as they are, "fp16" or "bf16".
        base_digest: Of the version itself, which an update names; None if what travels is that.
    """

    run_id: Id
    task_id: Id
    incarnation: Count
    wanted: bool
    reason: Text
    base_version: Version
    model_digest: Digest | None
    model_bytes: Count
    layout_digest: Digest | None
    parts: Count
    offset: Count
    seed: Seed
    lease_s: Number
    time_s: Number
    prox_mu: Number = 0.0
    stored: bool = False
    model_codec: CodecName = "fp32"
    base_digest: Digest | None = None

    @classmethod
    def on(
        cls,
        base: Base,
        *,
        run_id: str,
        task_id: str,
        incarnation: int,
        version: int,
        seed: int,
        time_s: float,
    ) -> Start:
        """Train on a version."""
        return cls(
            run_id=run_id,
            task_id=task_id,
            incarnation=incarnation,
            wanted=True,
            reason="",
            base_version=version,
            seed=seed,
            time_s=time_s,
            **{name: getattr(base, name) for name in _OF_BASE},
        )

    @property
    def version_digest(self) -> str:
        """The digest of the version, which an update names; "" if there is nothing to train on."""
        return self.base_digest or self.model_digest or ""


@dataclass(frozen=True, slots=True)
class Declined:
    """A worker gives a task up, and why."""

    run_id: Id
    task_id: Id
    worker_id: WorkerId
    incarnation: Count
    reason: Text


@dataclass(frozen=True, slots=True)
class Presence:
    """A worker is there. Answered by `Standing`, again when the answer changes.

    Attributes:
        run_id: The run the worker last worked for, "" if none.
        last_version: The newest version it has trained on in that run, -1 if none.
        incarnation: Of the store that this version is of, 0 if none.
        busy: It holds a task.
        leaving: It is about to disconnect.
        open_updates: Updates it still keeps and asks a verdict for.
        examples: How many examples it has to train on, 0 if it does not say.
        capabilities: What it can do, in names that the federation's people agree on.
        battery: How full its battery is, 0 to 1; 1 on mains, -1 if it does not say.
        metered: Its network is paid for by volume.
        local_minute: The minute of its own day, 0 to 1439; -1 if it does not say.
        hours: When it may be connected, in its local time: "22:00-06:00"; "" at any time.
    """

    worker_id: WorkerId
    run_id: MaybeId
    last_version: Version
    incarnation: Count
    busy: bool
    leaving: bool
    open_updates: tuple[Id, ...]
    examples: Count = 0
    capabilities: tuple[Name, ...] = ()
    battery: Number = -1.0
    metered: bool = False
    local_minute: Version = -1
    hours: Text = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand, for one worker.

    Attributes:
        version: The current model version, -1 before the first.
        may_take: The worker may take a task now.
        come_back_s: If not: when to ask again at the latest.
        verdicts: For each update asked for that has one.
        missing: For each incomplete upload, the parts that have not arrived.
        unknown: Updates asked for that never arrived: send them again.
        queue: Where its tasks come from: "pool", or "own" for its own queue.
        away_s: Pace steering: with nothing open, disconnect and come back in about so many seconds;
            0 to stay.
        takes_stored: Updates of several parts may be put into the depot instead.
        in_hand: Updates asked for that are read from the depot, or wait for their turn: there is
            nothing to send.
        base: The current version, if a task that is taken at once may be begun on it at once.
    """

    run_id: MaybeId
    state: RunState
    incarnation: Count
    version: Version
    may_take: bool
    come_back_s: Number
    verdicts: Mapping[Id, Text]
    missing: Mapping[Id, tuple[Count, ...]]
    unknown: tuple[Id, ...]
    time_s: Number
    queue: TaskSource = "pool"
    away_s: Number = 0.0
    takes_stored: bool = False
    in_hand: tuple[Id, ...] = ()
    base: Base | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Trained minus received parameters, of one task by one worker; or what an evaluation found.

    An evaluation has no payload: zero bytes, and their digest.

    Attributes:
        update_id: H(incarnation, task_id, worker_id).
        base_digest: Digest of the model it was trained from.
        num_examples: How many examples it stands for, at least 1.
        metrics: Named numbers; of an evaluation, sums over its examples, to be added up.
        payload_digest: Digest of the whole payload.
        payload_bytes: Size of the whole payload.
        parts: 0 if the payload is in this message; else how many `UpdatePart` carry it.
        local_steps: Steps of the local optimiser, 0 if it does not say (FedNova needs them).
        stored: The payload lies in the depot, under this id and its digest; `parts` is how many
            `UpdatePart` would carry it.
    """

    update_id: Id
    run_id: Id
    task_id: Id
    worker_id: WorkerId
    incarnation: Count
    kind: TaskKind
    base_version: Count
    base_digest: Digest
    layout_digest: Digest
    codec: CodecName
    num_examples: Count
    metrics: Mapping[Text, Number]
    train_s: Number
    payload_digest: Digest
    payload_bytes: Count
    parts: Count
    local_steps: Number = 0.0
    stored: bool = False


@dataclass(frozen=True, slots=True)
class UpdatePart:
    """One part of an update's payload."""

    update_id: Id
    run_id: Id
    task_id: Id
    worker_id: WorkerId
    incarnation: Count
    layout_digest: Digest
    codec: CodecName
    payload_digest: Digest
    payload_bytes: Count
    part_bytes: Count
    index: Count
    parts: Count


@dataclass(frozen=True, slots=True)
class ModelPart:
    """One part of a model version, as it travels."""

    run_id: Id
    incarnation: Count
    version: Count
    model_digest: Digest
    model_bytes: Count
    index: Count
    parts: Count


Message = Task | Taken | Start | Declined | Presence | Standing | Update | UpdatePart | ModelPart

KINDS: Mapping[str, type[Message]] = {
    "task": Task,
    "taken": Taken,
    "start": Start,
    "declined": Declined,
    "presence": Presence,
    "standing": Standing,
    "update": Update,
    "update-part": UpdatePart,
    "model-part": ModelPart,
}
_NAMES = {cls: name for name, cls in KINDS.items()}


def encode(message: Message, *payload: Buffer) -> bytes:
    """The message as a frame, the chunks of its payload behind the header."""
    return encode_frame({"message": _NAMES[type(message)], **to_fields(message)}, *payload)


def head_of(message: Message, payload_bytes: int) -> bytes:
    """The message as a frame up to its payload: with that behind it, it is what `encode` gives."""
    return frame_head({"message": _NAMES[type(message)], **to_fields(message)}, payload_bytes)


def decode(body: Buffer) -> tuple[Message, memoryview]:
    """The message and its payload, the latter in place.

    Raises:
        UnsupportedVersion: If the sender speaks a newer protocol.
        DecodeError: If the bytes are not a message.
    """
    header, payload = decode_frame(body)
    kind = header.pop("message", None)
    if type(kind) is not str or kind not in KINDS:
        raise DecodeError(f"expected a message kind of {', '.join(KINDS)}, came {kind!r:.40}")
    message = from_fields(KINDS[kind], header)
    if payload.nbytes and not isinstance(message, Update | UpdatePart | ModelPart):
        raise DecodeError(f"a {kind} message has no payload, came {payload.nbytes} bytes")
    return message, payload


def part_count(payload_bytes: int, part_bytes: int) -> int:
    """How many parts carry a payload: at least one."""
    return max(1, -(-payload_bytes // part_bytes))


def part_span(index: int, payload_bytes: int, part_bytes: int) -> tuple[int, int]:
    """Where part `index` begins and ends in the payload."""
    start = index * part_bytes
    return start, min(start + part_bytes, payload_bytes)


def part_of(update: Update, part_bytes: int, index: int) -> UpdatePart:
    """The header of an update's part `index`; the update says what its payload is."""
    return UpdatePart(
        update_id=update.update_id,
        run_id=update.run_id,
        task_id=update.task_id,
        worker_id=update.worker_id,
        incarnation=update.incarnation,
        layout_digest=update.layout_digest,
        codec=update.codec,
        payload_digest=update.payload_digest,
        payload_bytes=update.payload_bytes,
        part_bytes=part_bytes,
        index=index,
        parts=update.parts,
    )
