"""A TCP connection to the broker, for pika, which sees no bodies of messages.

pika's own sends each frame by itself, a message in three or more, and moves bodies several times.
This one sends what was written together as one, and bodies lie beside what pika sees (`framing`).
It is made for pika's public interface to a transport, and is as careful as pika's: nothing of a
connection is called back from within a call to it.

With TLS pika's own is used, and bodies go through pika.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import (
    AbstractIOReference,
    AbstractStreamProtocol,
    AbstractStreamTransport,
)
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from broker.rabbitmq.framing import HEADER, HEARTBEAT, Incoming, body_frames, with_body_size
from schemas.buffer import Buffer

logger = logging.getLogger(__name__)

_READ_MOST = 1024 * 1024  # at a time: the other connections of the loop have their turn
_PIECES = 256  # that are sent at once; the system takes at most 1024
_ALIVE_EVERY_S = 1.0  # pika is told that a body is coming, or it would think that nothing does
_CAN = hasattr(socket.socket, "sendmsg") and hasattr(socket.socket, "recvmsg_into")

Linked = Callable[
    [tuple[AbstractStreamTransport, AbstractStreamProtocol] | BaseException],
    None,
]


class Services(SelectorIOServicesAdapter):  # type: ignore[misc]
    """What pika wants of a loop, for one connection.

    Attributes:
        stream: The connection, once it is made; None with TLS.
    """

    def __init__(self, loop: IOLoop) -> None:
        super().__init__(loop)
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
        if ssl_context is not None or not _CAN:
            return super().create_streaming_connection(
                protocol_factory, sock, on_done, ssl_context, server_hostname
            )
        self._linking = linking = _Linking(sock, partial(self._link, protocol_factory, sock, on_done))
        self.add_callback_threadsafe(linking.run)
        return linking

    def _link(
        self,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket.socket,
        on_done: Linked,
    ) -> None:
        protocol = protocol_factory()
        self.stream = Stream(sock, protocol, self)
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


class Stream(AbstractStreamTransport):  # type: ignore[misc]
    """A connection.

    Args:
        sock: Connected, and never waiting.
        protocol: Who is told what comes.
        services: The loop.

    Attributes:
        body: That of the message whose frames the protocol is being told.
    """

    def __init__(
        self, sock: socket.socket, protocol: AbstractStreamProtocol, services: Services
    ) -> None:
        self.body: Buffer = b""
        self._sock = sock
        self._protocol = protocol
        self._services = services
        self._incoming = Incoming()
        self._outgoing: deque[Buffer] = deque()
        self._with_body: tuple[Sequence[Buffer], int] | None = None
        self._is_holding = False  # what is written waits for `release`
        self._is_watching = False  # for room to send
        self._is_over = False
        self._error: BaseException | None = None
        self._told_alive = 0.0
        services.set_reader(sock.fileno(), self._readable)

    # Writing.

    def hold(self) -> None:
        """What is written from here on waits for `release`, to be sent together."""
        self._is_holding = True

    def release(self) -> None:
        """Send what was written."""
        self._is_holding = False
        if self._outgoing and not self._is_watching and not self._is_over:
            self._send()

    def write_with(
        self, body: Sequence[Buffer], frame_bytes: int, write: Callable[[], None]
    ) -> None:
        """Have a body go behind the content header that `write` writes.

        Args:
            body: Its pieces, which must not change until they were sent.
            frame_bytes: The largest frame.
            write: Has pika publish a message without a body.
        """
        self._with_body = body, frame_bytes
        try:
            write()
        finally:
            self._with_body = None

    def write(self, data: bytes) -> None:
        """See pika's `AbstractStreamTransport`."""
        if self._is_over:
            return
        if self._with_body is not None and data[0] == HEADER:
            body, frame_bytes = self._with_body
            data = with_body_size(data, sum(map(len, body)))
            self._outgoing.append(data)
            self._outgoing.extend(body_frames(int.from_bytes(data[1:3], "big"), body, frame_bytes))
        else:
            self._outgoing.append(data)
        if not self._is_holding and not self._is_watching:
            self._watch(True)

    def get_write_buffer_size(self) -> int:
        """See pika's `AbstractStreamTransport`."""
        return sum(map(len, self._outgoing))

    def _send(self) -> None:
        try:
            while self._outgoing:
                pieces = list(islice(self._outgoing, _PIECES))
                self._drop_sent(self._sock.sendmsg(pieces))
        except BlockingIOError:
            pass
        except OSError as error:  # EFAULT, too: what is sent from a file cannot be read
            self._end(error)
            return
        self._watch(bool(self._outgoing))

    def _drop_sent(self, count: int) -> None:
        while count:
            first = self._outgoing.popleft()
            if count < len(first):
                self._outgoing.appendleft(memoryview(first)[count:])
                return
            count -= len(first)

    def _watch(self, wanted: bool) -> None:
        """Be called when there is room to send, or not."""
        if wanted != self._is_watching:
            self._is_watching = wanted
            if wanted:
                self._services.set_writer(self._sock.fileno(), self._send)
            else:
                self._services.remove_writer(self._sock.fileno())

    # Reading.

    def _readable(self) -> None:
        self._is_holding = True
        try:
            self._receive()
            self._say_alive()
        except OSError as error:
            self._end(error)
        except Exception as error:
            logger.exception("error in what came from the broker, connecting again")
            self._end(error)
        self.release()

    def _receive(self) -> None:
        incoming, read = self._incoming, 0
        is_more = True
        while is_more and read < _READ_MOST and not self._is_over:
            room = incoming.room()
            try:
                count, *_ = self._sock.recvmsg_into(room)
            except BlockingIOError:
                break
            if not count:
                self._protocol.eof_received()
                self._end(None)
                return
            read += count
            is_more = count == sum(map(len, room))  # else that was all
            for frame, body in incoming.advance(count):
                self.body = body
                self._protocol.data_received(frame)
                if self._is_over:
                    break
        self.body = b""

    def _say_alive(self) -> None:
        """Tell pika from time to time that something comes, while it sees nothing of it."""
        self.body = b""
        now = time.monotonic()
        if self._incoming.is_within_a_body and now - self._told_alive >= _ALIVE_EVERY_S:
            self._told_alive = now
            self._protocol.data_received(HEARTBEAT)

    # The end.

    def abort(self) -> None:
        """See pika's `AbstractStreamTransport`."""
        self._end(None)

    def get_protocol(self) -> AbstractStreamProtocol:
        """See pika's `AbstractStreamTransport`."""
        return self._protocol

    def _end(self, error: BaseException | None) -> None:
        if error is None or not self._is_over:  # pika's own wish comes before a failure
            self._error = error
        if self._is_over:
            return
        self._is_over = True
        self._outgoing.clear()
        self._services.remove_reader(self._sock.fileno())
        self._watch(False)
        self._services.add_callback_threadsafe(self._lose)

    def discard(self) -> None:
        """See `Services.discard`."""
        self._is_over = True
        self._sock.close()

    def _lose(self) -> None:
        try:
            self._protocol.connection_lost(self._error)
        finally:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError as late:
                if late.errno != errno.ENOTCONN:
                    logger.debug("shutting down: %s", late)
            self._sock.close()
