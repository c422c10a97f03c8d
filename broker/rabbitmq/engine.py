"""What runs in the loop's thread: keeps a link up as long as it is wanted, and works on it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

from pika.adapters.select_connection import IOLoop

from broker.rabbitmq.consumers import Order
from broker.rabbitmq.line import Dialer
from broker.rabbitmq.link import Link
from broker.rabbitmq.parameters import Address
from broker.rabbitmq.retry import Backoff
from broker.topology import Binding, Queue, Topology
from broker.transport import (
    AnswerTo,
    Connected,
    Disconnected,
    Doubtful,
    Event,
    Failed,
    Outgoing,
    Post,
)

_GOOD_S = 10.0  # a link that lasted this long begins the backoff anew


class Engine:
    """A client's connection to the broker over time. Every method runs in the loop's thread."""

    def __init__(
        self,
        loop: IOLoop,
        address: Address,
        post: Post,
        retry_max_s: float,
        linger_s: float,
        rest_s: float,
    ) -> None:
        self._loop = loop
        self._address = address
        self._post: Post | None = post
        self._dialer = Dialer(loop, address)
        self._tags: Iterator[int] = itertools.count(1)
        self._backoff = Backoff(retry_max_s)
        self._linger_s = linger_s
        self._rest_s = rest_s
        self._link: Link | None = None
        self._timer: object | None = None
        self._wanted = False
        self._session = 0
        self._up_since = 0.0

    def tell(self, event: Event) -> None:
        """Post an event, unless the transport is stopped."""
        if self._post is not None:
            self._post(event)

    # Connecting.

    def connect(self) -> None:
        """Begin to connect, if that is not done already."""
        if not self._wanted and self._post is not None:
            self._wanted = True
            self._dial()

    def disconnect(self, reason: str) -> None:
        """Go offline, and stay so."""
        if self._wanted:
            self._hang_up(Disconnected(reason, retry_in_s=0.0))

    def shut(self, timeout_s: float, on_end: Callable[[], None]) -> None:
        """Go offline for good; it is the end when the broker has said goodbye, or in time."""
        self.disconnect("stopped")
        self._post = None
        self._loop.call_later(timeout_s, on_end)
        self._dialer.close_all(on_end)

    def discard(self) -> None:
        """Let go of every connection: the loop has ended."""
        self._dialer.discard_all()

    def recover(self, error: Exception) -> None:
        """Begin anew after an error that nobody foresaw, of ours or of pika."""
        if self._wanted:
            self._down(f"internal error, please report it: {error!r}", is_fatal=False)

    def _dial(self) -> None:
        self._timer = None
        self._link = Link(
            self._dialer,
            self._tags,
            self.tell,
            self._up,
            self._down,
            self._linger_s,
            self._rest_s,
        )

    def _up(self) -> None:
        self._session += 1
        self._up_since = time.monotonic()
        self.tell(Connected(self._session))

    def _down(self, reason: str, is_fatal: bool) -> None:
        reason = f"{self._address.shown}: {reason}"
        if is_fatal:
            self._hang_up(Failed(reason))
            return
        if self._is_up and time.monotonic() - self._up_since > _GOOD_S:
            self._backoff.reset()
        delay_s = self._backoff.next_s()
        self._hang_up(Disconnected(reason, delay_s))
        self._wanted = True
        self._timer = self._loop.call_later(delay_s, self._dial)

    def _hang_up(self, event: Disconnected | Failed) -> None:
        self._wanted = False
        link, self._link = self._link, None
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
        tokens = link.close() if link is not None else []
        self.tell(event)
        for token in tokens:
            self.tell(Doubtful(token))

    # Working: nothing is done while there is no link.

    @property
    def _is_up(self) -> bool:
        return self._link is not None and self._link.is_up

    def _with_link(self, work: Callable[[Link], None]) -> None:
        if self._link is not None and self._link.is_up:
            work(self._link)

    def publish(self, token: int, message: Outgoing) -> None:
        """See `Transport.publish`."""
        if self._link is not None and self._link.is_up:
            self._link.publish(token, message)
        else:
            self.tell(Doubtful(token))

    def answer(self, to: AnswerTo, body: bytes) -> None:
        """See `Transport.answer`."""
        self._with_link(lambda link: link.publisher.answer(to, body))

    def declare(self, topology: Topology) -> None:
        """See `Transport.declare`."""
        self._with_link(lambda link: link.declarer.declare(topology))

    def provide(self, queue: Queue, binding: Binding) -> None:
        """See `Transport.provide`."""
        self._with_link(lambda link: link.declarer.provide(queue, binding))

    def count(self, queue: Queue) -> None:
        """See `Transport.count`."""
        self._with_link(lambda link: link.declarer.count(queue))

    def purge(self, queue: Queue) -> None:
        """See `Transport.purge`."""
        self._with_link(lambda link: link.declarer.purge(queue))

    def delete(self, queue: Queue) -> None:
        """See `Transport.delete`."""
        self._with_link(lambda link: link.declarer.delete(queue))

    def consume(self, order: Order) -> None:
        """See `Transport.consume`."""
        self._with_link(lambda link: link.consume(order))

    def cancel(self, consumer: int) -> None:
        """See `Transport.cancel`."""
        self._with_link(lambda link: link.cancel(consumer))

    def ack(self, tag: int) -> None:
        """See `Transport.ack`; it is on its way with the next `flush`."""
        if self._link is not None and self._link.is_up:
            self._link.settle(tag)

    def hold(self) -> None:
        """Commands are about to be carried out: what they send goes together, with `flush`."""
        self._dialer.hold()

    def flush(self) -> None:
        """All commands that there are were carried out: send what can be sent together."""
        try:
            self._with_link(lambda link: link.flush())
        finally:
            self._dialer.release()

    def reject(self, tag: int, requeue: bool) -> None:
        """See `Transport.reject`."""
        self._with_link(lambda link: link.reject(tag, requeue))
