r"""Consumers that were cancelled and are likely to be wanted again at once.

To begin and to end a consumer of a quorum queue are two entries in the queue's log: as much work
for the broker as a message. A worker that takes one small task after another would cause both for
each. So where a client came back to a queue soon the last time, its next consumer *pauses* when it
is cancelled: the broker is told neither of that nor of the ack of what is held, and so sends
nothing, since the consumer holds as much as its prefetch allows. The next order in the same queue
goes on, and tells the ack. When none comes in time, both are told.

    consuming --(cancelled, full)--> pausing --(order)--> consuming
         \                              \--(in time none)--> cancelled
          \--(cancelled)--> cancelled
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pika.adapters.select_connection import IOLoop

from broker.rabbitmq.consumers import Consumer, Order


@dataclass(frozen=True, slots=True)
class _Pause:
    consumer: Consumer
    timer: object


class Pauses:
    """The pauses of a link's consumers.

    Args:
        loop: Where they end in time.
        pause_s: Seconds for which an ack is kept back at most: if the connection is lost meanwhile,
            what was acked is delivered again.
    """

    def __init__(self, loop: IOLoop, pause_s: float) -> None:
        self._loop = loop
        self._pause_s = pause_s
        self._pauses: dict[str, _Pause] = {}  # by queue
        self._left_at: dict[str, float] = {}  # a queue is known here from cancel to consume
        self._came_back: set[str] = set()  # soon, the last time

    def cancel(self, consumer: Consumer) -> None:
        """Cancel a consumer, now or if it is not wanted again soon."""
        queue = consumer.order.queue.name
        self._left_at[queue] = time.monotonic()
        if queue not in self._came_back or queue in self._pauses or not consumer.is_full:
            consumer.cancel()
            return
        consumer.pause()
        timer = self._loop.call_later(self._pause_s, lambda: self._end(queue))
        self._pauses[queue] = _Pause(consumer, timer)

    def take_up(self, order: Order) -> Consumer | None:
        """A consumer that may resume for an order; None if there is none."""
        queue = order.queue.name
        left_at = self._left_at.pop(queue, None)
        if left_at is not None and time.monotonic() - left_at < self._pause_s:
            self._came_back.add(queue)
        else:
            self._came_back.discard(queue)
        consumer = self._wake(queue)
        if consumer is None or consumer.can_resume(order):
            return consumer
        consumer.end_pause()
        return None

    def close(self) -> None:
        """End all pauses."""
        for queue in list(self._pauses):
            self._end(queue)

    def _end(self, queue: str) -> None:
        consumer = self._wake(queue)
        if consumer is not None:
            consumer.end_pause()

    def _wake(self, queue: str) -> Consumer | None:
        pause = self._pauses.pop(queue, None)
        if pause is None:
            return None
        self._loop.remove_timeout(pause.timer)
        return pause.consumer if pause.consumer.is_pausing else None
