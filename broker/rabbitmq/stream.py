"""A TCP connection to the broker, for pika, which sees no messages.

pika's own sends each frame by itself, a message in three or more, and moves bodies several times.
This one sends what was written together as one, and bodies lie beside what pika sees (`framing`).
What is delivered and confirmed goes past pika to who has a `Tap` for it, and messages are written
past it (`methods`). It is made for pika's public interface to a transport, and is as careful as
pika's: nothing of a connection is called back from within a call to it.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

from pika.adapters.utils.nbio_interface import (
    AbstractFileDescriptorServices,
    AbstractStreamProtocol,
    AbstractStreamTransport,
)
from pika.exceptions import ChannelWrongStateError, ConnectionWrongStateError

from broker.rabbitmq.framing import HEARTBEAT, Incoming
from broker.rabbitmq.methods import CONTENT_HEADER, METHOD, Came, ack_of, came, is_deliver
from schemas.buffer import Buffer

logger = logging.getLogger(__name__)

_READ_MOST = 1024 * 1024  # at a time: the other connections of the loop have their turn
_PIECES = 256  # that are sent at once; the system takes at most 1024
_ALIVE_EVERY_S = 1.0  # so often pika is told that something comes, or it would hang up
IS_POSSIBLE = hasattr(socket.socket, "sendmsg") and hasattr(socket.socket, "recvmsg_into")
"""Whether the system has what a stream is made of."""


class Tap(Protocol):
    """Who is told of a channel's messages before pika.

    Attributes:
        is_tapping: Takes deliveries; else they are pika's.
    """

    @property
    def is_tapping(self) -> bool:
        """See above."""
        ...

    def delivered(self, message: Came, body: Buffer) -> None:
        """A message was delivered."""
        ...

    def acked(self, number: int, multiple: bool) -> bool:
        """The broker acked a publish, or all up to it; False if that is for pika."""
        ...


class Stream(AbstractStreamTransport):  # type: ignore[misc]
    """A connection.

    Args:
        sock: Connected, and never waiting.
        protocol: Who is told what comes.
        services: The loop.
        clock: Seconds that only go forward.

    Attributes:
        body: That of the message whose frames the protocol is being told.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol: AbstractStreamProtocol,
        services: AbstractFileDescriptorServices,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.body: Buffer = b""
        self._sock = sock
        self._protocol = protocol
        self._services = services
        self._incoming = Incoming()
        self._outgoing: deque[Buffer] = deque()
        self._taps: dict[int, Tap] = {}  # by channel
        self._delivers: dict[int, bytes] = {}  # by channel, without what it delivers
        self._is_holding = False  # what is written waits for `release`
        self._is_watching = False  # for room to send
        self._is_over = False
        self._error: BaseException | None = None
        self._clock = clock
        self._told_alive = clock()
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

    def write(self, data: bytes) -> None:
        """See pika's `AbstractStreamTransport`."""
        self.write_all((data,))

    def write_all(self, pieces: Iterable[Buffer]) -> None:
        """Write what must stay together; it must not change until it was sent."""
        if self._is_over:
            return
        self._outgoing.extend(pieces)
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
        while count or (self._outgoing and not self._outgoing[0]):  # an empty one is sent at once
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
        except (ChannelWrongStateError, ConnectionWrongStateError) as error:
            # We hang up, and the broker answers what was asked before: the next step is refused.
            logger.debug("a step too late: %s", error)
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
            except OSError as error:
                self._end(error)
                return
            if not count:
                self._protocol.eof_received()
                self._end(None)
                return
            read += count
            is_more = count == sum(map(len, room))  # else that was all
            for frame, body in incoming.advance(count):
                self._tell(frame, body)
                if self._is_over:
                    break
        self.body = b""

    def tap(self, channel: int, tap: Tap | None) -> None:
        """Have somebody told of a channel's messages, or nobody but pika."""
        if tap is None:
            self._taps.pop(channel, None)
        else:
            self._taps[channel] = tap

    def _tell(self, frame: bytes, body: Buffer) -> None:
        """Tell whom it may concern of a frame, and of the body that is whole with it."""
        channel = frame[1] << 8 | frame[2]
        tap, deliver = self._taps.get(channel), self._delivers.pop(channel, None)
        if tap is not None and frame[0] == METHOD:
            if tap.is_tapping and is_deliver(frame):
                self._delivers[channel] = frame
                return
            ack = ack_of(frame)
            if ack is not None and tap.acked(*ack):
                return
        if deliver is not None:
            if tap is not None and tap.is_tapping and frame[0] == CONTENT_HEADER:
                tap.delivered(came(deliver, frame), body)
                return
            self._protocol.data_received(deliver)  # nobody wants it any more: pika rejects it
        self.body = body
        self._protocol.data_received(frame)

    def _say_alive(self) -> None:
        """Tell pika from time to time that something comes: it sees little of it."""
        now = self._clock()
        if now - self._told_alive >= _ALIVE_EVERY_S and not self._is_over:
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
        """Hang up without a word: the loop has ended."""
        self._is_over = True
        self._incoming.drop()
        self._sock.close()

    def _lose(self) -> None:
        self._incoming.drop()
        try:
            self._protocol.connection_lost(self._error)
        finally:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError as late:
                if late.errno != errno.ENOTCONN:
                    logger.debug("shutting down: %s", late)
            self._sock.close()
