"""One connection to the broker, from dialling to its end; all in the loop's thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pika import spec
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.adapters.utils import io_services_utils
from pika.channel import Channel
from pika.exceptions import AMQPConnectionError

from broker.rabbitmq.framing import body_frames
from broker.rabbitmq.methods import Properties, TolerantProperties, header_frame, publish_frame
from broker.rabbitmq.parameters import Address
from broker.rabbitmq.services import Services
from broker.rabbitmq.stream import Tap
from schemas.buffer import Buffer

_CLOSE_S = 3.0  # for a close that the broker does not answer
_RECEIVE_BYTES, _CONSUME_BYTES = 256 * 1024, 1024 * 1024


def read_in_large_pieces() -> None:
    """Make pika read up to 256 KiB at a time: its 4 KiB cost a third of the time of a large body.

    For connections with TLS, which are pika's own (see `services`). The attributes are private to
    pika; where they are not, nothing is gained and nothing lost.
    """
    base: Any = getattr(io_services_utils, "_AsyncTransportBase", None)
    if hasattr(base, "_MAX_RECV_BYTES") and hasattr(base, "_MAX_CONSUME_BYTES"):
        base._MAX_RECV_BYTES = _RECEIVE_BYTES
        base._MAX_CONSUME_BYTES = _CONSUME_BYTES


def read_strange_headers() -> None:
    """Make pika take headers that it cannot read for none, and not end the connection.

    For connections with TLS, as above. pika documents no such place; where there is none, who may
    publish can have us connect again and again.
    """
    classes: Any = getattr(spec, "props", None)
    if isinstance(classes, dict):
        classes[spec.BasicProperties.INDEX] = TolerantProperties


class Line:
    """A connection. Made by a `Dialer`.

    After `close` neither `on_open` nor `on_lost` is called.
    """

    def __init__(
        self,
        dialer: Dialer,
        purpose: str,
        on_open: Callable[[], None],
        on_lost: Callable[[BaseException], None],
    ) -> None:
        self._dialer = dialer
        self._on_open = on_open
        self._on_lost = on_lost
        self._closed = False
        self._gone = False
        self._services = Services(dialer.loop)
        self._connection = SelectConnection(
            dialer.address.parameters(purpose),
            on_open_callback=self._opened,
            on_open_error_callback=self._ended,
            on_close_callback=self._ended,
            custom_ioloop=self._services,
        )

    @property
    def is_open(self) -> bool:
        """Whether channels can be opened on it."""
        return self._connection.is_open and not self._closed

    def body(self, body: bytes) -> Buffer:
        """The body of the message that pika has just delivered.

        Args:
            body: As pika gives it.
        """
        stream = self._services.stream
        return body if stream is None else stream.body

    def publish(
        self,
        channel: Channel,
        exchange: str,
        routing_key: str,
        body: Sequence[Buffer],
        properties: Properties,
        *,
        mandatory: bool = False,
    ) -> None:
        """Publish on a channel of this connection.

        Args:
            channel: The channel.
            exchange: The exchange's name.
            routing_key: The routing key.
            body: Pieces of the body, which do not change any more.
            properties: The message's.
            mandatory: Whether it comes back if no queue takes it.

        Raises:
            ShortStringTooLong: A name is too long; nothing was sent.
            UnicodeEncodeError: It cannot be said in UTF-8; likewise.
        """
        stream = self._services.stream
        if stream is None:
            whole, beside = b"".join(body), properties.as_of_pika()
            channel.basic_publish(exchange, routing_key, whole, beside, mandatory)
            return
        number, frame_bytes = channel.channel_number, self._connection.params.frame_max
        frames = (
            publish_frame(number, exchange, routing_key, mandatory),
            header_frame(number, sum(map(len, body)), properties),
        )
        stream.write_all((*frames, *body_frames(number, body, frame_bytes)))

    def tap(self, channel: Channel, tap: Tap | None) -> None:
        """Have somebody told of a channel's messages before pika, or nobody any more.

        Nothing happens with TLS: there all goes through pika, and so it may at any time.
        """
        if self._services.stream is not None:
            self._services.stream.tap(channel.channel_number, tap)

    def hold(self) -> None:
        """What is said from here on goes together, with `release`."""
        if self._services.stream is not None:
            self._services.stream.hold()

    def release(self) -> None:
        """See `hold`."""
        if self._services.stream is not None:
            self._services.stream.release()

    def open_channel(self, on_open: Callable[[Channel], None]) -> None:
        """Open a channel, unless the connection is about to end."""
        if self.is_open:
            self._connection.channel(on_open_callback=on_open)

    def close(self) -> None:
        """Send what there is to send and hang up; soon by force if the broker does not answer."""
        if self._closed or self._gone:
            return
        self._closed = True
        if self._connection.is_open:
            self._connection.close()
            self._dialer.loop.call_later(_CLOSE_S, self._abort)
        else:
            # pika's own close fails an assertion of its own while a connection is being made.
            self._abort()

    def discard(self) -> None:
        """Let go of it: the loop has ended."""
        self._services.discard()

    def _abort(self) -> None:
        # Private to pika, which has no public way to end a connection without a farewell; where
        # it is not, a connection being made ends by its own time limit.
        terminate = getattr(self._connection, "_terminate_stream", None)
        if terminate is not None and not self._gone and not self._connection.is_closed:
            terminate(AMQPConnectionError("given up"))

    def _opened(self, _connection: SelectConnection) -> None:
        if self._closed:
            self._connection.close()
        else:
            self._on_open()

    def _ended(self, _connection: SelectConnection, error: BaseException) -> None:
        self._gone = True
        self._dialer.forget(self)
        if not self._closed:
            self._closed = True
            self._on_lost(error)


class Dialer:
    """Makes connections to one address, and knows which are not at their end."""

    def __init__(self, loop: IOLoop, address: Address) -> None:
        self.loop = loop
        self.address = address
        self._lines: set[Line] = set()
        self._on_silence: Callable[[], None] | None = None
        read_in_large_pieces()
        read_strange_headers()

    def dial(
        self,
        purpose: str,
        on_open: Callable[[], None],
        on_lost: Callable[[BaseException], None],
    ) -> Line:
        """Make a connection: `on_open` is called once, or `on_lost`, or first one then the other.

        Args:
            purpose: Shown in the broker's list of connections.
            on_open: Called when it is open.
            on_lost: Called when it could not be made, or ended without our doing.
        """
        line = Line(self, purpose, on_open, on_lost)
        self._lines.add(line)
        return line

    def hold(self) -> None:
        """What is said from here on goes together, with `release`."""
        for line in self._lines:
            line.hold()

    def release(self) -> None:
        """See `hold`."""
        for line in self._lines:
            line.release()

    def close_all(self, on_silence: Callable[[], None]) -> None:
        """Close every connection and say when the last has ended."""
        self._on_silence = on_silence
        for line in list(self._lines):
            line.close()
        self._tell_silence()

    def discard_all(self) -> None:
        """Let go of every connection: the loop has ended, in time or not."""
        for line in self._lines:
            line.discard()

    def forget(self, line: Line) -> None:
        """Take note that a connection has ended."""
        self._lines.discard(line)
        self._tell_silence()

    def _tell_silence(self) -> None:
        if self._on_silence is not None and not self._lines:
            self._on_silence()
