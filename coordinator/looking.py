"""Looking through a dead queue without taking anything out of it.

    queue ──delivered──▶ fate: keep ──▶ published to the queue's end ──confirmed──▶ acked
                               send ──▶ published where it came from ──confirmed──▶ acked
                               drop ─────────────────────────────────────────────▶ acked

Rules (docs/decisions/0020):

- Nothing is ever given back: each time counts towards the queue's delivery limit, and dead letters
  have no further dead-letter queue, so what is looked at too often would be gone.
- A message is acked only when the broker has confirmed it where it goes to. After a crash in
  between it is there twice, never not at all.
- The broker is never allowed to send more than is expected, since what is on its way when a
  consumer ends is given back. So the last acks wait until everything expected has come. `stop`
  expects no more than what the broker may have sent already.
- At most `AHEAD` messages are in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.topology import Queue
from broker.transport import (
    Confirmed,
    ConsumerLost,
    Delivered,
    Event,
    Outgoing,
    Refused,
    Returned,
    Transport,
)
from coordinator.errors import BrokerAway

AHEAD = 16


@dataclass(frozen=True, slots=True)
class Keep:
    """It stays in the queue."""


@dataclass(frozen=True, slots=True)
class Drop:
    """It is deleted."""


@dataclass(frozen=True, slots=True)
class Send:
    """It is published to an exchange, and out of the queue once the broker has confirmed that.

    Attributes:
        name: What it is called if that fails.
    """

    exchange: str
    routing_key: str
    name: str


Fate = Keep | Drop | Send


@dataclass(frozen=True, slots=True)
class _OnWay:
    delivered: Delivered
    fate: Keep | Send
    exchange: str
    routing_key: str


class Look:
    """One look at the messages that are in a queue when it begins, oldest first.

    Args:
        transport: Connected.
        queue: The queue.
        exchange: What brings messages back to it with their routing key.
        expected: How many to look at, at most as many as are ready.
        fate: Called once with each message.

    Attributes:
        taken: Messages looked at.
        failures: Names of messages that could not be sent, and why; they are kept.
        stuck: Messages that could not even be kept by publishing them again: the broker has them,
            and gives them out again after the connection has ended.
    """

    def __init__(
        self,
        transport: Transport,
        queue: Queue,
        exchange: str,
        expected: int,
        fate: Callable[[Delivered], Fate],
    ) -> None:
        self.taken = self.stuck = 0
        self.failures: list[tuple[str, str]] = []
        self._transport = transport
        self._queue = queue
        self._exchange = exchange
        self._expected = expected
        self._prefetch = max(1, min(AHEAD, expected))
        self._fate = fate
        self._acked = 0
        self._waiting: list[int] = []
        self._on_way: dict[int, _OnWay] = {}
        self._ended = expected == 0
        self._consumer = 0 if self._ended else transport.consume(queue, self._prefetch)

    @property
    def done(self) -> bool:
        """Everything expected has come and is where it belongs."""
        return self._ended and not self._on_way

    @property
    def idle(self) -> bool:
        """Nothing of ours is under way: if nothing comes, there is nothing more."""
        return not self._on_way

    def stop(self) -> None:
        """Look at no more than the broker may have sent already."""
        self._expected = min(self._expected, self._acked + self._prefetch)
        self._end_if_all_came()

    def finish(self) -> None:
        """Fewer are there than expected: others took them, or they gave way to newer ones."""
        if not self._ended:
            self._end()

    def handle(self, event: Event) -> None:
        """Take an event of the transport.

        Raises:
            BrokerAway: If the queue is not there (any more).
        """
        match event:
            case Delivered() if event.consumer == self._consumer and not self._ended:
                self._take(event)
            case Confirmed() if event.token in self._on_way:
                self._settle(self._on_way.pop(event.token).delivered.tag)
            case Returned() | Refused() if event.token in self._on_way:
                self._failed(self._on_way.pop(event.token), event.reason)
            case ConsumerLost() if event.consumer == self._consumer:
                raise BrokerAway(f"{self._queue.name} cannot be looked at: {event.reason}")
            case _:
                pass

    def _take(self, delivered: Delivered) -> None:
        self.taken += 1
        fate = self._fate(delivered)
        if isinstance(fate, Drop):
            self._settle(delivered.tag)
        elif isinstance(fate, Send):
            self._publish(_OnWay(delivered, fate, fate.exchange, fate.routing_key))
        else:
            self._keep(delivered)
        self._end_if_all_came()

    def _keep(self, delivered: Delivered) -> None:
        key = delivered.routing_key
        exchange = "" if key == self._queue.name else self._exchange
        self._publish(_OnWay(delivered, Keep(), exchange, key))

    def _publish(self, on_way: _OnWay) -> None:
        delivered = on_way.delivered
        message = Outgoing(
            on_way.exchange, on_way.routing_key, delivered.body, delivered.message_id
        )
        self._on_way[self._transport.publish(message)] = on_way

    def _failed(self, on_way: _OnWay, reason: str) -> None:
        if isinstance(on_way.fate, Send):
            self.failures.append((on_way.fate.name, reason))
            self._keep(on_way.delivered)
        elif on_way.exchange:  # it is gone, or not bound: better without its key than given back
            self._publish(_OnWay(on_way.delivered, Keep(), "", self._queue.name))
        else:
            self.stuck += 1

    def _settle(self, tag: int) -> None:
        if self._ended or self._acked + self._prefetch < self._expected:
            self._acked += 1
            self._transport.ack(tag)
        else:
            self._waiting.append(tag)

    def _end_if_all_came(self) -> None:
        if not self._ended and self.taken >= self._expected:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._transport.cancel(self._consumer)
        waiting, self._waiting = self._waiting, []
        for tag in waiting:
            self._settle(tag)
