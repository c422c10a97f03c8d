"""Consumers: each has a channel to itself, so that one that ends takes nothing else with it.

Deliveries that are settled together are acked together, as far as they came one after another: for
the broker, one ack of many is little more work than an ack of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pika import BasicProperties
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.spec import Basic

from broker.rabbitmq.deliveries import delivery, stream_offset
from broker.rabbitmq.lanes import Lanes
from broker.rabbitmq.methods import Came, came_of_pika
from broker.rabbitmq.outlet import Outlet
from broker.rabbitmq.retry import NOT_FOUND, REFUSED
from broker.topology import Queue
from broker.transport import ConsumerLost, Consuming
from schemas.buffer import Buffer


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
        lanes: Channels of the connection.
        outlet: Where deliveries go.
        tags: Numbers for deliveries.
        on_end: Called once, when nothing more is delivered and nothing can be settled any more.

    Attributes:
        held: The broker's numbers of the unsettled deliveries, by ours.
        is_ending: Nothing more is delivered to it.
        is_consuming: The broker has accepted it, and was not told of its end.
        is_resting: It is cancelled, and the broker does not know (see `rests` and `reading`).
    """

    def __init__(
        self,
        order: Order,
        lanes: Lanes,
        outlet: Outlet,
        tags: Iterator[int],
        on_end: Callable[[Consumer], None],
    ) -> None:
        self.order = order
        self.held: dict[int, int] = {}
        self.is_ending = False
        self.is_consuming = False
        self._settled: list[int] = []  # the broker's numbers of what is to be acked
        self.is_resting = False
        self._is_overrun = False  # something came while it rested
        self._place = -1  # in a stream: the offset behind the last delivery
        self._lanes = lanes
        self._outlet = outlet
        self._tags = tags
        self._on_end = on_end
        self._name = ""  # of the consumer, to the broker
        self._is_cancelled = False  # and the broker has said so
        self._lane = lanes.take(order.prefetch, self)
        if self._lane.channel is not None:
            self.opened(self._lane.channel)

    @property
    def is_full(self) -> bool:
        """Whether the broker sends nothing before something is settled."""
        return self.is_consuming and len(self.held) >= self.order.prefetch

    def rest(self) -> None:
        """Take no more, for now; only who `is_full` may.

        What becomes of it meanwhile is not told. The broker hears neither of it nor of acks.
        """
        self.is_ending = self.is_resting = True

    def can_go_on(self, order: Order) -> bool:
        """Whether what comes next is what an order wants."""
        same = order.queue == self.order.queue and order.prefetch == self.order.prefetch
        if order.queue.kind == "stream":  # which wants nothing back
            return same and order.offset == self._place and not self._is_overrun
        return same and not self.held and self._lane.is_open

    def go_on(self, order: Order) -> None:
        """Go on after a rest, for another order."""
        self.order, self.is_ending, self.is_resting = order, False, False
        self._outlet.tell(Consuming(order.id))
        self._settled += self.held.values()
        self.held.clear()
        self.flush()

    def end_rest(self) -> None:
        """It is not wanted again: tell the broker what it has not heard."""
        self.is_resting = False
        self.cancel()
        self.flush()

    def ack(self, tag: int) -> None:
        """Settle a delivery; the broker hears it with the next `flush`."""
        self._settled.append(self.held.pop(tag))
        self._end_if_done()

    def flush(self) -> None:
        """Tell the broker what was settled, unless more would come then."""
        if self.is_resting:
            return
        settled, self._settled = self._settled, []
        channel = self._lane.channel
        if not settled or channel is None or not channel.is_open:
            return
        least_held = next(iter(self.held.values()), None)  # they came in the order of their numbers
        alone = [] if least_held is None else [each for each in settled if each > least_held]
        if len(alone) < len(settled):  # all that came before the first that is held
            last = max(set(settled).difference(alone))
            channel.basic_ack(last, multiple=len(settled) - len(alone) > 1)
        for number in alone:
            channel.basic_ack(number)

    def reject(self, tag: int, requeue: bool) -> None:
        """Give a delivery back or dead-letter it; a stream knows neither."""
        if self.order.queue.kind == "stream":
            self.ack(tag)
            return
        if self.is_resting:
            self.end_rest()
        number = self.held.pop(tag)
        channel = self._lane.channel
        if channel is not None and channel.is_open:
            channel.basic_reject(number, requeue)
        self._end_if_done()

    def cancel(self) -> None:
        """Take no more; what is held can still be settled."""
        self.is_ending, self.is_consuming = True, False
        channel = self._lane.channel
        if self._name and channel is not None and channel.is_open:
            channel.basic_cancel(self._name, callback=lambda _: self._cancel_is_ok())

    def close(self) -> None:
        """End at once: what is held goes back to the queue."""
        self.is_resting = False
        self.flush()
        self.is_ending, self.is_consuming = True, False
        channel = self._lane.channel
        if channel is not None and channel.is_open:
            channel.close()

    def _cancel_is_ok(self) -> None:
        self._is_cancelled = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        """Leave the channel to another, once nothing comes on it and nothing is held."""
        if self._is_cancelled and not self.held and self._lane.is_open:
            self.flush()
            self._is_cancelled = False
            self._lanes.give_back(self._lane)
            self._on_end(self)

    # What the lane says.

    def opened(self, channel: Channel) -> None:
        """See `lanes.User`."""
        if self.is_ending:  # cancelled before it began
            self._cancel_is_ok()
            return
        self._name = channel.basic_consume(
            self.order.queue.name,
            self._delivered_by_pika,
            arguments=self.order.arguments(),
            callback=lambda _: self._accepted(),
        )

    def _accepted(self) -> None:
        self._lane.tap(self)
        self.is_consuming = not self.is_ending
        self._outlet.tell(Consuming(self.order.id))

    def _delivered_by_pika(
        self, _channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self.delivered(came_of_pika(method, properties), self._lane.body(body))

    @property
    def is_tapping(self) -> bool:
        """See `stream.Tap`."""
        return self.is_consuming

    def acked(self, number: int, multiple: bool) -> bool:
        """See `stream.Tap`: nothing is published here."""
        return False

    def delivered(self, message: Came, body: Buffer) -> None:
        """See `stream.Tap`."""
        # A stream is sent in chunks, which may begin before the offset asked for.
        offset, channel = stream_offset(message.headers), self._lane.channel
        if self.order.offset is not None and offset < self.order.offset:
            if channel is not None and channel.is_open:
                channel.basic_ack(message.number)
            return
        if self.is_resting:
            self._is_overrun = True
            return
        self._place = offset + 1
        tag = next(self._tags)
        self.held[tag] = message.number
        self._outlet.tell(delivery(self.order.id, tag, offset, message, body))

    def cancelled(self) -> None:
        """See `lanes.User`."""
        was_ending = self.is_ending
        if not was_ending or self.is_resting:
            self.close()  # or RabbitMQ 4.3 keeps the consumer as timed out, and its messages
        if not was_ending:
            reason = f"the broker ended it: {self.order.queue.name} was deleted, or is elsewhere"
            self._outlet.tell(ConsumerLost(self.order.id, reason, missing=True))

    def closed(self, reason: AMQPError) -> None:
        """See `lanes.User`."""
        lost = not self.is_ending
        self.is_ending, self.is_consuming, self.is_resting = True, False, False
        self.held.clear()
        self._on_end(self)
        if not lost or not isinstance(reason, ChannelClosedByBroker):
            return  # our own doing, or the whole connection ended: the link sees to that
        if reason.reply_code == REFUSED:
            self._outlet.fail(f"{reason.reply_text}: give the user this permission")
            return
        # RabbitMQ says 404 as well while a queue's node is still coming up.
        missing = reason.reply_code == NOT_FOUND
        self._outlet.tell(ConsumerLost(self.order.id, str(reason.reply_text), missing))
