"""The transport over RabbitMQ without a thread of its own, for a service that has one.

    service's thread:  drive() --> events in the mailbox --> handled --> calls --> drive() --> ...

An event need not wake another thread, and what is said while one is handled goes out together. The
price: while the service works, nothing is read and no heartbeat sent. So it is for services that
work in small steps, as a worker does, whose training is another process.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from pika.adapters.select_connection import IOLoop

from broker.rabbitmq.engine import Engine
from broker.rabbitmq.transport import RabbitTransport
from broker.transport import Event, Post

logger = logging.getLogger(__name__)

_LONG_S = 5.0  # without being driven


class DrivenTransport(RabbitTransport):
    """A `Driven` transport over RabbitMQ. Arguments as of `RabbitTransport`."""

    def __init__(self, url: str, post: Post, name: str, **options: Any) -> None:
        super().__init__(url, self._tell, name, **options)
        self._mailbox = post
        self._has_told = False
        self._is_telling = False
        self._driver = 0  # the thread that drives
        self._drove_at = time.monotonic()
        self._ended = False
        self._alarm_at = float("inf")
        self._loop = loop = IOLoop()
        self._engine = self._made_engine(loop)
        self._bell = _Bell()
        loop.add_handler(self._bell.fileno(), self._rung, loop.READ)
        loop.activate_poller()

    def start(self) -> None:
        """See `Transport.start`."""
        self._do(Engine.connect)

    def stop(self, timeout_s: float = 5.0) -> None:
        """See `Transport.stop`."""
        if self._stopped:
            return
        self._do(Engine.shut, timeout_s, self._end)
        self._stopped = True
        until = time.monotonic() + timeout_s
        self.drive(0.0)  # what is in doubt is told, however short the time
        while not self._ended and (left_s := until - time.monotonic()) > 0:
            self.drive(left_s)
        self._close()

    def drive(self, wait_s: float) -> None:
        """See `Driven.drive`."""
        loop = self._loop
        assert loop is not None, "it is made with one"
        self._driver = threading.get_ident()
        self._has_told = False
        try:
            if time.monotonic() - self._drove_at > _LONG_S:
                # Timers first, and a heartbeat that lies in the socket would be missed.
                loop.call_later(0.0, _do_nothing)
                loop.poll()
            if self._commands:
                self._run_commands()
            loop.process_timeouts()
            if not self._has_told and not self._ended:
                self._set_alarm(loop, wait_s)
                loop.poll()
        except Exception as error:  # without this the service would wait for ever
            logger.exception("error in the broker's loop, connecting again")
            assert self._engine is not None, "it is made with one"
            self._engine.recover(error)
        finally:
            self._drove_at = time.monotonic()

    def wake(self) -> None:
        """See `Driven.wake`."""
        # On the driving thread it may be a signal's handler, which may have come between any two
        # instructions of `drive`, or right before it. Who is being told an event needs no bell.
        if not self._is_telling or threading.get_ident() != self._driver:
            self._bell.ring()

    def _do(self, method: Callable[..., None], *arguments: object) -> bool:
        if self._stopped:
            return False
        self._commands.append(partial(method, self._engine, *arguments))
        if threading.get_ident() != self._driver:
            self._bell.ring()
        return True

    def _tell(self, event: Event) -> None:
        self._has_told = self._is_telling = True
        try:
            self._mailbox(event)
        finally:
            self._is_telling = False

    def _rung(self, _fd: int, _events: int) -> None:
        self._bell.hush()

    def _set_alarm(self, loop: IOLoop, wait_s: float) -> None:
        """Have `poll` end in time. One that was set and is too early does no harm."""
        now = time.monotonic()
        at = now + wait_s
        if at < self._alarm_at or self._alarm_at <= now:  # an error in another timer may take it
            self._alarm_at = at
            loop.call_later(wait_s, self._alarm)

    def _alarm(self) -> None:
        self._alarm_at = float("inf")

    def _end(self) -> None:
        self._ended = True

    def _close(self) -> None:
        loop, engine = self._loop, self._engine
        assert loop is not None, "it is made with one"
        assert engine is not None, "it is made with one"
        self._ended = True  # in time or not
        engine.discard()
        loop.remove_handler(self._bell.fileno())
        loop.close()
        self._bell.close()


def _do_nothing() -> None:
    pass


class _Bell:
    """Wakes a loop from any thread, and from a signal's handler."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)

    def fileno(self) -> int:
        """What can be read once it was rung."""
        return self._ours.fileno()

    def ring(self) -> None:
        """Ring."""
        with contextlib.suppress(OSError):  # full: it was rung; closed: nobody is there to hear it
            self._theirs.send(b"!")

    def hush(self) -> None:
        """Take note."""
        with contextlib.suppress(OSError):
            self._ours.recv(4096)

    def close(self) -> None:
        """Give both ends back."""
        self._ours.close()
        self._theirs.close()
