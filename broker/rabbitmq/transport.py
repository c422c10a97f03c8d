"""The transport over RabbitMQ: two pika connections in one loop in one thread.

Calls are handed to the loop's thread, which sleeps until there is one or the broker speaks: there
is no polling. pika is used in that thread only.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from pika.adapters.select_connection import IOLoop

from broker.arguments import check_consume, check_count, check_purge
from broker.rabbitmq.consumers import Order
from broker.rabbitmq.engine import Engine
from broker.rabbitmq.parameters import Address
from broker.topology import Binding, Queue, Topology
from broker.transport import (
    CONNECT_S,
    LINGER_S,
    REST_S,
    RETRY_MAX_S,
    AnswerTo,
    Doubtful,
    Outgoing,
    Post,
)

logger = logging.getLogger(__name__)

Command = Callable[[], None]


class RabbitTransport:
    """A `Transport` over RabbitMQ 3.10 or later.

    Args:
        url: amqp(s)://user:password@host:port/vhost.
        post: Where events go; called in the transport's own thread, so it must not wait.
        name: What the client is called in the broker's list of connections.
        heartbeat_s: Seconds; a dead link is noticed after about two times as long.
        retry_max_s: Seconds, 0.5 or more: the longest wait between two attempts to connect.
        connect_timeout_s: Seconds that one attempt to connect may take.
        linger_s: Seconds for which a connection that reads a stream is kept after use.
        rest_s: See `Transport.cancel`.

    Raises:
        BrokerUrlError: The URL cannot be used.
    """

    def __init__(
        self,
        url: str,
        post: Post,
        name: str,
        *,
        heartbeat_s: int = 60,
        retry_max_s: float = RETRY_MAX_S,
        connect_timeout_s: float = CONNECT_S,
        linger_s: float = LINGER_S,
        rest_s: float = REST_S,
    ) -> None:
        self._address = Address(url, name, heartbeat_s, connect_timeout_s)
        self._post = post
        self._retry_max_s = retry_max_s
        self._linger_s = linger_s
        self._rest_s = rest_s
        self._name = name
        self._ids = itertools.count(1)
        self._commands: deque[Command] = deque()
        self._is_woken = False
        self._starting = threading.Lock()
        self._stopped = False
        self._loop: IOLoop | None = None
        self._engine: Engine | None = None
        self._thread: threading.Thread | None = None
        _quiet_pika()

    def start(self) -> None:
        """See `Transport.start`."""
        with self._starting:
            if self._stopped:
                return
            if self._thread is None:
                self._loop = IOLoop()
                self._engine = self._made_engine(self._loop)
                self._thread = threading.Thread(
                    target=self._run,
                    args=(self._loop, self._engine),
                    name=f"amqp {self._name}",
                    daemon=True,
                )
                self._thread.start()
        self._do(Engine.connect)

    def disconnect(self) -> None:
        """See `Transport.disconnect`."""
        self._do(Engine.disconnect, "disconnected")

    def stop(self, timeout_s: float = 5.0) -> None:
        """See `Transport.stop`."""
        with self._starting:
            if not self._stopped and self._loop is not None:
                self._do(Engine.shut, timeout_s, self._loop.stop)
            self._stopped = True
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s + 1.0)

    def declare(self, topology: Topology) -> None:
        """See `Transport.declare`."""
        self._do(Engine.declare, topology)

    def provide(self, queue: Queue, binding: Binding) -> None:
        """See `Transport.provide`."""
        self._do(Engine.provide, queue, binding)

    def publish(self, message: Outgoing) -> int:
        """See `Transport.publish`."""
        token = next(self._ids)
        if not self._do(Engine.publish, token, message) and not self._stopped:
            self._post(Doubtful(token))  # never started: there is no thread to say it
        return token

    def answer(self, to: AnswerTo, body: bytes) -> None:
        """See `Transport.answer`."""
        self._do(Engine.answer, to, body)

    def consume(self, queue: Queue, prefetch: int, offset: int | None = None) -> int:
        """See `Transport.consume`."""
        check_consume(queue, prefetch, offset)
        consumer = next(self._ids)
        self._do(Engine.consume, Order(consumer, queue, prefetch, offset))
        return consumer

    def cancel(self, consumer: int) -> None:
        """See `Transport.cancel`."""
        self._do(Engine.cancel, consumer)

    def ack(self, tag: int) -> None:
        """See `Transport.ack`."""
        self._do(Engine.ack, tag)

    def reject(self, tag: int, requeue: bool) -> None:
        """See `Transport.reject`."""
        self._do(Engine.reject, tag, requeue)

    def count(self, queue: Queue) -> None:
        """See `Transport.count`."""
        check_count(queue)
        self._do(Engine.count, queue)

    def purge(self, queue: Queue) -> None:
        """See `Transport.purge`."""
        check_purge(queue)
        self._do(Engine.purge, queue)

    def delete(self, queue: Queue) -> None:
        """See `Transport.delete`."""
        self._do(Engine.delete, queue)

    def _do(self, method: Callable[..., None], *arguments: object) -> bool:
        """Have the engine do something in its thread; False if it does not run."""
        if self._engine is None or self._loop is None or self._stopped:
            return False
        self._commands.append(partial(method, self._engine, *arguments))
        if not self._is_woken:  # once for many commands: each wake-up is a write to a socket
            self._is_woken = True
            self._loop.add_callback_threadsafe(self._run_commands)
        return True

    def _made_engine(self, loop: IOLoop) -> Engine:
        return Engine(
            loop, self._address, self._post, self._retry_max_s, self._linger_s, self._rest_s
        )

    def _run(self, loop: IOLoop, engine: Engine) -> None:
        """The thread: runs the loop until the engine is shut, whatever goes wrong in it."""
        try:
            while not _runs_to_its_end(loop, engine):
                loop.add_callback_threadsafe(self._run_commands)  # those behind the one that failed
        finally:
            engine.discard()
            loop.close()

    def _run_commands(self) -> None:
        self._is_woken = False  # first, so that what is added from here on wakes the loop again
        engine = self._engine
        assert engine is not None, "there are commands once it is there"
        engine.hold()
        try:
            for _ in range(len(self._commands)):
                self._commands.popleft()()
        finally:
            engine.flush()


def _runs_to_its_end(loop: IOLoop, engine: Engine) -> bool:
    try:
        loop.start()
    except Exception as error:  # without this the service would wait for ever
        logger.exception("error in the broker's thread, connecting again")
        engine.recover(error)
        return False
    return True


def _quiet_pika() -> None:
    """Keep pika from writing a traceback for each lost connection: events say it, in one line."""
    pika_logger = logging.getLogger("pika")
    if pika_logger.level == logging.NOTSET:
        pika_logger.setLevel(logging.CRITICAL)
