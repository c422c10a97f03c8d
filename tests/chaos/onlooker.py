"""Somebody who sees every update at the exchange, and sends copies of them again, much later too.

A queue of its own is bound to the updates exchange; what it saw goes to the coordinator's queue
through the default exchange, mandatory: a copy counts only if it was routed and confirmed.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from broker.topology import Names
from schemas.messages import Update, UpdatePart, decode

logging.getLogger("pika").setLevel(logging.CRITICAL)  # as `broker.rabbitmq` does: it says too much

_AGAIN_S = 0.2
_LOOK_S = 0.05
_NEWEST = 5
_COPIES_MAX = 3


@dataclass(frozen=True, slots=True)
class _Seen:
    update_id: str
    closes: bool
    properties: pika.BasicProperties
    body: bytes


class Onlooker:
    """Watches and repeats, in a thread of its own, whatever happens to the broker.

    Args:
        url: Of the broker, past all wires.
        federation: Whose updates.
        rng: Draws what is sent again, and when.
        gap_s: Mean time between two times that something is sent again.
    """

    def __init__(self, url: str, federation: str, rng: random.Random, gap_s: float) -> None:
        self._parameters = pika.URLParameters(url)
        self._parameters.heartbeat = 10
        self._parameters.blocked_connection_timeout = 10
        self._names = Names(federation)
        self._rng = rng
        self._gap_s = gap_s
        self._seen: list[_Seen] = []
        self._again: Counter[str] = Counter()
        self._parts_again = 0
        self._wanted = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onlooker", daemon=True)
        self._thread.start()

    def seen(self) -> set[str]:
        """Updates that were whole at the exchange."""
        with self._lock:
            return {each.update_id for each in self._seen if each.closes}

    def again(self) -> Counter[str]:
        """How often each update was sent again."""
        with self._lock:
            return Counter(self._again)

    @property
    def parts_again(self) -> int:
        """How many parts of updates were sent again."""
        return self._parts_again

    @property
    def wanted(self) -> int:
        """Copies that are still to be sent at once."""
        return self._wanted

    def repeat(self, copies: int) -> None:
        """Send some copies as soon as it can be done."""
        with self._lock:
            self._wanted += copies

    @property
    def lives(self) -> bool:
        """Whether it watches still."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.is_set():
            with suppress(AMQPError, OSError):
                connection = pika.BlockingConnection(self._parameters)
                try:
                    self._watch(connection)
                finally:
                    with suppress(AMQPError, OSError):
                        connection.close()
            self._over.wait(_AGAIN_S)

    def _watch(self, connection: pika.BlockingConnection) -> None:
        watching, sending = connection.channel(), connection.channel()
        sending.confirm_delivery()
        queue = watching.queue_declare("", exclusive=True).method.queue
        watching.queue_bind(queue, self._names.update_exchange, "#")
        watching.basic_consume(queue, self._take, auto_ack=True)
        while not self._over.is_set():
            connection.process_data_events(_LOOK_S)
            if self._seen and (self._wanted or self._rng.random() < _LOOK_S / self._gap_s):
                self._send_again(sending)

    def _take(
        self, _channel: object, _method: object, properties: pika.BasicProperties, body: bytes
    ) -> None:
        message, _ = decode(body)
        assert isinstance(message, Update | UpdatePart)
        with self._lock:
            closes = isinstance(message, Update)
            self._seen.append(_Seen(message.update_id, closes, properties, body))

    def _send_again(self, channel: BlockingChannel) -> None:
        among = self._seen[-_NEWEST:] if self._rng.random() < 0.5 else self._seen
        each = self._rng.choice(among)
        for _ in range(self._rng.randint(1, _COPIES_MAX)):
            channel.basic_publish(
                "", self._names.update_queue().name, each.body, each.properties, mandatory=True
            )
            with self._lock:
                if each.closes:
                    self._again[each.update_id] += 1
                    self._wanted = max(0, self._wanted - 1)
                else:
                    self._parts_again += 1
