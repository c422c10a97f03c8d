"""Declares, provides, counts, purges and deletes: one job after the other, on a channel of theirs.

The broker closes the channel of a job that it refuses, so one is done at a time and nothing else is
on it; the next one is given another channel.
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
from broker.transport import Counted, Declared, Provided

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
        on_refused: Takes why the broker refuses it; None: the whole link depends on it.
    """

    steps: deque[Step]
    on_done: Callable[[], None] = lambda: None
    may_be_missing: bool = False
    on_missing: Callable[[], None] = lambda: None
    on_refused: Callable[[str], None] | None = None


class Declarer:
    """Works off jobs on a connection that others use too."""

    def __init__(self, line: Line, outlet: Outlet) -> None:
        self._line = line
        self._outlet = outlet
        self._jobs: deque[Job] = deque()
        self._channel: Channel | None = None

    def declare(self, topology: Topology) -> None:
        """Make sure that a topology stands, and say so."""
        self._add(Job(_steps(topology), lambda: self._outlet.tell(Declared())))

    def provide(self, queue: Queue, binding: Binding) -> None:
        """Make sure that a queue stands and is bound, and say so, or why it does not."""

        def tell(problem: str = "") -> None:
            self._outlet.tell(Provided(queue.name, problem))

        steps = _steps(Topology((), (queue,), (binding,)))
        self._add(Job(steps, on_done=tell, on_refused=tell))

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
        self._channel = channel
        channel.add_on_close_callback(self._closed)
        self._step(channel)

    def _step(self, channel: Channel) -> None:
        """Take the next step of the first job that has one; without a job the channel goes."""
        while self._jobs:
            job = self._jobs[0]
            if job.steps:
                job.steps.popleft()(channel, lambda _: self._step(channel))
                return
            job.on_done()
            self._jobs.popleft()
        self._channel = None
        if channel.is_open:  # the connection may be at its end
            channel.close()

    def _closed(self, channel: Channel, reason: AMQPError) -> None:
        if channel is not self._channel:
            return  # our own doing
        self._channel = None
        if not isinstance(reason, ChannelClosedByBroker):
            return  # the connection ended
        job = self._jobs[0]
        if job.on_refused is not None:
            job.on_refused(_in_words(reason))
        elif job.may_be_missing and reason.reply_code == NOT_FOUND:
            job.on_missing()
        else:
            self._refused(reason)
            return
        self._jobs.popleft()
        if self._jobs:
            self._line.open_channel(self._opened)

    def _refused(self, reason: ChannelClosedByBroker) -> None:
        if _is_for_good(reason):
            self._outlet.fail(_in_words(reason))
        else:
            self._outlet.lose(_in_words(reason))


def _is_for_good(reason: ChannelClosedByBroker) -> bool:
    # A broker that is coming up says 404 for a queue whose node is not there yet.
    return reason.reply_code in _MEND and "down or inaccessible" not in str(reason.reply_text)


def _in_words(reason: ChannelClosedByBroker) -> str:
    text = str(reason.reply_text)
    return f"{text}: {_MEND[reason.reply_code]}" if _is_for_good(reason) else text


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
