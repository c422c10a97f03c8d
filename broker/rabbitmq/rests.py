r"""Consumers of queues that were cancelled, and are likely to be wanted again at once.

To begin and to end a consumer of a quorum queue are two entries in the queue's log: as much work
for the broker as a message. A worker that takes one small task after another would cause both for
each. So where a client came back to a queue soon the last time, its next consumer *rests* when it
is cancelled: the broker is told neither of that nor of the ack of what is held, and so sends
nothing, since the consumer holds as much as its prefetch allows. The next order in the same queue
goes on, and tells the ack. When none comes in time, both are told.

    consuming --(cancelled, full)--> resting --(order)--> consuming
         \                              \--(none in time)--> cancelled
          \--(cancelled)--> cancelled
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from broker.rabbitmq.consumers import Order


class CanRest(Protocol):
    """A consumer, as far as its rest is concerned."""

    order: Order
    is_resting: bool

    @property
    def is_full(self) -> bool:
        """Whether the broker sends nothing before something is settled."""
        ...

    def rest(self) -> None:
        """Take no more, for now."""
        ...

    def can_go_on(self, order: Order) -> bool:
        """Whether an order can be carried out after the rest."""
        ...

    def end_rest(self) -> None:
        """It is not wanted again."""
        ...

    def cancel(self) -> None:
        """Take no more."""
        ...


class Timers(Protocol):
    """What calls back after a while."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        """Call after so many seconds."""
        ...


_ConsumerT = TypeVar("_ConsumerT", bound=CanRest)


@dataclass(frozen=True, slots=True)
class _Rest(Generic[_ConsumerT]):
    consumer: _ConsumerT
    until: float


class Rests(Generic[_ConsumerT]):
    """The rests of a link's consumers.

    Args:
        timers: Where they end in time.
        rest_s: Seconds for which an ack is kept back at most: if the connection is lost meanwhile,
            what was acked is delivered again.
        now: Monotonic seconds.
    """

    def __init__(self, timers: Timers, rest_s: float, now: Callable[[], float]) -> None:
        self._timers = timers
        self._rest_s = rest_s
        self._now = now
        self._rests: dict[str, _Rest[_ConsumerT]] = {}  # by queue
        self._looked_at: set[str] = set()  # queues that a timer runs for
        self._left_at: dict[str, float] = {}  # a queue is known here from cancel to consume
        self._came_back: set[str] = set()  # soon, the last time

    def cancel(self, consumer: _ConsumerT) -> None:
        """Cancel a consumer; now, or if it is not wanted again soon."""
        if consumer.is_resting:
            return
        queue, now = consumer.order.queue.name, self._now()
        self._left_at[queue] = now
        if queue not in self._came_back or not consumer.is_full:
            consumer.cancel()
            return
        consumer.rest()
        self._rests[queue] = _Rest(consumer, now + self._rest_s)
        self._look_again(queue, self._rest_s)

    def take_up(self, order: Order) -> _ConsumerT | None:
        """A consumer that can go on with an order; None if there is none."""
        queue = order.queue.name
        left_at = self._left_at.pop(queue, None)
        if left_at is not None and self._now() - left_at < self._rest_s:
            self._came_back.add(queue)
        else:
            self._came_back.discard(queue)
        consumer = self._wake(queue)
        if consumer is None or consumer.can_go_on(order):
            return consumer
        consumer.end_rest()
        return None

    def close(self) -> None:
        """End all rests."""
        for queue in list(self._rests):
            self._end(queue)

    def _look_again(self, queue: str, delay_s: float) -> None:
        # One timer for a queue, not one for each rest: most are over long before.
        if queue not in self._looked_at:
            self._looked_at.add(queue)
            self._timers.call_later(delay_s, lambda: self._look(queue))

    def _look(self, queue: str) -> None:
        self._looked_at.discard(queue)
        rest = self._rests.get(queue)
        if rest is None:
            return
        left_s = rest.until - self._now()
        if left_s > 0:
            self._look_again(queue, left_s)
        else:
            self._end(queue)

    def _end(self, queue: str) -> None:
        consumer = self._wake(queue)
        if consumer is not None:
            consumer.end_rest()

    def _wake(self, queue: str) -> _ConsumerT | None:
        rest = self._rests.pop(queue, None)
        # The broker may have ended it meanwhile.
        return rest.consumer if rest is not None and rest.consumer.is_resting else None
