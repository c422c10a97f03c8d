r"""Readers of streams: each has a connection of its own, which is kept for a while after use.

A connection of its own, since RabbitMQ 3.10 ends the whole connection (540) on a reject in a
stream, and pika rejects what is on its way to a consumer that was cancelled.

Kept, since a worker that reads one model after another would make a connection for each. A reader
that is cancelled while it holds as many deliveries as its prefetch allows *rests*: the broker waits
for an ack and sends nothing, so no byte is moved for nobody. The next order in the same stream that
wants what comes next goes on as if there had been no pause. Any other is consumed anew over the
same connection, on another channel: closing one rejects nothing. (The broker sends the messages of
a chunk together, whatever the prefetch; what so comes during a rest is dropped, and cannot be gone
on from.)

    dialling --> reading --(cancelled, full)--> resting --(order)--> reading
        \-----------\-----------------------------\--> closed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from broker.rabbitmq.consumers import Consumer, Order
from broker.rabbitmq.lanes import Lanes
from broker.rabbitmq.line import Dialer
from broker.rabbitmq.outlet import Outlet
from broker.rabbitmq.retry import explain
from broker.transport import ConsumerLost


class StreamReader:
    """A consumer of a stream with its connection. Same use as a `Consumer`. Made by `Readers`.

    Args:
        order: What to read.
        dialer: Makes the connection.
        outlet: Where deliveries go.
        tags: Numbers for deliveries.
        on_end: Called when nothing more is delivered for an order.

    Attributes:
        is_resting: It was cancelled and can be taken up again.
    """

    def __init__(
        self,
        order: Order,
        dialer: Dialer,
        outlet: Outlet,
        tags: Iterator[int],
        on_end: Callable[[StreamReader], None],
    ) -> None:
        self.order = order
        self.is_ending = False
        self.is_resting = False
        self._outlet = outlet
        self._tags = tags
        self._on_end = on_end
        self._lanes: Lanes | None = None
        self._consumer: Consumer | None = None
        self._line = dialer.dial("reads", self._opened, self._lost)

    @property
    def held(self) -> dict[int, int]:
        """See `Consumer`."""
        return {} if self._consumer is None or self.is_ending else self._consumer.held

    def ack(self, tag: int) -> None:
        """See `Consumer`."""
        if self._consumer is not None:
            self._consumer.ack(tag)

    def flush(self) -> None:
        """See `Consumer`."""
        if self._consumer is not None:
            self._consumer.flush()

    def reject(self, tag: int, requeue: bool) -> None:
        """See `Consumer`."""
        self.ack(tag)

    def cancel(self) -> None:
        """Read no more. What is held need not be settled: a stream wants nothing back."""
        consumer = self._consumer
        if consumer is None or not consumer.is_full:
            self.close()
            return
        consumer.rest()
        self.is_ending = self.is_resting = True
        self._on_end(self)

    def take_up(self, order: Order) -> None:
        """Read again, after a rest."""
        before, lanes = self._consumer, self._lanes
        assert before is not None, "it rests"
        assert lanes is not None, "it rests"
        self.order, self.is_ending, self.is_resting = order, False, False
        if before.can_go_on(order):
            before.go_on(order)
        else:
            self._consumer = None
            before.close()
            self._consume(lanes)

    def close(self) -> None:
        """See `Consumer`."""
        self.is_ending, self.is_resting = True, False
        self._line.close()
        self._on_end(self)

    def _opened(self) -> None:
        self._lanes = Lanes(self._line)
        self._consume(self._lanes)

    def _consume(self, lanes: Lanes) -> None:
        self._consumer = Consumer(self.order, lanes, self._outlet, self._tags, self._ended)

    def _ended(self, consumer: Consumer) -> None:
        # If the line has ended too it says so by itself, right behind.
        if consumer is self._consumer and self._line.is_open:
            self.close()

    def _lost(self, error: BaseException) -> None:
        was_ending, self.is_ending, self.is_resting = self.is_ending, True, False
        self._on_end(self)
        if not was_ending:
            reason = f"the connection that reads {self.order.queue.name} ended: {explain(error)}"
            self._outlet.tell(ConsumerLost(self.order.id, reason, missing=False))


class Readers:
    """The readers of a link, of which the one that rested last is kept for a while.

    Args:
        dialer: Makes their connections.
        outlet: Where deliveries go.
        tags: Numbers for deliveries.
        linger_s: Seconds for which a reader that rests is kept; 0: none is.
        on_end: Called when nothing more is delivered for a reader's order.
    """

    def __init__(
        self,
        dialer: Dialer,
        outlet: Outlet,
        tags: Iterator[int],
        linger_s: float,
        on_end: Callable[[StreamReader], None],
    ) -> None:
        self._dialer = dialer
        self._outlet = outlet
        self._tags = tags
        self._linger_s = linger_s
        self._tell_end = on_end
        self._resting: StreamReader | None = None
        self._timer: object | None = None

    def read(self, order: Order) -> StreamReader:
        """A reader for an order."""
        reader = self._wake()
        if reader is None:
            return StreamReader(order, self._dialer, self._outlet, self._tags, self._ended)
        reader.take_up(order)
        return reader

    def close(self) -> None:
        """Close the reader that rests, if there is one."""
        reader = self._wake()
        if reader is not None:
            reader.close()

    def _ended(self, reader: StreamReader) -> None:
        self._tell_end(reader)
        if reader.is_resting:
            self.close()  # the one before
            self._resting = reader
            self._timer = self._dialer.loop.call_later(self._linger_s, self.close)

    def _wake(self) -> StreamReader | None:
        reader, self._resting = self._resting, None
        if self._timer is not None:
            self._dialer.loop.remove_timeout(self._timer)
            self._timer = None
        return reader if reader is not None and reader.is_resting else None
