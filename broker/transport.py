r"""What a transport does for a service, whatever broker is behind it.

Rules of the file:

- A method never blocks on the network and may be called from any thread. What comes of it is
  *posted* as an event to the service's mailbox, in the order in which it happened.
- Every `publish` ends in exactly one of `Confirmed`, `Returned`, `Refused` or `Doubtful`. Only
  `Confirmed` means that the broker holds the message; after `Doubtful` it may or may not.
- Publishes are persistent, mandatory and confirmed. There is no other kind, but for `answer`.
- Consumers and deliveries belong to one connection. After `Disconnected` all of them are void:
  settling a void delivery does nothing, and the broker delivers the message again.
- `declare`, `provide`, `consume`, `count`, `purge` and `delete` do nothing while offline: call
  them on `Connected`.
- `Doubtful` comes only while there is no connection: for every open publish right behind
  `Disconnected` or `Failed`, and for what is published offline. Publish again on `Connected`.

    start() --> Connected --> (work) --> Disconnected --> Connected --> ...
                    \--> Failed (wrong password, wrong arguments): no further attempt is made
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from broker.topology import Binding, Queue, Topology
from schemas.buffer import Buffer

RETRY_MAX_S = 30.0  # the longest wait between two attempts to connect
EXPIRES_MAX_S = 30 * 86_400.0  # RabbitMQ counts milliseconds in 32 bits: 49 days
CONNECT_S = 10.0  # for one attempt: name, TCP, TLS and login
LINGER_S = 60.0  # a reader's connection is kept after use
REST_S = 1.0  # an ack is kept back in the hope that more is wanted


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish.

    Attributes:
        exchange: Name of the exchange; "" is the broker's default exchange.
        routing_key: Where to; for the default exchange the queue's name.
        body: The frame, or its first part.
        payload: The rest of it. Neither is copied, so neither may change before the outcome.
        message_id: The id of the work the message is about, the same each time it is sent.
        answerable: Ask for answers: each one is posted as `Answered` with this publish's token
            (direct reply-to: it needs no queue and no permission). Answers that come after the
            connection was lost are lost: ask again.
        expires_s: Seconds, `EXPIRES_MAX_S` at most, after which a queue gives the message up when
            it comes to its head, and dead-letters it ("expired"); 0 for never.
    """

    exchange: str
    routing_key: str
    body: Buffer
    message_id: str = ""
    answerable: bool = False
    expires_s: float = 0.0
    payload: Buffer = b""

    @property
    def num_bytes(self) -> int:
        """The size of the message."""
        return len(self.body) + len(self.payload)

    def whole(self) -> bytes:
        """A copy of the message as it arrives."""
        return b"".join((self.body, self.payload))


@dataclass(frozen=True, slots=True)
class AnswerTo:
    """Where an answer goes: the address a question came from, and its correlation id."""

    address: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The transport is connected; declare, consume and publish are of use from here."""

    session: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """There is no connection and it is being made again; consumers and deliveries are void.

    Also posted for each attempt that fails, the first one after `start` included.

    Attributes:
        reason: For people.
        retry_in_s: Seconds until the next attempt; 0 after `disconnect()` or `stop()`.
    """

    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The broker refuses us in a way that trying again cannot mend (password, arguments)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Declared:
    """The topology of the last `declare` stands."""


@dataclass(frozen=True, slots=True)
class Provided:
    """What came of a `provide`.

    Attributes:
        queue: The queue's name.
        problem: Why it does not stand, "" if it does.
    """

    queue: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The broker has taken responsibility for the message."""

    token: int


@dataclass(frozen=True, slots=True)
class Returned:
    """No queue took the message; the broker does not hold it."""

    token: int
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker refused the message (a full queue, say) and does not hold it."""

    token: int
    reason: str


@dataclass(frozen=True, slots=True)
class Doubtful:
    """The connection was lost before the broker answered: send it again under the same id."""

    token: int


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to the answerable publish `token`; there may be more than one."""

    token: int
    body: Buffer


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message for a consumer. It stays the broker's until it is settled.

    Attributes:
        consumer: The id that `consume` returned.
        tag: What `ack` and `reject` take; unique within the transport's life.
        redelivered: True if it may have been delivered before; never proof that it was.
        user_id: The broker-validated user of the publisher, "" when it was not set.
        offset: Place in the stream, -1 for other queues.
        answer_to: Where an answer goes, None if none is asked for.
        death: Why the broker dead-lettered it ("delivery_limit", …), "" if it did not.
    """

    consumer: int
    tag: int
    body: Buffer
    message_id: str
    redelivered: bool
    user_id: str
    offset: int
    answer_to: AnswerTo | None
    routing_key: str
    death: str = ""


@dataclass(frozen=True, slots=True)
class Consuming:
    """The broker has accepted the consumer: what is published from here on reaches it."""

    consumer: int


@dataclass(frozen=True, slots=True)
class ConsumerLost:
    """The consumer ended, though the connection stands; its deliveries are void.

    Wait a little before consuming again.

    Attributes:
        missing: True if the queue does not exist, or not yet.
    """

    consumer: int
    reason: str
    missing: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """What `count` found.

    Attributes:
        queue: The queue's name.
        ready: Messages that wait in it, unsettled deliveries not counted; None if there is no
            such queue.
    """

    queue: str
    ready: int | None


Event = (
    Connected
    | Disconnected
    | Failed
    | Declared
    | Provided
    | Confirmed
    | Returned
    | Refused
    | Doubtful
    | Answered
    | Delivered
    | Consuming
    | ConsumerLost
    | Counted
)

Post = Callable[[Event], None]


class Transport(Protocol):
    """The way to the broker, for one client. See the rules at the top of the file."""

    def start(self) -> None:
        """Begin to connect, and keep connecting (backoff with jitter) until `disconnect`."""
        ...

    def disconnect(self) -> None:
        """Go offline at once: void consumers, leave what is unsettled. `start` connects again."""
        ...

    def stop(self, timeout_s: float = 5.0) -> None:
        """Disconnect, end every thread and post nothing afterwards. Safe to call twice."""
        ...

    def declare(self, topology: Topology) -> None:
        """Make sure that the topology stands; `Declared` or `Failed` follows."""
        ...

    def provide(self, queue: Queue, binding: Binding) -> None:
        """Make sure that one queue stands and is bound; `Provided` follows.

        Unlike `declare` it fails nobody else: where the broker refuses, only this queue is missing.
        What is published to it after `Provided` reaches it. If the connection is lost, nothing
        follows.
        """
        ...

    def publish(self, message: Outgoing) -> int:
        """Publish a message and return its token. While offline it is `Doubtful` at once."""
        ...

    def answer(self, to: AnswerTo, body: bytes) -> None:
        """Answer a question, best effort: who asked and has gone is not told, and asks again."""
        ...

    def consume(self, queue: Queue, prefetch: int, offset: int | None = None) -> int:
        """Start a consumer and return its id: `Consuming` or `ConsumerLost` follows.

        A client has one consumer of a queue: another one takes its place, and what it held goes
        back to the queue. So a consumer that was begun in the belief in an older connection does
        no harm; deliveries of consumers that are not known may be ignored.

        Args:
            queue: What to consume from.
            prefetch: The most deliveries unsettled at a time, 1 to 65535.
            offset: For streams: the first offset wanted; None is what comes next. If it is no
                longer there reading begins at the oldest, if it is not there yet it is waited
                for. A stream is read over a connection of its own. It is kept for a while if
                `cancel` finds as many deliveries unsettled as the prefetch allows, so that
                nothing more is on its way: do not ack the last ones.

        Raises:
            BrokerArgumentError: The prefetch is out of range, or an offset in a queue that is
                not a stream.
        """
        ...

    def cancel(self, consumer: int) -> None:
        """End a consumer. Deliveries it has not settled can still be settled; a stream's need not.

        To take no further message, cancel before settling: what is on its way when a consumer is
        cancelled goes back to the queue, and that counts towards the delivery limit.

        If as many deliveries are unsettled as the prefetch allows, and the queue was consumed
        again within `REST_S` the last time, the broker may hear of the end, and of acks behind it,
        up to `REST_S` later (a `Driven` transport: when it is driven next). A connection that is
        lost meanwhile brings those messages back. A single active consumer stays the active one.
        """
        ...

    def ack(self, tag: int) -> None:
        """Settle a delivery: the broker forgets the message."""
        ...

    def reject(self, tag: int, requeue: bool) -> None:
        """Give a delivery back to its queue, or dead-letter it ("rejected").

        A message given back more than `DELIVERY_LIMIT` times, by this or by lost connections, is
        dead-lettered ("delivery_limit"). In a stream this is the same as `ack`.
        """
        ...

    def count(self, queue: Queue) -> None:
        """Ask how many messages wait in a queue: `Counted` follows.

        What was declared, purged or deleted before has been done by then.

        Raises:
            BrokerArgumentError: The queue is a stream.
        """
        ...

    def purge(self, queue: Queue) -> None:
        """Drop what is ready in a queue; unsettled deliveries stay.

        Raises:
            BrokerArgumentError: The queue is a stream.
        """
        ...

    def delete(self, queue: Queue) -> None:
        """Delete a queue with what is in it; nothing happens if there is none."""
        ...


@runtime_checkable
class Driven(Transport, Protocol):
    """A transport without a thread: it moves while `drive` is called, always by the same thread.

    Events are posted on that thread, from within `drive`, and it is the one that calls `stop`.
    """

    def drive(self, wait_s: float) -> None:
        """Send and receive until events were posted, or for so long, or until `wake`."""
        ...

    def wake(self) -> None:
        """Have `drive` return soon. From any thread, and from a signal's handler."""
        ...
