"""Has pika use a `Stream` where it would make a connection of its own.

With TLS it makes its own, and all goes through pika.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from functools import partial

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import (
    AbstractIOReference,
    AbstractStreamProtocol,
    AbstractStreamTransport,
)
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from broker.rabbitmq.stream import IS_POSSIBLE, Stream

Linked = Callable[
    [tuple[AbstractStreamTransport, AbstractStreamProtocol] | BaseException],
    None,
]


class Services(SelectorIOServicesAdapter):  # type: ignore[misc]
    """What pika wants of a loop, for one connection.

    Args:
        loop: The loop.
        clock: Seconds that only go forward.

    Attributes:
        stream: The connection, once it is made; None with TLS.
    """

    def __init__(self, loop: IOLoop, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(loop)
        self._clock = clock
        self.stream: Stream | None = None
        self._linking: _Linking | None = None

    def discard(self) -> None:
        """Hang up without a word: the loop has ended."""
        if self._linking is not None:
            self._linking.cancel()
        if self.stream is not None:
            self.stream.discard()

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket.socket,
        on_done: Linked,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> AbstractIOReference:
        """See pika's `AbstractIOServices`."""
        if ssl_context is not None or not IS_POSSIBLE:
            return super().create_streaming_connection(
                protocol_factory, sock, on_done, ssl_context, server_hostname
            )
        self._linking = linking = _Linking(
            sock, partial(self._link, protocol_factory, sock, on_done)
        )
        self.add_callback_threadsafe(linking.run)
        return linking

    def _link(
        self,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket.socket,
        on_done: Linked,
    ) -> None:
        protocol = protocol_factory()
        self.stream = Stream(sock, protocol, self, self._clock)
        protocol.connection_made(self.stream)
        on_done((self.stream, protocol))


class _Linking(AbstractIOReference):  # type: ignore[misc]
    """That a connection is about to be handed over."""

    def __init__(self, sock: socket.socket, link: Callable[[], None]) -> None:
        self._sock = sock
        self._link: Callable[[], None] | None = link

    def run(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link()

    def cancel(self) -> bool:
        """See pika's `AbstractIOReference`."""
        is_waiting = self._link is not None
        if is_waiting:
            self._link = None
            self._sock.close()
        return is_waiting
