"""Consumers: each has a channel of its own, so that one that ends takes nothing else with it.

A reader of a stream has even a connection of its own: RabbitMQ 3.10 ends the whole connection
(540) on a reject there, and closing may count as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pika import BasicProperties
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Basic

from broker.rabbitmq.deliveries import delivery, stream_offset
from broker.rabbitmq.line import Dialer, Line
from broker.rabbitmq.outlet import Outlet
from broker.rabbitmq.retry import NOT_FOUND, REFUSED, explain
from broker.topology import Queue
from broker.transport import ConsumerLost, Consuming


@dataclass(frozen=True, slots=True)
class Order:
    """What a consumer is to do: `offset` is None for queues, and for a stream's next message."""

    id: int
    queue: Queue
    prefetch: int
    offset: int | None

    def arguments(self) -> dict[str, int | str]:
        """The consume arguments, as RabbitMQ names them."""
        if self.queue.kind != "stream":
            return {}
        return {"x-stream-offset": "next" if self.offset is None else self.offset}


class Consumer:
    """A consumer on an open connection.

    Args:
        order: What to consume.
        line: The connection.
        outlet: Where deliveries go.
        tags: Numbers for deliveries.
        on_end: Called once, when the consumer and its channel have ended.

    Attributes:
        held: The broker's numbers of the unsettled deliveries, by ours.
        is_ending: Nothing more is delivered to it.
    """

    def __init__(
        self,
        order: Order,
        line: Line,
        outlet: Outlet,
        tags: Iterator[int],
        on_end: Callable[[], None],
    ) -> None:
        self.order = order
        self.held: dict[int, int] = {}
        self._outlet = outlet
        self._tags = tags
        self._on_end = on_end
        self._channel: Channel | None = None
        self._name = ""  # of the consumer, to the broker
        self.is_ending = False
        line.open_channel(self._opened)

    def ack(self, tag: int) -> None:
        """Settle a delivery."""
        number = self.held.pop(tag)
        if self._channel is not None and self._channel.is_open:
            self._channel.basic_ack(number)
        self._close_if_done()

    def reject(self, tag: int, requeue: bool) -> None:
        """Give a delivery back or dead-letter it; a stream knows neither."""
        if self.order.queue.kind == "stream":
            self.ack(tag)
            return
        number = self.held.pop(tag)
        if self._channel is not None and self._channel.is_open:
            self._channel.basic_reject(number, requeue)
        self._close_if_done()

    def cancel(self) -> None:
        """Take no more; the channel stays open until what is held is settled."""
        self.is_ending = True
        if self._name and self._channel is not None and self._channel.is_open:
            self._channel.basic_cancel(self._name, callback=lambda _: self._close_if_done())
        else:
            self.close()

    def close(self) -> None:
        """End at once: what is held goes back to the queue."""
        self.is_ending = True
        if self._channel is not None and self._channel.is_open:
            self._channel.close()

    def _close_if_done(self) -> None:
        if self.is_ending and not self.held:
            self.close()

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._closed)
        channel.add_on_cancel_callback(self._cancelled_by_broker)
        if self.is_ending:
            channel.close()
        else:
            prefetch = self.order.prefetch
            channel.basic_qos(prefetch_count=prefetch, callback=lambda _: self._consume(channel))

    def _consume(self, channel: Channel) -> None:
        if self.is_ending or not channel.is_open:
            return
        self._name = channel.basic_consume(
            self.order.queue.name,
            self._delivered,
            arguments=self.order.arguments(),
            callback=lambda _: self._outlet.tell(Consuming(self.order.id)),
        )

    def _delivered(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        # A stream is sent in chunks, which may begin before the offset asked for.
        if self.order.offset is not None and stream_offset(properties) < self.order.offset:
            channel.basic_ack(method.delivery_tag)
            return
        tag = next(self._tags)
        self.held[tag] = method.delivery_tag
        self._outlet.tell(delivery(self.order.id, tag, method, properties, body))

    def _cancelled_by_broker(self, _frame: Method) -> None:
        if not self.is_ending:
            self.close()  # or RabbitMQ 4.3 keeps the consumer as timed out, and its messages
            reason = f"the broker ended it: {self.order.queue.name} was deleted, or is elsewhere"
            self._outlet.tell(ConsumerLost(self.order.id, reason, missing=True))

    def _closed(self, _channel: Channel, reason: AMQPError) -> None:
        lost, self.is_ending = not self.is_ending, True
        self.held.clear()
        self._on_end()
        if not lost or not isinstance(reason, ChannelClosedByBroker):
            return  # our own doing, or the whole connection ended: the link sees to that
        if reason.reply_code == REFUSED:
            self._outlet.fail(f"{reason.reply_text}: give the user this permission")
            return
        # RabbitMQ says 404 as well while a queue's node is still coming up.
        missing = reason.reply_code == NOT_FOUND
        self._outlet.tell(ConsumerLost(self.order.id, str(reason.reply_text), missing))


class StreamReader:
    """A consumer of a stream with its connection. Same use as a `Consumer`."""

    def __init__(
        self,
        order: Order,
        dialer: Dialer,
        outlet: Outlet,
        tags: Iterator[int],
        on_end: Callable[[], None],
    ) -> None:
        self.order = order
        self._outlet = outlet
        self._tags = tags
        self._on_end = on_end
        self._consumer: Consumer | None = None
        self.is_ending = False
        self._line = dialer.dial("reads", self._opened, self._lost)

    @property
    def held(self) -> dict[int, int]:
        """See `Consumer`."""
        return self._consumer.held if self._consumer is not None else {}

    def ack(self, tag: int) -> None:
        """See `Consumer`."""
        if self._consumer is not None:
            self._consumer.ack(tag)

    def reject(self, tag: int, requeue: bool) -> None:
        """See `Consumer`."""
        self.ack(tag)

    def cancel(self) -> None:
        """End it: a stream needs nothing back."""
        self.close()

    def close(self) -> None:
        """See `Consumer`."""
        self.is_ending = True
        self._line.close()
        self._on_end()

    def _opened(self) -> None:
        self._consumer = Consumer(self.order, self._line, self._outlet, self._tags, self.close)

    def _lost(self, error: BaseException) -> None:
        self._on_end()
        reason = f"the connection that reads {self.order.queue.name} ended: {explain(error)}"
        self._outlet.tell(ConsumerLost(self.order.id, reason, missing=False))
