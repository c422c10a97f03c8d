"""AMQP's frames, as far as bodies are concerned: those do not go through pika.

    offset  size
    0       1     kind: 1 method, 2 content header, 3 body, 8 heartbeat
    1       2     channel
    3       4     size of the payload
    7       ..    payload; of a content header: class, weight, and at 4 the body's size in 8 bytes
    ..      1     206

pika copies a body four or five times on its way in, and three times on its way out. So it is given
the same frames with an empty body, and the real one goes beside it: what comes is received at the
place where it is to be, what is sent is sent from where it lies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from broker.rabbitmq.buffers import Buffers
from schemas.buffer import Buffer

_HEADER, _BODY = 2, 3
HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"
END = b"\xce"
FRAME_BYTES = 128 * 1024  # the largest frame that pika agrees to
_INBOX_BYTES = 2 * FRAME_BYTES
_HEAD = struct.Struct(">BHL")
_SIZE = struct.Struct(">Q")
_SIZE_AT = _HEAD.size + 4
_HEADER_LEAST_BYTES = _SIZE_AT + _SIZE.size + len(END)
_GREETING = b"AMQP"  # what a broker answers that speaks another protocol, in 8 bytes
_LARGE_BYTES = 64 * 1024  # a smaller body is copied once more, and then is `bytes`
_MESSAGE_BYTES = 512 * 1024 * 1024  # RabbitMQ has none that is larger


class FramingError(Exception):
    """What came is not AMQP."""


@dataclass(slots=True)
class _Coming:
    """A body of which not all is here.

    Attributes:
        header: Its content header, saying that it is empty.
        body: Where it goes.
        size: Its own.
        filled: Bytes that are here.
    """

    header: bytes
    body: memoryview
    size: int
    filled: int = 0

    @property
    def is_whole(self) -> bool:
        return self.filled == self.size

    def finish(self) -> Buffer:
        return bytes(self.body) if self.size < _LARGE_BYTES else self.body.toreadonly()


class Incoming:
    """What comes over a connection, to be received into `room()` and then taken by `advance`."""

    def __init__(self) -> None:
        self._buffers = Buffers()
        self._inbox = memoryview(bytearray(_INBOX_BYTES))
        self._start = self._end = 0  # of what is in the inbox and was not looked at
        self._coming: dict[int, _Coming] = {}  # by channel
        self._current: _Coming | None = None  # whose frame has begun
        self._left = 0  # bytes of that frame

    def drop(self) -> None:
        """Nothing more comes: give its memory back now, and not when Python finds it unused."""
        self._buffers.drop()
        self._coming.clear()
        self._current = None
        self._inbox = memoryview(bytearray())

    def room(self) -> Sequence[memoryview]:
        """Where to receive, in this order."""
        current = self._current
        if current is None or not self._left:
            self._make_room()
            return (self._inbox[self._end :],)
        place = current.body[current.filled : current.filled + self._left]
        # Behind it is the end of this frame and, if the body goes on, the head of the next. No more
        # is received along with those, or it would have to be copied from the inbox.
        goes_on = current.filled + self._left < current.size
        return place, self._inbox[: 1 + _HEAD.size] if goes_on else self._inbox

    def advance(self, count: int) -> Iterator[tuple[bytes, Buffer]]:
        """Take what was received: frames for pika, each with its body, which is mostly empty.

        Raises:
            FramingError: It is not AMQP.
        """
        if self._current is not None and self._left:
            direct = min(count, self._left)
            self._current.filled += direct
            self._left -= direct
            count -= direct
        self._end += count
        while True:
            if self._current is not None:
                if not self._is_filled(self._current):
                    return
                coming, self._current = self._current, None
                if coming.is_whole:
                    yield coming.header, coming.finish()
                continue
            frame = self._next_frame()
            if frame is not None:
                yield frame, b""
            elif self._current is None:
                return

    def _make_room(self) -> None:
        left = self._end - self._start
        if self._start and (not left or self._end > FRAME_BYTES):
            self._inbox[:left] = bytes(self._inbox[self._start : self._end])
            self._start, self._end = 0, left

    def _is_filled(self, current: _Coming) -> bool:
        """Take what there is of the frame of a body; whether that was all of it."""
        here = min(self._left, self._end - self._start)
        if here:
            place = current.body[current.filled : current.filled + here]
            place[:] = self._inbox[self._start : self._start + here]
            current.filled += here
            self._start += here
            self._left -= here
        if self._start == self._end:
            self._start = self._end = 0
            return False
        _check_end(self._inbox[self._start])
        self._start += 1
        return True

    def _next_frame(self) -> bytes | None:
        """The next frame that pika is to have; None if a body begins, or there is no more."""
        while self._end - self._start >= _HEAD.size:
            kind, channel, size = _HEAD.unpack_from(self._inbox, self._start)
            if kind == _BODY:
                self._start += _HEAD.size
                self._begin_frame(channel, size)
                return None
            whole = _HEAD.size + size + 1
            is_greeting = kind == _GREETING[0] and self._inbox[self._start :][:4] == _GREETING
            if is_greeting:
                whole = 8
            if whole > FRAME_BYTES:
                raise FramingError(f"a frame of {whole} bytes: {FRAME_BYTES} were agreed on")
            if self._end - self._start < whole:
                return None
            frame = bytes(self._inbox[self._start : self._start + whole])
            self._start += whole
            if not is_greeting:
                _check_end(frame[-1])  # pika would, but it does not see all of them
            if kind != _HEADER or not self._begin_body(channel, frame):
                return frame
        return None

    def _begin_body(self, channel: int, header: bytes) -> bool:
        """Make room for a body; False if it is empty."""
        if len(header) < _HEADER_LEAST_BYTES:
            raise FramingError(f"a content header of {len(header)} bytes: it has no body's size")
        if channel in self._coming:
            raise FramingError(f"a second body on channel {channel} before the first was whole")
        size = body_size(header)
        if not size:
            return False
        if size > _MESSAGE_BYTES:
            raise FramingError(f"a message of {size} bytes: at most {_MESSAGE_BYTES} are allowed")
        place = memoryview(self._buffers.take(size) if size >= _LARGE_BYTES else bytearray(size))
        self._coming[channel] = _Coming(with_body_size(header, 0), place[:size], size)
        return True

    def _begin_frame(self, channel: int, size: int) -> None:
        coming = self._coming.get(channel)
        if coming is None or size > coming.size - coming.filled:
            raise FramingError(
                f"a body of {size} bytes on channel {channel} that was not announced"
            )
        self._current, self._left = coming, size
        if size == coming.size - coming.filled:
            del self._coming[channel]


def _check_end(byte: int) -> None:
    if byte != END[0]:
        raise FramingError(f"expected 206 behind a frame, came {byte}")


def body_size(header: bytes) -> int:
    """How large the body is, as a content header says."""
    size: int
    (size,) = _SIZE.unpack_from(header, _SIZE_AT)
    return size


def with_body_size(header: bytes, size: int) -> bytes:
    """A content header that says another size."""
    return header[:_SIZE_AT] + _SIZE.pack(size) + header[_SIZE_AT + _SIZE.size :]


def body_frames(channel: int, body: Sequence[Buffer], frame_bytes: int) -> Iterator[Buffer]:
    """A body in frames, without a copy of it.

    Args:
        channel: Its channel.
        body: Its pieces.
        frame_bytes: The largest frame, as was agreed on with the broker.
    """
    most = frame_bytes - _HEAD.size - len(END)
    left = sum(map(len, body))
    room = 0  # in the frame that was begun
    for each in body:
        piece, at = memoryview(each), 0
        while at < len(piece):
            if not room:
                room = min(most, left)
                yield _HEAD.pack(_BODY, channel, room)
            taken = piece[at : at + room]
            yield taken
            at += len(taken)
            room -= len(taken)
            left -= len(taken)
            if not room:
                yield END
