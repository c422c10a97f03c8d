"""The model stream: publishing a version once, and knowing at which offset it lies.

    lost ── connect ──▶ reading back ── the digest holds ──▶ ready ◀── counted on ── publish
     ▲                    │ not there, or not ours
     │                    ▼
     └─ in doubt ─── rewriting: a reader stands, then all parts ── read back ──▶ ready

Rules: publishers do not learn offsets, and streams do not fsync. So after a connect the current
version is read back, and written again if it does not verify; a reader that stands before the
first part is written tells the offset. From there this only publisher counts on by itself; a count
may be too small, by one for each segment begun (`OFFSETS_SKIPPED_MAX`), so when one may have been
(`coordinator.streampace`) the last part is looked for where it should be: until that is found out
workers read a part in vain with each version. It is looked for once it is confirmed, since RabbitMQ
3.10 ends the connection of a reader that arrives in the moment in which a segment is begun. What is
lost stays lost until the next `connect`, which comes after a pause.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from broker.topology import AROUND_PART_BYTES, OFFSETS_SKIPPED_MAX, Queue
from broker.transport import (
    Confirmed,
    ConsumerLost,
    Consuming,
    Delivered,
    Doubtful,
    Event,
    Outgoing,
    Refused,
    Returned,
    Transport,
)
from coordinator.streampace import StreamPace
from disk import let_go
from schemas.buffer import Buffer
from schemas.codecs.model import ModelOnWire
from schemas.digest import RunningDigest
from schemas.errors import DecodeError
from schemas.messages import ModelPart, decode, head_of, part_count, part_span

_log = logging.getLogger(__name__)

WINDOW = 4  # parts unconfirmed at a time: 16 MiB in flight at most
PREFETCH = 2
SILENCE_S = 10.0  # a reader that hears nothing for so long gives up


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version as it goes over the stream."""

    run_id: str
    incarnation: int
    version: int
    digest: str
    model: ModelOnWire
    part_bytes: int

    @property
    def num_bytes(self) -> int:
        """Size of what travels."""
        return self.model.num_bytes

    @property
    def parts(self) -> int:
        """How many messages carry it."""
        return part_count(self.num_bytes, self.part_bytes)

    def encode_part(self, index: int) -> tuple[bytes, Buffer]:
        """One part as a message: its head, and its payload in place."""
        start, end = part_span(index, self.num_bytes, self.part_bytes)
        part = ModelPart(
            run_id=self.run_id,
            incarnation=self.incarnation,
            version=self.version,
            model_digest=self.digest,
            model_bytes=self.num_bytes,
            index=index,
            parts=self.parts,
        )
        return head_of(part, end - start), self.model.read(start, end)


class ModelStream:
    """Publishes versions and knows the current one's offset.

    Args:
        on_ready: Called with the version and its offset each time the current version is known to
            be on the stream.

    Attributes:
        lost: It cannot go on by itself: declare the stream again after a while, then `connect`.
    """

    def __init__(
        self, transport: Transport, now: Callable[[], float], on_ready: Callable[[int, int], None]
    ) -> None:
        self._transport = transport
        self._now = now
        self._on_ready = on_ready
        self._queue: Queue | None = None
        self._current: ModelVersion | None = None
        self._offset: int | None = None
        self._next_offset: int | None = None
        self._unsent: deque[tuple[ModelVersion, int]] = deque()
        self._unconfirmed: set[int] = set()
        self._reader: int | None = None
        self._rewriting = False
        self._recounting = False
        self._pace: StreamPace | None = None  # there is one as soon as offsets are counted
        self._heard_at = 0.0
        self._read_parts = 0
        self._read_digest = RunningDigest()
        self._read_offset = 0
        self.lost = False

    @property
    def offset(self) -> int | None:
        """Where the current version lies, None while that is not known."""
        return self._offset

    def connect(self, queue: Queue, version: ModelVersion, hint: int | None) -> None:
        """After a (re)connect, the stream being declared: make sure of the current version."""
        self.disconnected()
        self.lost = False
        self._queue, self._current = queue, version
        if hint is None:
            self._rewrite()
        else:
            self._read(hint)

    def disconnected(self) -> None:
        """The connection is gone: nothing that was known about the stream holds."""
        self._queue = self._offset = self._next_offset = self._reader = None
        self._rewriting = self._recounting = False
        self._unsent.clear()
        self._unconfirmed.clear()
        if self._current is not None:
            let_go(self._current.model.model)

    def publish(self, version: ModelVersion) -> None:
        """Publish the next version; `on_ready` follows, at once if the offset can be counted."""
        self._current, self._offset = version, None
        if self._next_offset is None:
            if self._queue is not None and not self.lost:
                self._rewrite()
            return
        offset = self._next_offset
        self._next_offset += version.parts
        self._count(version)
        if self._recounting:  # it looks for the version before
            self._close_reader()
            self._recounting = False
        self._send(version)
        self._ready(offset)

    def doubt(self, worker_id: str) -> None:
        """A worker did not find the model: look again."""
        if self._offset is not None and self._reader is None and not self._unconfirmed:
            _log.info("worker %s did not find the model: looking whether it is there", worker_id)
            hint, self._offset, self._next_offset = self._offset, None, None
            self._read(hint)

    def wake_at(self) -> float | None:
        """When to call `tick`, None if nothing is awaited."""
        # While the broker owes us confirms it is not the reader that is silent.
        waits = self._reader is not None and not self._unconfirmed
        return self._heard_at + SILENCE_S if waits else None

    def tick(self) -> None:
        """Give up on a reader that has heard nothing for too long."""
        wake = self.wake_at()
        if wake is not None and self._now() >= wake:
            _log.info("the stream gave nothing for %.0f s; writing the model again", SILENCE_S)
            self._rewrite()

    def handle(self, event: Event) -> bool:
        """Take an event that is ours; False if it is not."""
        match event:
            case Confirmed() if event.token in self._unconfirmed:
                self._unconfirmed.remove(event.token)
                if self._current is not None:
                    let_go(self._current.model.model)
                self._heard_at = self._now()
                self._pump()
                self._recount_or_not()
            case Doubtful() | Refused() | Returned() if event.token in self._unconfirmed:
                self._lose("a part was not confirmed")
            case Consuming() if event.consumer == self._reader:
                self._heard_at = self._now()
                if self._rewriting:
                    assert self._current is not None
                    self._send(self._current)
            case Delivered() if event.consumer == self._reader:
                self._transport.ack(event.tag)
                self._heard_at = self._now()
                self._take(event)
            case Delivered() if event.offset >= 0:
                pass  # from a reader that was cancelled
            case ConsumerLost() if event.consumer == self._reader:
                self._lose(f"the reader was lost: {event.reason}")
            case _:
                return False
        return True

    def _version(self) -> int:
        return -1 if self._current is None else self._current.version

    def _ready(self, offset: int) -> None:
        self._offset = offset
        self._on_ready(self._version(), offset)

    def _send(self, version: ModelVersion) -> None:
        self._unsent.extend((version, index) for index in range(version.parts))
        self._pump()

    def _pump(self) -> None:
        assert self._queue is not None
        while self._unsent and len(self._unconfirmed) < WINDOW:
            version, index = self._unsent.popleft()
            head, payload = version.encode_part(index)
            message = Outgoing("", self._queue.name, head, version.digest, payload=payload)
            self._unconfirmed.add(self._transport.publish(message))

    def _read(self, offset: int | None) -> None:
        assert self._queue is not None
        self._close_reader()
        self._read_parts, self._read_digest = 0, RunningDigest()
        self._read_offset = -1 if offset is None else offset
        self._heard_at = self._now()
        self._rewriting, self._recounting = offset is None, False
        self._reader = self._transport.consume(self._queue, PREFETCH, offset)

    def _lose(self, why: str) -> None:
        _log.warning("version %d is not known to be on the stream: %s", self._version(), why)
        self._close_reader()
        queue = self._queue
        self.disconnected()
        self._queue, self.lost = queue, True

    def _rewrite(self) -> None:
        self._offset = self._next_offset = None
        self._unsent.clear()
        self._unconfirmed.clear()
        self._read(None)

    def _recount_or_not(self) -> None:
        """Look where the last part lies, if a segment may have been begun since one was seen."""
        if self._unconfirmed or self._reader is not None or self._next_offset is None:
            return
        assert self._pace is not None, "offsets are counted"
        if self._pace.is_due:
            self._read(self._next_offset - 1)
            self._recounting = True

    def _count(self, version: ModelVersion) -> None:
        assert self._pace is not None, "offsets are counted"
        self._pace.wrote(version.num_bytes + version.parts * AROUND_PART_BYTES)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._transport.cancel(self._reader)
            self._reader = None

    def _take(self, event: Delivered) -> None:
        assert self._current is not None
        try:
            message, payload = decode(event.body)
        except DecodeError:
            message, payload = None, memoryview(b"")
        index = self._current.parts - 1 if self._recounting else self._read_parts
        if not isinstance(message, ModelPart) or not self._is_ours(message, index):
            if self._rewriting:
                self._read_parts = 0
                if isinstance(message, ModelPart) and self._is_ours(message, 0):
                    self._begin(event.offset, payload)
            elif self._read_parts or event.offset >= self._read_offset + OFFSETS_SKIPPED_MAX:
                self._rewrite()  # another version, a gap, or the retention has taken it
            return
        if self._recounting:
            self._close_reader()
            self._recounting = False
            self._next_offset = event.offset + 1
            assert self._pace is not None, "offsets are counted"
            self._pace.looked(begun=event.offset - self._read_offset)
        elif index == 0:
            self._begin(event.offset, payload)
        else:
            self._read_digest.update(payload)
            self._read_parts += 1
            self._finish_if_whole(event.offset)

    def _begin(self, offset: int, payload: memoryview) -> None:
        self._read_offset, self._read_parts = offset, 1
        self._read_digest = RunningDigest()
        self._read_digest.update(payload)
        self._finish_if_whole(offset)

    def _finish_if_whole(self, last_offset: int) -> None:
        assert self._current is not None
        if self._read_parts < self._current.parts:
            return
        self._close_reader()
        if self._read_digest.digits() != self._current.digest:
            if self._rewriting:
                self._lose("what was written comes back with another digest")
            else:
                self._rewrite()
            return
        self._rewriting = False
        self._next_offset = last_offset + 1
        assert self._queue is not None
        self._pace = StreamPace(self._queue.segment_bytes, is_new=self._read_offset == 0)
        self._count(self._current)
        self._ready(self._read_offset)

    def _is_ours(self, part: ModelPart, index: int) -> bool:
        assert self._current is not None
        return (part.run_id, part.model_digest, part.index) == (
            self._current.run_id,
            self._current.digest,
            index,
        )
