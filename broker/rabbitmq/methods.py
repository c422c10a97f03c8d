"""The few AMQP methods that every message needs, to and from bytes.

pika's own go through objects, a table of callbacks and a name for each; that took most of the time
of a small message. All other methods, and all connections with TLS, are pika's.

    Basic.Publish   60 40   ticket, exchange, routing key, bits
    Basic.Deliver   60 60   consumer, delivery tag, redelivered, exchange, routing key
    Basic.Ack       60 80   delivery tag, multiple
    content header  60      weight, size of the body, flags, properties in the order of the flags
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pika import BasicProperties
from pika.data import decode_table
from pika.exceptions import ShortStringTooLong
from pika.spec import Basic

METHOD, CONTENT_HEADER = 1, 2
PUBLISH, DELIVER, ACK = b"\0\x3c\0\x28", b"\0\x3c\0\x3c", b"\0\x3c\0\x50"
_END = b"\xce"
_FRAME = struct.Struct(">BHL")
_CLASS_60 = struct.Struct(">HHQ")  # class, weight, size of the body
_FLAGS = struct.Struct(">H")
_TAG = struct.Struct(">QB")
_TABLE = struct.Struct(">L")  # its size
_NO_TABLE = _TABLE.pack(0)
_AT = _FRAME.size  # where a frame's payload begins
_SHORT_MOST = 255
_PERSISTENT = 2
_TIMESTAMP_BYTES = 8
# Of the properties: which flag says that it is there.
_CONTENT_TYPE, _CONTENT_ENCODING = 1 << 15, 1 << 14
_CONTENT = _CONTENT_TYPE | _CONTENT_ENCODING
_HEADERS, _DELIVERY_MODE, _PRIORITY = 1 << 13, 1 << 12, 1 << 11
_CORRELATION_ID, _REPLY_TO, _EXPIRATION, _MESSAGE_ID = 1 << 10, 1 << 9, 1 << 8, 1 << 7
_TIMESTAMP, _TYPE, _USER_ID = 1 << 6, 1 << 5, 1 << 4


class Came(NamedTuple):
    """What is said of a message that was delivered.

    Attributes:
        number: The broker's, of the delivery.
        redelivered: Whether it may have been delivered before.
        routing_key: It was published with.
        headers: Added by its publisher, and by the broker.
        correlation_id: "" for none; so are those that follow.
        reply_to: The address for answers.
        message_id: The publisher's.
        user_id: Of the publisher, as the broker has checked.
    """

    number: int
    redelivered: bool
    routing_key: str
    headers: Mapping[str, Any]
    correlation_id: str
    reply_to: str
    message_id: str
    user_id: str


class Properties(NamedTuple):
    """What is said of a message that is published; "" for what is not.

    Attributes:
        correlation_id: Says which publish came back, or which question is answered.
        user_id: The publisher's, for the broker to check.
        persistent: Whether it is to survive the broker.
        reply_to: Where answers go.
        expiration: Milliseconds.
        message_id: The id of the work that it is about.
    """

    correlation_id: str
    user_id: str
    persistent: bool = False
    reply_to: str = ""
    expiration: str = ""
    message_id: str = ""

    def as_of_pika(self) -> BasicProperties:
        """The same for pika."""
        return BasicProperties(
            correlation_id=self.correlation_id or None,
            user_id=self.user_id or None,
            delivery_mode=_PERSISTENT if self.persistent else None,
            reply_to=self.reply_to or None,
            expiration=self.expiration or None,
            message_id=self.message_id or None,
        )


@lru_cache(maxsize=1024)  # a client publishes to the same few places
def publish_frame(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    """Basic.Publish.

    Raises:
        ShortStringTooLong: A name has more than 255 bytes.
    """
    payload = b"".join(
        (PUBLISH, b"\0\0", _short(exchange), _short(routing_key), b"\1" if mandatory else b"\0")
    )
    return _FRAME.pack(METHOD, channel, len(payload)) + payload + _END


def header_frame(channel: int, size: int, properties: Properties) -> bytes:
    """The content header of a body of so many bytes.

    Raises:
        ShortStringTooLong: As of `publish_frame`.
    """
    correlation_id, user_id, persistent, reply_to, expiration, message_id = properties
    flags, pieces = 0, []
    if persistent:
        flags = _DELIVERY_MODE
        pieces.append(b"\2")
    for flag, text in (
        (_CORRELATION_ID, correlation_id),
        (_REPLY_TO, reply_to),
        (_EXPIRATION, expiration),
        (_MESSAGE_ID, message_id),
        (_USER_ID, user_id),
    ):
        if text:
            flags |= flag
            pieces.append(_short(text))
    payload = b"".join((_CLASS_60.pack(60, 0, size), _FLAGS.pack(flags), *pieces))
    return _FRAME.pack(CONTENT_HEADER, channel, len(payload)) + payload + _END


def _short(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > _SHORT_MOST:
        raise ShortStringTooLong(encoded)
    return len(encoded).to_bytes() + encoded


def ack_of(frame: bytes) -> tuple[int, bool] | None:
    """The number of a Basic.Ack, and whether those before it are meant too; None if it is none."""
    if frame[_AT : _AT + 4] != ACK:
        return None
    number, bits = _TAG.unpack_from(frame, _AT + 4)
    return number, bool(bits & 1)


def is_deliver(frame: bytes) -> bool:
    """Whether a frame is a Basic.Deliver."""
    return frame[0] == METHOD and frame[_AT : _AT + 4] == DELIVER


def came(deliver: bytes, header: bytes) -> Came:
    """What a Basic.Deliver and its content header say."""
    at = _AT + 5 + deliver[_AT + 4]
    number, bits = _TAG.unpack_from(deliver, at)
    at += _TAG.size
    at += 1 + deliver[at]  # the exchange
    routing_key = deliver[at + 1 : at + 1 + deliver[at]].decode(errors="replace")
    return Came(number, bool(bits & 1), routing_key, *_properties(header))


def came_of_pika(method: Basic.Deliver, properties: BasicProperties) -> Came:
    """The same of what pika says."""
    headers = properties.headers if isinstance(properties.headers, dict) else {}
    texts = (
        properties.correlation_id,
        properties.reply_to,
        properties.message_id,
        properties.user_id,
    )
    correlation_id, reply_to, message_id, user_id = map(_text, texts)
    return Came(
        method.delivery_tag,
        bool(method.redelivered),
        _text(method.routing_key),
        headers,
        correlation_id,
        reply_to,
        message_id,
        user_id,
    )


def _text(value: str | bytes | None) -> str:
    """As text: pika leaves as bytes what is not UTF-8."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


class TolerantProperties(BasicProperties):  # type: ignore[misc]
    """Properties for pika, without headers if those cannot be read.

    Strangers write headers. A time after the year 9999, or tables in tables a thousand deep, would
    end the connection, and every further one, since the broker delivers the message again.
    """

    def decode(self, encoded: bytes, offset: int = 0) -> BasicProperties:
        """See pika's."""
        try:
            return super().decode(encoded, offset)
        except Exception:  # of many kinds: ValueError, OverflowError, RecursionError, pika's own
            (flags,) = _FLAGS.unpack_from(encoded, offset)
            if not flags & _HEADERS:
                raise
            at = _behind_content(encoded, offset)
            without = encoded[:at] + _NO_TABLE + encoded[_behind_table(encoded, at) :]
            return super().decode(without, offset)


def _properties(header: bytes) -> tuple[Mapping[str, Any], str, str, str, str]:
    """Headers, correlation id, address for answers, message id and user of a content header."""
    at = _AT + _CLASS_60.size
    (flags,) = _FLAGS.unpack_from(header, at)
    at = _behind_content(header, at)
    headers: Mapping[str, Any] = {}
    if flags & _HEADERS:
        headers, at = _table(header, at), _behind_table(header, at)
    at += bool(flags & _DELIVERY_MODE) + bool(flags & _PRIORITY)
    texts = []
    for flag in (_CORRELATION_ID, _REPLY_TO, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP, _TYPE, _USER_ID):
        if not flags & flag:
            texts.append("")
        elif flag == _TIMESTAMP:
            texts.append("")
            at += _TIMESTAMP_BYTES
        else:
            end = at + 1 + header[at]
            texts.append(header[at + 1 : end].decode(errors="replace"))
            at = end
    correlation_id, reply_to, _, message_id, _, _, user_id = texts
    return headers, correlation_id, reply_to, message_id, user_id


def _behind_content(encoded: bytes, at: int) -> int:
    """Where properties go on behind their flags and what is said of the content's type."""
    (flags,) = _FLAGS.unpack_from(encoded, at)
    at += _FLAGS.size
    if flags & _CONTENT:
        for flag in (_CONTENT_TYPE, _CONTENT_ENCODING):
            if flags & flag:
                at += 1 + encoded[at]
    return at


def _table(encoded: bytes, at: int) -> Mapping[str, Any]:
    try:
        headers: Mapping[str, Any] = decode_table(encoded, at)[0]
    except Exception:  # see `TolerantProperties`
        return {}
    return headers


def _behind_table(encoded: bytes, at: int) -> int:
    size: int
    (size,) = _TABLE.unpack_from(encoded, at)
    return at + _TABLE.size + size
