"""The wire between a process and the broker: slow, reordered between lanes, half-open, cut.

A connection has two lanes towards the process: what it is told of its publishes, and all else. Each
lane keeps its order, as AMQP does; between them anything goes. While a link is half-open nothing
passes in either direction, and neither side knows: what is published then is in doubt once the
connection is lost, and what is acked then is delivered again.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Literal

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Binding, Queue, Topology
from broker.transport import (
    AnswerTo,
    Confirmed,
    Disconnected,
    Doubtful,
    Event,
    Failed,
    Outgoing,
    Post,
    Refused,
    Returned,
)
from simulation.clock import VirtualTime
from simulation.mishaps import Crash, Mishaps

SWALLOWED = -1  # tokens and consumers of what never reached the broker count down from here
HEARTBEATS_S = 30.0  # until a link that says nothing counts as lost

Lane = Literal["outcomes", "others"]


class Link:
    """A `Transport` over the in-process broker, with the mishaps of a network.

    Args:
        broker: The other end.
        post: Takes events, in the process.
        time: When they arrive.
        rng: How long they take.
        mishaps: Of the process: each call is a step of it.
        latency_s: The mean time on the way to the process.
        name: Whose link it is.
        on_publish: Told of each message that reached the broker.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        post: Post,
        time: VirtualTime,
        rng: random.Random,
        mishaps: Mishaps,
        latency_s: float,
        name: str,
        on_publish: Callable[[Outgoing], None],
    ) -> None:
        self._broker = broker
        self._post = post
        self._time = time
        self._rng = rng
        self._mishaps = mishaps
        self._latency_s = latency_s
        self._on_publish = on_publish
        self._lanes: dict[Lane, deque[Event]] = {"outcomes": deque(), "others": deque()}
        self._swallowed: list[int] = []
        self._next_swallowed = SWALLOWED
        self._silenced = False
        self.half_open = False
        self._held = False
        self.inner = MemoryTransport(
            broker,
            self._arrive,
            name,
            schedule=lambda delay_s, call: time.call_in(delay_s, call),
            retry_s=1.0 + rng.random(),
        )

    # mishaps

    @property
    def connected(self) -> bool:
        """Whether there is a connection that can be cut."""
        return self.inner.client.connected

    def cut(self) -> None:
        """The connection is lost; it is made again after a while."""
        self.half_open = False
        self._broker.drop(self.inner)

    def go_half_open(self) -> None:
        """Nothing passes from here on; it is noticed after some heartbeats."""
        if self.connected and not self.half_open:
            self.half_open = True
            self._time.call_in(HEARTBEATS_S, self._notice)

    def hold(self) -> None:
        """The process is stopped: what comes waits for it, and the broker loses patience."""
        self._held = True
        self._time.call_in(HEARTBEATS_S, self._lose_patience)

    def release(self) -> None:
        """The process goes on, with what has come meanwhile."""
        self._held = False
        for lane, events in self._lanes.items():
            for _ in events:
                self._pass_later(lane)

    def silence(self) -> None:
        """The process is no more: the broker takes back what it held."""
        self._silenced = True
        self.inner.stop()

    def _notice(self) -> None:
        if self.half_open and not self._silenced:
            self.cut()

    def _lose_patience(self) -> None:
        if self._held and not self._silenced:
            self.cut()

    # towards the process

    def _arrive(self, event: Event) -> None:
        if isinstance(event, Disconnected | Failed):
            self._lose_lanes(event)
            return
        is_outcome = isinstance(event, Confirmed | Returned | Refused | Doubtful)
        lane: Lane = "outcomes" if is_outcome else "others"
        self._lanes[lane].append(event)
        if not self.half_open and not self._held:
            self._pass_later(lane)

    def _pass_later(self, lane: Lane) -> None:
        self._time.call_in(self._rng.expovariate(1 / self._latency_s), lambda: self._pass(lane))

    def _pass(self, lane: Lane) -> None:
        stopped = self.half_open or self._held or self._silenced
        if self._lanes[lane] and not stopped:
            self._post(self._lanes[lane].popleft())

    def _lose_lanes(self, event: Event) -> None:
        """What was on its way is lost; of what was published nobody knows what became of it."""
        self.half_open = False
        outcomes = list(self._lanes["outcomes"])
        for lane in self._lanes.values():
            lane.clear()
        swallowed, self._swallowed = self._swallowed, []
        self._post(event)
        for outcome in outcomes:
            assert isinstance(outcome, Confirmed | Returned | Refused | Doubtful)
            self._post(Doubtful(outcome.token))
        for token in swallowed:
            self._post(Doubtful(token))

    # `Transport`

    def start(self) -> None:
        """See `Transport.start`."""
        self._mishaps.at("connect")
        self.inner.start()

    def disconnect(self) -> None:
        """See `Transport.disconnect`."""
        if not self._mishaps.ended:
            self.inner.disconnect()

    def stop(self, timeout_s: float = 5.0) -> None:
        """See `Transport.stop`."""
        if not self._mishaps.ended:
            self.silence()

    def declare(self, topology: Topology) -> None:
        """See `Transport.declare`."""
        if self._passes("declare"):
            self.inner.declare(topology)

    def provide(self, queue: Queue, binding: Binding) -> None:
        """See `Transport.provide`."""
        if self._passes("provide"):
            self.inner.provide(queue, binding)

    def publish(self, message: Outgoing) -> int:
        """See `Transport.publish`."""
        if not self._passes(f"publish to {message.exchange or message.routing_key}"):
            token = self._swallow()
            self._swallowed.append(token)
            return token
        token = self.inner.publish(message)
        if self.connected:
            self._on_publish(message)
        return token

    def answer(self, to: AnswerTo, body: bytes) -> None:
        """See `Transport.answer`."""
        if self._passes("answer"):
            self.inner.answer(to, body)

    def consume(self, queue: Queue, prefetch: int, offset: int | None = None) -> int:
        """See `Transport.consume`."""
        if not self._passes("consume"):
            return self._swallow()
        return self.inner.consume(queue, prefetch, offset)

    def cancel(self, consumer: int) -> None:
        """See `Transport.cancel`."""
        if self._passes("cancel"):
            self.inner.cancel(consumer)

    def ack(self, tag: int) -> None:
        """See `Transport.ack`."""
        if self._passes("ack"):
            self.inner.ack(tag)

    def reject(self, tag: int, requeue: bool) -> None:
        """See `Transport.reject`."""
        if self._passes("reject"):
            self.inner.reject(tag, requeue)

    def count(self, queue: Queue) -> None:
        """See `Transport.count`."""
        if self._passes("count"):
            self.inner.count(queue)

    def purge(self, queue: Queue) -> None:
        """See `Transport.purge`."""
        if self._passes("purge"):
            self.inner.purge(queue)

    def delete(self, queue: Queue) -> None:
        """See `Transport.delete`."""
        if self._passes("delete"):
            self.inner.delete(queue)

    def _passes(self, step: str) -> bool:
        if self._silenced:
            raise Crash(step)
        self._mishaps.at(step)
        return not self.half_open

    def _swallow(self) -> int:
        token, self._next_swallowed = self._next_swallowed, self._next_swallowed - 1
        return token
