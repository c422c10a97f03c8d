"""Declares, counts, purges and deletes: one job after the other, each on a channel of its own.

The broker closes the channel of a job that it refuses, so nothing else may be on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.frame import Method

from broker.rabbitmq.line import Line
from broker.rabbitmq.outlet import Outlet
from broker.rabbitmq.retry import LOCKED, NOT_FOUND, PRECONDITION_FAILED, REFUSED
from broker.topology import Binding, Exchange, Queue, Topology
from broker.transport import Counted, Declared

Then = Callable[[object], None]
Step = Callable[[Channel, Then], None]

_MEND = {
    REFUSED: "give the user this permission",
    NOT_FOUND: "declare that first",
    LOCKED: "another connection owns it",
    PRECONDITION_FAILED: "delete it, or declare it as it is",
}


@dataclass(slots=True)
class Job:
    """Steps to take, one after the other.

    Attributes:
        on_done: Called when all are taken.
        may_be_missing: Nothing is wrong if what it is about is not there.
        on_missing: Called if it is not there.
    """

    steps: deque[Step]
    on_done: Callable[[], None] = lambda: None
    may_be_missing: bool = False
    on_missing: Callable[[], None] = lambda: None


class Declarer:
    """Works off jobs on a connection that others use too."""

    def __init__(self, line: Line, outlet: Outlet) -> None:
        self._line = line
        self._outlet = outlet
        self._jobs: deque[Job] = deque()

    def declare(self, topology: Topology) -> None:
        """Make sure that a topology stands, and say so."""
        self._add(Job(_steps(topology), lambda: self._outlet.tell(Declared())))

    def count(self, queue: Queue) -> None:
        """Say how many messages wait in a queue."""

        def tell(ready: int | None) -> None:
            self._outlet.tell(Counted(queue.name, ready))

        def step(channel: Channel, then: Then) -> None:
            def found(frame: Method) -> None:
                tell(frame.method.message_count)
                then(frame)

            channel.queue_declare(queue.name, passive=True, callback=found)

        self._add(Job(deque([step]), may_be_missing=True, on_missing=lambda: tell(None)))

    def purge(self, queue: Queue) -> None:
        """Drop what is ready in a queue."""

        def step(channel: Channel, then: Then) -> None:
            channel.queue_purge(queue.name, callback=then)

        self._add(Job(deque([step]), may_be_missing=True))

    def delete(self, queue: Queue) -> None:
        """Delete a queue."""

        def step(channel: Channel, then: Then) -> None:
            channel.queue_delete(queue.name, callback=then)

        self._add(Job(deque([step]), may_be_missing=True))

    def _add(self, job: Job) -> None:
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._line.open_channel(self._opened)

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        self._step(channel)

    def _step(self, channel: Channel) -> None:
        job = self._jobs[0]
        if job.steps:
            job.steps.popleft()(channel, lambda _: self._step(channel))
        else:
            channel.close()

    def _closed(self, _channel: Channel, reason: AMQPError) -> None:
        job = self._jobs[0]
        if isinstance(reason, ChannelClosedByBroker):
            if not (job.may_be_missing and reason.reply_code == NOT_FOUND):
                self._refused(reason)
                return
            job.on_missing()
        elif job.steps:
            return  # the connection ended
        else:
            job.on_done()
        self._jobs.popleft()
        if self._jobs:
            self._line.open_channel(self._opened)

    def _refused(self, reason: ChannelClosedByBroker) -> None:
        text = str(reason.reply_text)
        # A broker that is coming up says 404 for a queue whose node is not there yet.
        if reason.reply_code in _MEND and "down or inaccessible" not in text:
            self._outlet.fail(f"{text}: {_MEND[reason.reply_code]}")
        else:
            self._outlet.lose(text)


def _steps(topology: Topology) -> deque[Step]:
    return deque(
        [
            *map(_exchange_step, topology.exchanges),
            *map(_queue_step, topology.queues),
            *map(_binding_step, topology.bindings),
        ]
    )


def _exchange_step(exchange: Exchange) -> Step:
    def step(channel: Channel, then: Then) -> None:
        channel.exchange_declare(exchange.name, exchange.kind, durable=True, callback=then)

    return step


def _queue_step(queue: Queue) -> Step:
    def step(channel: Channel, then: Then) -> None:
        arguments = queue.arguments()
        channel.queue_declare(queue.name, durable=True, arguments=arguments, callback=then)

    return step


def _binding_step(binding: Binding) -> Step:
    def step(channel: Channel, then: Then) -> None:
        channel.queue_bind(binding.queue, binding.exchange, binding.key, callback=then)

    return step
