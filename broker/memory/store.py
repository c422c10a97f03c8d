"""The content of the in-process broker: queues, and how messages move between them.

Rules of the file:

- A dead letter is handed over at least once: the queue keeps it until its dead-letter exchange
  has taken it, as RabbitMQ's quorum queues do.
- A queue that nobody used for as long as it may wait is deleted when it is next looked for.
- It knows no connection and no lock; who calls it holds the broker's lock.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.memory.client import Client
from broker.memory.queues import Consumer, Lease, Message, MessageQueue, Stream
from broker.memory.routing import Routes
from broker.topology import Binding, Queue, Topology
from broker.transport import ConsumerLost, Consuming, Delivered, Event


class Store:
    """Exchanges, queues and what is in them.

    Args:
        clock: Seconds.
        tell: Hands an event to a client.

    Attributes:
        running: False while the broker is down and gives nothing out.
    """

    def __init__(self, clock: Callable[[], float], tell: Callable[[Client, Event], None]) -> None:
        self._clock = clock
        self._tell = tell
        self.running = True
        self._routes = Routes()
        self._queues: dict[str, MessageQueue | Stream] = {}

    # The topology.

    def declare(self, topology: Topology) -> str:
        """Add what is missing; says what is there with other arguments, else ""."""
        return (
            next(filter(None, map(self._routes.add_exchange, topology.exchanges)), "")
            or next(filter(None, map(self._add_queue, topology.queues)), "")
            or next(filter(None, map(self._bind, topology.bindings)), "")
        )

    def _add_queue(self, spec: Queue) -> str:
        known = self._find(spec.name)
        if known is None:
            known = Stream(spec) if spec.kind == "stream" else MessageQueue(spec)
            self._queues[spec.name] = known
        elif known.spec != spec:
            return f"queue {spec.name} exists with other arguments"
        known.used_at = self._clock()
        return ""

    def _find(self, name: str) -> MessageQueue | Stream | None:
        """The queue of a name; one that has expired is deleted instead."""
        queue = self._queues.get(name)
        if queue is not None and queue.has_expired(self._clock()):
            self.delete(name)
            return None
        return queue

    def _bind(self, binding: Binding) -> str:
        if binding.queue not in self._queues:
            return f"there is no queue {binding.queue} to bind"
        return self._routes.add_binding(binding)

    def count(self, name: str) -> int:
        """How many messages wait in a queue, or are in a stream; 0 if there is none."""
        match self._find(name):
            case MessageQueue() as queue:
                return len(queue)
            case Stream() as stream:
                return len(stream)
            case None:
                return 0

    def holds(self, message_id: str, besides: str = "") -> bool:
        """Whether a message of that id waits in any queue but one."""
        queues = (queue for name, queue in self._queues.items() if name != besides)
        return any(isinstance(each, MessageQueue) and each.holds(message_id) for each in queues)

    def has(self, name: str) -> bool:
        """Whether there is a queue or stream of that name."""
        return self._find(name) is not None

    def purge(self, name: str) -> None:
        """Forget what is ready in a queue."""
        queue = self._queues.get(name)
        if isinstance(queue, MessageQueue):
            queue.purge()
            self._bury_all()

    def delete(self, name: str) -> None:
        """Delete a queue with what is in it; its consumers are lost."""
        queue = self._queues.pop(name, None)
        if queue is None:
            return
        queue.deleted = True
        self._routes.forget_queue(name)
        for consumer in queue.consumers:
            del consumer.client.consumers[consumer.id]
            lost = ConsumerLost(consumer.id, f"queue {name} was deleted", missing=True)
            self._tell(consumer.client, lost)
        queue.consumers.clear()

    # Messages in.

    def route(self, exchange: str, key: str) -> list[str] | None:
        """The queues that a message goes to; None if there is no such exchange."""
        targets = self._routes.targets(exchange, key)
        return None if targets is None else [name for name in targets if self.has(name)]

    def append(self, message: Message, targets: list[str]) -> str:
        """Append to every target that has room; the name of one that has none, else ""."""
        full = ""
        for name in targets:
            queue = self._queues[name]
            if isinstance(queue, MessageQueue) and queue.is_full:
                full = name
            else:
                queue.append(message)
        return full

    def pump(self, names: list[str]) -> None:
        """Give out what the queues hold, as far as their consumers have room."""
        for name in names:
            self._pump(self._queues[name])

    def pump_all(self) -> None:
        """Look at every queue: time has passed."""
        self.pump([name for name in list(self._queues) if self.has(name)])

    # Messages out.

    def attach(
        self, client: Client, consumer_id: int, spec: Queue, prefetch: int, offset: int | None
    ) -> None:
        """Attach a consumer in place of the client's last one there; give it what is there."""
        for known in list(client.consumers.values()):
            if known.queue.spec.name == spec.name:
                self._replace(client, known)
        queue = self._find(spec.name)
        if queue is None:
            lost = ConsumerLost(consumer_id, f"there is no queue {spec.name}", missing=True)
            self._tell(client, lost)
            return
        consumer = Consumer(consumer_id, client, queue, prefetch)
        if isinstance(queue, Stream):
            consumer.next_offset = queue.end if offset is None else offset
        client.consumers[consumer_id] = consumer
        queue.consumers.append(consumer)
        self._tell(client, Consuming(consumer_id))
        self._pump(queue)

    def detach(self, client: Client, consumer_id: int) -> None:
        """Detach a consumer; what it holds stays with it."""
        consumer = client.consumers.pop(consumer_id, None)
        if consumer is not None:
            self._leave(consumer)
            self._pump(consumer.queue)

    def _leave(self, consumer: Consumer) -> None:
        consumer.queue.consumers.remove(consumer)
        consumer.queue.used_at = self._clock()

    def _replace(self, client: Client, consumer: Consumer) -> None:
        self.detach(client, consumer.id)
        held = [tag for tag, lease in client.leases.items() if lease.consumer is consumer]
        for tag in held:
            self.reject(client, tag, requeue=True)

    def settle(self, client: Client, tag: int) -> None:
        """Forget the message of a delivery."""
        lease = client.leases.pop(tag, None)
        if lease is not None:
            lease.consumer.unsettled -= 1
            self._pump(lease.consumer.queue)

    def reject(self, client: Client, tag: int, requeue: bool) -> None:
        """Put the message of a delivery back, or dead-letter it."""
        lease = client.leases.pop(tag, None)
        if lease is None:
            return
        queue = lease.consumer.queue
        if requeue:
            self._take_back(lease)
        else:
            lease.consumer.unsettled -= 1
            self._bury(queue, lease.message, "rejected")
        self._pump(queue)

    def void(self, client: Client) -> None:
        """Detach all consumers of a client and take back all that it holds."""
        touched = {consumer.queue: None for consumer in client.consumers.values()}
        for consumer in client.consumers.values():
            self._leave(consumer)
        client.consumers.clear()
        leases, client.leases = client.leases, {}
        for lease in leases.values():
            touched[lease.consumer.queue] = None
            self._take_back(lease)
        for queue in touched:
            self._pump(queue)

    def _take_back(self, lease: Lease) -> None:
        lease.consumer.unsettled -= 1
        queue, message = lease.consumer.queue, lease.message
        if isinstance(queue, Stream) or queue.deleted:
            return
        message.returns += 1
        if queue.spec.kind == "quorum" and message.returns > queue.spec.delivery_limit:
            self._bury(queue, message, "delivery_limit")
        else:
            queue.put_back(message)

    def _pump(self, queue: MessageQueue | Stream) -> None:
        """Give a queue's messages to its consumers, as far as they have room."""
        while isinstance(queue, MessageQueue) and queue.is_over:
            self._bury(queue, queue.take(), "maxlen")
        if queue.deleted or not self.running:
            return
        match queue:
            case MessageQueue():
                self._pump_messages(queue)
            case Stream():
                for consumer in queue.consumers:
                    self._pump_reader(queue, consumer)
        self._bury_all()

    def _pump_messages(self, queue: MessageQueue) -> None:
        while (head := queue.head()) is not None:
            if head.expires_at <= self._clock():
                self._bury(queue, queue.take(), "expired")
            elif (consumer := queue.next_consumer()) is not None:
                self._deliver(consumer, queue.take(), offset=-1)
            else:
                return

    def _pump_reader(self, stream: Stream, consumer: Consumer) -> None:
        while consumer.has_room and (message := stream.read(consumer.next_offset)) is not None:
            consumer.next_offset = message.place + 1
            self._deliver(consumer, message, offset=message.place)

    def _deliver(self, consumer: Consumer, message: Message, offset: int) -> None:
        client, tag = consumer.client, next(consumer.client.ids)
        client.leases[tag] = Lease(consumer, message)
        consumer.unsettled += 1
        delivered = Delivered(
            consumer=consumer.id,
            tag=tag,
            body=message.body,
            message_id=message.message_id,
            redelivered=message.returns > 0,
            user_id=message.user_id,
            offset=offset,
            answer_to=message.answer_to,
            routing_key=message.routing_key,
            death=message.death,
        )
        self._tell(client, delivered)

    # Dead letters.

    def _bury(self, queue: MessageQueue | Stream, message: Message, reason: str) -> None:
        if isinstance(queue, MessageQueue) and queue.spec.dead_letter_exchange:
            queue.dying.append(message.dead(reason))

    def _bury_all(self) -> None:
        for queue in list(self._queues.values()):
            while isinstance(queue, MessageQueue) and queue.dying:
                message = queue.dying[0]
                targets = self.route(queue.spec.dead_letter_exchange, message.routing_key)
                if not targets or self.append(message, targets):
                    break
                queue.dying.popleft()
                self.pump(targets)
