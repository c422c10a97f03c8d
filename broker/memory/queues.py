"""The queues of the in-process broker, and what is in them. Plain data: no lock, no clock.

A queue of messages gives each to one consumer, by turns, and takes it back to its old place
when it is not settled. A stream is a log that any number of consumers read by offset; whole
segments of it are forgotten when it grows above its limit.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field, replace

from broker.memory.client import Client
from broker.topology import Queue
from broker.transport import AnswerTo


@dataclass(slots=True, eq=False)
class Message:
    """A message in one queue.

    Attributes:
        expires_at: On the broker's clock; infinity for never.
        place: Its place in the queue, kept when it comes back; in a stream its offset.
        returns: How often it came back unsettled.
        death: Why a queue gave up on it and it was put here.
    """

    routing_key: str
    body: bytes
    message_id: str
    user_id: str
    answer_to: AnswerTo | None
    expires_at: float = math.inf
    death: str = ""
    place: int = 0
    returns: int = 0

    def copy_at(self, place: int) -> Message:
        """A message of its own for one queue; the body is shared."""
        return replace(self, place=place, returns=0)

    def dead(self, reason: str) -> Message:
        """The dead letter of this message. It no longer expires, or it would be lost after all."""
        return replace(self, death=reason, expires_at=math.inf)


@dataclass(slots=True, eq=False)
class Consumer:
    """A client's consumer of one queue."""

    id: int
    client: Client
    queue: MessageQueue | Stream
    prefetch: int
    unsettled: int = 0
    next_offset: int = 0

    @property
    def has_room(self) -> bool:
        """Whether it may be given one more message."""
        return self.unsettled < self.prefetch


@dataclass(frozen=True, slots=True)
class Lease:
    """A delivery that is not settled."""

    consumer: Consumer
    message: Message


@dataclass(slots=True, eq=False)
class MessageQueue:
    """A queue whose messages each go to one consumer.

    Attributes:
        ready_bytes: Bytes of the bodies that wait for a consumer.
        dying: What the queue gave up on and its dead-letter exchange has not taken yet.
        used_at: When it was last declared, or had a consumer.
    """

    spec: Queue
    used_at: float = 0.0
    consumers: deque[Consumer] = field(default_factory=deque)
    ready_bytes: int = 0
    dying: deque[Message] = field(default_factory=deque)
    deleted: bool = False
    _ready: list[tuple[int, Message]] = field(default_factory=list)
    _places: int = 0

    def __len__(self) -> int:
        return len(self._ready)

    def has_expired(self, now: float) -> bool:
        """Whether nobody used it for so long that it is deleted."""
        expires_s = self.spec.expires_s
        return expires_s > 0 and not self.consumers and self.used_at + expires_s <= now

    @property
    def is_full(self) -> bool:
        """Whether it refuses what is published to it."""
        limited = self.spec.max_bytes > 0 and self.spec.overflow == "reject-publish"
        return limited and self.ready_bytes >= self.spec.max_bytes

    @property
    def is_over(self) -> bool:
        """Whether its oldest message has to give way."""
        spec = self.spec
        too_many = 0 < spec.max_length < len(self._ready)
        too_large = 0 < spec.max_bytes < self.ready_bytes
        return spec.overflow == "drop-head" and (too_many or too_large)

    def append(self, message: Message) -> None:
        """Put a copy of the message at the end."""
        self.put_back(message.copy_at(self._places))
        self._places += 1

    def put_back(self, message: Message) -> None:
        """Put a message that was taken back to its old place."""
        heapq.heappush(self._ready, (message.place, message))
        self.ready_bytes += len(message.body)

    def head(self) -> Message | None:
        """The oldest message, None if there is none."""
        return self._ready[0][1] if self._ready else None

    def take(self) -> Message:
        """Remove and return the oldest message."""
        message = heapq.heappop(self._ready)[1]
        self.ready_bytes -= len(message.body)
        return message

    def holds(self, message_id: str) -> bool:
        """Whether a message of that id waits here, or to be buried."""
        waiting = (message for _, message in self._ready)
        return any(m.message_id == message_id for m in (*waiting, *self.dying))

    def purge(self) -> None:
        """Forget every message that waits for a consumer."""
        self._ready.clear()
        self.ready_bytes = 0

    def next_consumer(self) -> Consumer | None:
        """Whose turn it is, None if nobody has room."""
        if self.spec.single_active:  # those behind the first stand by, even if it is busy
            return self.consumers[0] if self.consumers and self.consumers[0].has_room else None
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.has_room:
                return consumer
        return None


@dataclass(slots=True, eq=False)
class Stream:
    """A log read by any number of consumers.

    RabbitMQ begins a further segment with an entry of its own, which nobody is sent: the next
    message has an offset that is greater by two. So it is here.

    Attributes:
        end: The offset after that of the newest message.
    """

    spec: Queue
    used_at: float = 0.0
    consumers: deque[Consumer] = field(default_factory=deque)
    end: int = 0
    deleted: bool = False
    _log: list[Message] = field(default_factory=list)
    _segments: deque[list[int]] = field(default_factory=deque)  # of [messages, bytes]

    def has_expired(self, now: float) -> bool:
        """Never: a stream is deleted by whoever made it."""
        return False

    def __len__(self) -> int:
        return len(self._log)

    def append(self, message: Message) -> None:
        """Append a copy of the message, and forget the oldest segments above the limit."""
        if not self._segments or self._segments[-1][1] >= self.spec.segment_bytes:
            self.end += bool(self._segments)
            self._segments.append([0, 0])
            self._retain()
        self._log.append(message.copy_at(self.end))
        self._segments[-1][0] += 1
        self._segments[-1][1] += len(message.body)
        self.end += 1

    def _retain(self) -> None:
        """Segments are the unit: the limit is looked at only when a new one begins."""
        held = sum(segment_bytes for _, segment_bytes in self._segments)
        while self.spec.max_bytes and held > self.spec.max_bytes:
            messages, segment_bytes = self._segments.popleft()
            held -= segment_bytes
            del self._log[:messages]

    def read(self, offset: int) -> Message | None:
        """The message at an offset, or the first after it that is still there; None for none."""
        index = bisect_left(self._log, offset, key=lambda message: message.place)
        return self._log[index] if index < len(self._log) else None
