"""The in-process broker: RabbitMQ's semantics without RabbitMQ, for tests, demos and virtual time.

Rules of the file:

- One lock guards everything. What comes of a call is queued under it and posted after it is
  released, in the order in which it happened, by one thread at a time: a `post` may call back.
- It has no thread and no timer. Time is what `clock` says whenever something is called.
- Content is durable as long as the object lives: `down` and `up` are a broker's restart.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from broker.memory.client import Client
from broker.memory.queues import Message
from broker.memory.store import Store
from broker.topology import MESSAGE_BYTES_MAX, Binding, Queue, Topology
from broker.transport import (
    Answered,
    AnswerTo,
    Confirmed,
    Connected,
    Declared,
    Disconnected,
    Doubtful,
    Event,
    Failed,
    Outgoing,
    Provided,
    Refused,
    Returned,
)

if TYPE_CHECKING:
    from broker.memory.transport import MemoryTransport


class MemoryBroker:
    """A broker for the transports of one process.

    Services use a `MemoryTransport`; a simulator uses `drop`, `down`, `up`, `hold_confirms`,
    `refuse`, `knows`, `holds` and `expire` besides.

    Args:
        clock: Seconds, from any start, never going back.
        message_bytes_max: Larger messages are refused, as RabbitMQ does.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self._clock = clock
        self._message_bytes_max = message_bytes_max
        self._lock = threading.Lock()
        self._todo: deque[Callable[[], object]] = deque()
        self._posting = False
        self.store = Store(clock, self.tell)
        self._clients: dict[str, Client] = {}  # connected, by address
        self._waiting: dict[Client, None] = {}  # connect as soon as the broker is up
        self._addresses = 0
        self._is_up = True
        self._holding = False
        self._refusing = False

    # For simulators and tests.

    def drop(self, transport: MemoryTransport) -> None:
        """Cut a client's connection; it connects again by itself."""
        with self.working():
            if transport.client.connected:
                self._lose(transport.client, "the connection was cut")

    def down(self) -> None:
        """Stop the broker: every client loses its connection, durable content stays."""
        with self.working():
            self._is_up = self.store.running = False  # or one client would get what another held
            for client in list(self._clients.values()):
                self._lose(client, "the broker went down")

    def up(self) -> None:
        """Start the broker again; clients without a schedule connect at once."""
        with self.working():
            self._is_up = self.store.running = True
            self.store.pump_all()
            waiting, self._waiting = self._waiting, {}
            for client in waiting:
                self._attempt(client, client.attempt)

    def hold_confirms(self) -> None:
        """Keep back the outcome of every publish from here on; a cut makes them doubtful."""
        with self.working():
            self._holding = True

    def release_confirms(self) -> None:
        """Post the outcomes that were kept back, and hold no more."""
        with self.working():
            self._holding = False
            for client in self._clients.values():
                for event in client.held.values():
                    self.tell(client, event)
                client.held.clear()

    def refuse(self, refuse: bool) -> None:
        """Refuse every publish from here on, as if all queues were full; or no more."""
        with self._lock:
            self._refusing = refuse

    def expire(self) -> None:
        """Look at the clock: dead-letter what has expired at the head of a queue."""
        with self.working():
            self.store.pump_all()

    def ready(self, queue: Queue) -> int:
        """How many messages wait in a queue, or are in a stream; 0 if there is none."""
        with self._lock:
            return self.store.count(queue.name)

    def knows(self, queue: Queue) -> bool:
        """Whether a queue of that name is there."""
        with self._lock:
            return self.store.has(queue.name)

    def holds(self, message_id: str, besides: str = "") -> bool:
        """Whether a message of that id is in any queue, or delivered and not settled.

        Args:
            message_id: Its id.
            besides: The name of a queue that is not looked at.
        """
        with self._lock:
            held = (lease.message for c in self._clients.values() for lease in c.leases.values())
            in_hand = any(message.message_id == message_id for message in held)
            return in_hand or self.store.holds(message_id, besides)

    # The lock, and what is posted after it.

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the lock, then post what came of it."""
        with self._lock:
            yield
        self._post_all()

    def _post_all(self) -> None:
        while True:
            with self._lock:
                if self._posting or not self._todo:
                    return  # whoever is posting sees what was added
                self._posting = True
                post = self._todo.popleft()
            try:
                post()
            finally:
                with self._lock:
                    self._posting = False

    def tell(self, client: Client, event: Event) -> None:
        """Queue an event for a client; it is posted when the lock is released."""
        self._todo.append(partial(client.tell, event))

    # Connections.

    def connect(self, client: Client) -> None:
        """Connect a client that wants to be."""
        if not client.wanted:
            client.wanted = True
            client.attempt += 1
            self._attempt(client, client.attempt)

    def disconnect(self, client: Client, reason: str) -> None:
        """End a client's connection, or its attempts to make one."""
        if client.wanted:
            client.wanted = False
            client.attempt += 1
            self._waiting.pop(client, None)
            self.tell(client, Disconnected(reason, retry_in_s=0.0))
            self._void(client)

    def _attempt(self, client: Client, attempt: int) -> None:
        if not client.wanted or client.connected or attempt != client.attempt:
            return
        if not self._is_up:
            self._lose(client, "the broker is down")
            return
        client.connected = True
        client.session += 1
        self._addresses += 1
        client.address = f"answers.{self._addresses}"
        self._clients[client.address] = client
        self.tell(client, Connected(client.session))

    def _lose(self, client: Client, reason: str) -> None:
        retry_s = client.retry_s if client.schedule else 0.0
        self.tell(client, Disconnected(reason, retry_s))
        self._void(client)
        client.attempt += 1
        if client.schedule:
            retry = partial(self._retry, client, client.attempt)
            self._todo.append(partial(client.schedule, retry_s, retry))
        elif self._is_up:
            self._attempt(client, client.attempt)
        else:
            self._waiting[client] = None

    def _retry(self, client: Client, attempt: int) -> None:
        with self.working():
            self._attempt(client, attempt)

    def _fail(self, client: Client, reason: str) -> None:
        client.wanted = False
        client.attempt += 1
        self.tell(client, Failed(reason))
        self._void(client)

    def _void(self, client: Client) -> None:
        """Put an end to all that belongs to the connection."""
        client.connected = False
        self._clients.pop(client.address, None)
        for token in client.held:
            self.tell(client, Doubtful(token))
        client.held.clear()
        self.store.void(client)

    def declare(self, client: Client, topology: Topology) -> None:
        """Add what is missing; `Failed` if something is there with other arguments."""
        problem = self.store.declare(topology)
        if problem:
            self._fail(client, f"{problem}: delete it, or declare it as it is")
        else:
            self.tell(client, Declared())

    def provide(self, client: Client, queue: Queue, binding: Binding) -> None:
        """Add a queue and its binding if they are missing; says what keeps it from that."""
        problem = self.store.declare(Topology((), (queue,), (binding,)))
        self.tell(client, Provided(queue.name, problem))

    # Publishing.

    def publish(self, client: Client, token: int, message: Outgoing) -> None:
        """Route a message and tell its publisher what became of it."""
        targets = self.store.route(message.exchange, message.routing_key)
        outcome = self._outcome(client, token, message, targets)
        if self._holding:
            client.held[token] = outcome
        else:
            self.tell(client, outcome)
        self.store.pump(targets or [])

    def _outcome(
        self, client: Client, token: int, message: Outgoing, targets: list[str] | None
    ) -> Event:
        if message.num_bytes > self._message_bytes_max:
            size, limit = message.num_bytes, self._message_bytes_max
            return Refused(token, f"{size} bytes, the broker takes up to {limit}: send parts")
        if targets is None:
            return Returned(token, f"there is no exchange {message.exchange}")
        if not targets:
            where = message.exchange or "the default exchange"
            return Returned(token, f"no queue is bound to {where} for {message.routing_key}")
        if self._refusing:
            return Refused(token, f"queue {targets[0]} is full")
        full = self.store.append(self._incoming(client, token, message), targets)
        return Refused(token, f"queue {full} is full") if full else Confirmed(token)

    def _incoming(self, client: Client, token: int, message: Outgoing) -> Message:
        return Message(
            routing_key=message.routing_key,
            body=message.whole(),
            message_id=message.message_id,
            user_id=client.user,
            answer_to=AnswerTo(client.address, str(token)) if message.answerable else None,
            expires_at=self._clock() + message.expires_s if message.expires_s else math.inf,
        )

    def answer(self, to: AnswerTo, body: bytes) -> None:
        """Hand an answer to who asked, if still connected."""
        asker = self._clients.get(to.address)
        if asker is not None and to.correlation_id.isdecimal():
            self.tell(asker, Answered(int(to.correlation_id), body))
