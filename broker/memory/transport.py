"""The transport of a client of the in-process broker."""

from __future__ import annotations

from broker.arguments import check_consume, check_count, check_purge
from broker.memory.broker import MemoryBroker
from broker.memory.client import Client, Schedule
from broker.topology import Binding, Queue, Topology
from broker.transport import AnswerTo, Counted, Doubtful, Outgoing, Post


class MemoryTransport:
    """A `Transport` to a `MemoryBroker`; everything happens, and is posted, within the call.

    Args:
        broker: The broker, shared by all clients.
        post: Where events go. It may call this transport; what comes of that is posted later.
        name: For people.
        user: What `Delivered.user_id` says of this client's messages.
        schedule: Calls a function after a delay in seconds, and is how a lost connection is made
            again; None: at once, or as soon as the broker is up.
        retry_s: Seconds until a lost connection is made again, of use with `schedule` only.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        post: Post,
        name: str = "",
        *,
        user: str = "guest",
        schedule: Schedule | None = None,
        retry_s: float = 1.0,
    ) -> None:
        self._broker = broker
        self.client = Client(name, user, post, schedule, retry_s)

    def start(self) -> None:
        """See `Transport.start`."""
        with self._broker.working():
            self._broker.connect(self.client)

    def disconnect(self) -> None:
        """See `Transport.disconnect`."""
        with self._broker.working():
            self._broker.disconnect(self.client, "disconnected")

    def stop(self, timeout_s: float = 5.0) -> None:
        """See `Transport.stop`."""
        with self._broker.working():
            self._broker.disconnect(self.client, "stopped")
        self.client.silence()

    def declare(self, topology: Topology) -> None:
        """See `Transport.declare`."""
        with self._broker.working():
            if self.client.connected:
                self._broker.declare(self.client, topology)

    def provide(self, queue: Queue, binding: Binding) -> None:
        """See `Transport.provide`."""
        with self._broker.working():
            if self.client.connected:
                self._broker.provide(self.client, queue, binding)

    def publish(self, message: Outgoing) -> int:
        """See `Transport.publish`."""
        with self._broker.working():
            token = next(self.client.ids)
            if self.client.connected:
                self._broker.publish(self.client, token, message)
            else:
                self._broker.tell(self.client, Doubtful(token))
        return token

    def answer(self, to: AnswerTo, body: bytes) -> None:
        """See `Transport.answer`."""
        with self._broker.working():
            if self.client.connected:
                self._broker.answer(to, body)

    def consume(self, queue: Queue, prefetch: int, offset: int | None = None) -> int:
        """See `Transport.consume`."""
        check_consume(queue, prefetch, offset)
        with self._broker.working():
            consumer = next(self.client.ids)
            if self.client.connected:
                self._broker.store.attach(self.client, consumer, queue, prefetch, offset)
        return consumer

    def cancel(self, consumer: int) -> None:
        """See `Transport.cancel`."""
        with self._broker.working():
            self._broker.store.detach(self.client, consumer)

    def ack(self, tag: int) -> None:
        """See `Transport.ack`."""
        with self._broker.working():
            self._broker.store.settle(self.client, tag)

    def reject(self, tag: int, requeue: bool) -> None:
        """See `Transport.reject`."""
        with self._broker.working():
            self._broker.store.reject(self.client, tag, requeue)

    def count(self, queue: Queue) -> None:
        """See `Transport.count`."""
        check_count(queue)
        with self._broker.working():
            if self.client.connected:
                known = self._broker.store.has(queue.name)
                ready = self._broker.store.count(queue.name) if known else None
                self._broker.tell(self.client, Counted(queue.name, ready))

    def purge(self, queue: Queue) -> None:
        """See `Transport.purge`."""
        check_purge(queue)
        with self._broker.working():
            if self.client.connected:
                self._broker.store.purge(queue.name)

    def delete(self, queue: Queue) -> None:
        """See `Transport.delete`."""
        with self._broker.working():
            if self.client.connected:
                self._broker.store.delete(queue.name)
