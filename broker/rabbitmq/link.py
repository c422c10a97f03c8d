r"""One life of a client's two connections: one consumes and acks, one publishes.

They are two because a broker in alarm blocks a connection that publishes, and with it every ack.
They live and die together; a link that is down is thrown away and another one is made.

    dialling --> up --> down
        \--------------/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from broker.rabbitmq.consumers import Consumer, Order
from broker.rabbitmq.declaring import Declarer
from broker.rabbitmq.lanes import Lanes
from broker.rabbitmq.line import Dialer
from broker.rabbitmq.outlet import Outlet
from broker.rabbitmq.publisher import Publisher
from broker.rabbitmq.reading import Readers, StreamReader
from broker.rabbitmq.rests import Rests
from broker.rabbitmq.retry import explain, is_fatal
from broker.transport import Event, Outgoing


class Link:
    """A pair of connections and all that is done on them.

    Args:
        dialer: Makes the connections.
        tags: Numbers for deliveries.
        tell: Where events go.
        on_up: Called when both connections are ready.
        on_down: Called once, with the reason and whether it is fatal. Never after `close`.
        linger_s: Seconds for which a connection that reads streams is kept after use.
        rest_s: See `rests`.
    """

    def __init__(
        self,
        dialer: Dialer,
        tags: Iterator[int],
        tell: Callable[[Event], None],
        on_up: Callable[[], None],
        on_down: Callable[[str, bool], None],
        linger_s: float,
        rest_s: float,
    ) -> None:
        self.is_up = False
        self._dialer = dialer
        self._tags = tags
        self._tell_owner = tell
        self._on_up = on_up
        self._on_down = on_down
        self._is_down = False
        self._outlet = Outlet(
            tell=self._tell,
            lose=partial(self._end, is_fatal=False),
            fail=partial(self._end, is_fatal=True),
        )
        self._publisher: Publisher | None = None
        self._declarer: Declarer | None = None
        self._publisher_is_ready = False
        self._consumers: dict[int, Consumer | StreamReader] = {}
        self._readers = Readers(dialer, self._outlet, tags, linger_s, self._forget)
        self._rests: Rests[Consumer] = Rests(dialer.loop, rest_s, time.monotonic)
        self._lanes: Lanes | None = None
        self._publishes = dialer.dial("publishes", self._publishes_open, self._lost)
        self._consumes = dialer.dial("consumes", self._consumes_open, self._lost)

    def close(self) -> list[int]:
        """Hang up, and return the tokens of the publishes without an outcome."""
        self._rests.close()
        self.flush()
        self._is_down = True
        self.is_up = False
        for reader in list(self._consumers.values()):
            if isinstance(reader, StreamReader):
                reader.close()
        self._readers.close()
        self._publishes.close()
        self._consumes.close()
        return self._publisher.open_tokens() if self._publisher is not None else []

    # What both connections and everything on them may say.

    def _tell(self, event: Event) -> None:
        if not self._is_down:
            self._tell_owner(event)

    def _end(self, reason: str, is_fatal: bool) -> None:
        if not self._is_down:
            self._on_down(reason, is_fatal)

    def _lost(self, error: BaseException) -> None:
        self._end(explain(error), is_fatal(error))

    def _publishes_open(self) -> None:
        user = self._dialer.address.user
        self._publisher = Publisher(self._publishes, self._outlet, user, self._published_is_ready)

    def _published_is_ready(self) -> None:
        self._publisher_is_ready = True
        self._come_up()

    def _consumes_open(self) -> None:
        self._declarer = Declarer(self._consumes, self._outlet)
        self._lanes = Lanes(self._consumes)
        self._come_up()

    def _come_up(self) -> None:
        if self._publisher_is_ready and self._declarer is not None and not self._is_down:
            self.is_up = True
            self._on_up()

    # What is done on them, once up.

    @property
    def publisher(self) -> Publisher:
        """The publishing side; there is one once the link is up."""
        assert self._publisher is not None
        return self._publisher

    @property
    def declarer(self) -> Declarer:
        """What declares; there is one once the link is up."""
        assert self._declarer is not None
        return self._declarer

    def publish(self, token: int, message: Outgoing) -> None:
        """Publish a message."""
        self.publisher.publish(token, message)

    def consume(self, order: Order) -> None:
        """Start a consumer; one that consumes the same queue ends at once."""
        for known in list(self._consumers.values()):
            if known.order.queue.name == order.queue.name and not known.is_ending:
                known.close()
        if order.queue.kind == "stream":
            self._consumers[order.id] = self._readers.read(order)
            return
        rested = self._rests.take_up(order)
        if rested is not None:
            self._forget(rested)
            rested.go_on(order)
            self._consumers[order.id] = rested
            return
        assert self._lanes is not None, "it is up"
        self._consumers[order.id] = Consumer(
            order, self._lanes, self._outlet, self._tags, self._forget
        )

    def cancel(self, consumer: int) -> None:
        """End a consumer."""
        known = self._consumers.get(consumer)
        if isinstance(known, StreamReader):
            known.cancel()
        elif known is not None:
            self._rests.cancel(known)

    def settle(self, tag: int) -> None:
        """Ack a delivery, if it is still held; the broker hears it with the next `flush`."""
        holder = self._holder(tag)
        if holder is not None:
            holder.ack(tag)

    def flush(self) -> None:
        """Tell the broker what was acked."""
        for consumer in self._consumers.values():
            consumer.flush()

    def reject(self, tag: int, requeue: bool) -> None:
        """Give a delivery back or dead-letter it, if it is still held."""
        holder = self._holder(tag)
        if holder is not None:
            holder.reject(tag, requeue)

    def _holder(self, tag: int) -> Consumer | StreamReader | None:
        return next((each for each in self._consumers.values() if tag in each.held), None)

    def _forget(self, ended: Consumer | StreamReader) -> None:
        self._consumers.pop(ended.order.id, None)
