"""What is written is what pika would write, and what is read is what pika would read."""

from __future__ import annotations

import itertools
import struct
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties, spec
from pika.exceptions import ShortStringTooLong
from pika.frame import Header, Heartbeat, Method, decode_frame

from broker.rabbitmq.methods import (
    Came,
    Properties,
    TolerantProperties,
    ack_of,
    came,
    came_of_pika,
    header_frame,
    is_deliver,
    publish_frame,
)
from tests.broker.strange_headers import STRANGE, nested

CHANNELS = st.integers(1, 65535)
TAGS = st.integers(0, 2**64 - 1)


def _fits(text: str) -> bool:
    return len(text.encode()) <= 255


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=255).filter(_fits),
    st.sampled_from(["", "x" * 255, "amq.rabbitmq.reply-to", "é" * 127]),
)
NOT_UTF8 = st.sampled_from([b"\xff", b"ab\xc3", b"\x80" * 255, b"u\xffser"])
ANY_TEXT = st.one_of(TEXTS, NOT_UTF8)

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.binary(max_size=20),
        st.datetimes().map(lambda at: at.replace(year=2026, microsecond=0, tzinfo=UTC)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text("abcé-", max_size=9), inner, max_size=3),
    ),
    max_leaves=6,
)
HEADERS = st.dictionaries(st.text("abcé-", max_size=9), VALUES, max_size=4)

PROPERTIES: dict[str, st.SearchStrategy[Any]] = {
    "content_type": ANY_TEXT,
    "content_encoding": ANY_TEXT,
    "headers": HEADERS,
    "delivery_mode": st.integers(0, 255),
    "priority": st.integers(0, 255),
    "correlation_id": ANY_TEXT,
    "reply_to": ANY_TEXT,
    "expiration": ANY_TEXT,
    "message_id": ANY_TEXT,
    "timestamp": TAGS,
    "type": ANY_TEXT,
    "user_id": ANY_TEXT,
    "app_id": ANY_TEXT,
    "cluster_id": ANY_TEXT,
}
EXAMPLES: dict[str, Any] = {
    **dict.fromkeys(PROPERTIES, "é text"),
    "headers": {"x-death": [{"reason": "expired", "count": 2}], "x-stream-offset": 7},
    "delivery_mode": 2,
    "priority": 9,
    "timestamp": 2**64 - 1,
    "user_id": b"not \xff text",
}


def of_pika(frame: bytes) -> Any:
    """What pika decodes."""
    taken, decoded = decode_frame(frame)
    assert taken == len(frame)
    return decoded


def delivered(properties: BasicProperties, number: int = 5) -> tuple[bytes, bytes]:
    method = spec.Basic.Deliver("ctag", number, True, "updates", "u.one")
    return Method(1, method).marshal(), Header(1, 10, properties).marshal()


def came_by_pika(deliver: bytes, header: bytes) -> Came:
    return came_of_pika(of_pika(deliver).method, of_pika(header).properties)


PROPERTIES_AT = 7 + 12  # in a content header


# What is written.


@given(CHANNELS, TEXTS, TEXTS, st.booleans())
def test_a_publish_is_what_pika_would_write(
    channel: int, exchange: str, routing_key: str, mandatory: bool
) -> None:
    method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    expected = Method(channel, method).marshal()
    assert publish_frame(channel, exchange, routing_key, mandatory) == expected


@given(CHANNELS, TAGS, st.builds(Properties, TEXTS, TEXTS, st.booleans(), TEXTS, TEXTS, TEXTS))
def test_a_content_header_is_what_pika_would_write(
    channel: int, size: int, properties: Properties
) -> None:
    expected = Header(channel, size, properties.as_of_pika()).marshal()
    assert header_frame(channel, size, properties) == expected


@pytest.mark.parametrize("said", list(itertools.product([False, True], repeat=6)))
def test_a_content_header_says_what_is_said_and_no_more(said: tuple[bool, ...]) -> None:
    values = [
        value if is_said else default
        for is_said, value, default in zip(
            said,
            ("7", "till", True, "amq.rabbitmq.reply-to", "5000", "update"),
            ("", "", False, "", "", ""),
            strict=True,
        )
    ]
    properties = Properties(*values)  # type: ignore[arg-type]
    decoded = of_pika(header_frame(1, 3, properties)).properties
    assert [
        decoded.correlation_id or "",
        decoded.user_id or "",
        decoded.delivery_mode == 2,
        decoded.reply_to or "",
        decoded.expiration or "",
        decoded.message_id or "",
    ] == values
    assert of_pika(header_frame(1, 3, properties)).body_size == 3


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128])
def test_a_name_of_more_than_255_bytes_is_refused_as_pika_would(name: str) -> None:
    with pytest.raises(ShortStringTooLong):
        publish_frame(1, name, "", True)
    with pytest.raises(ShortStringTooLong):
        publish_frame(1, "", name, True)
    for properties in (
        Properties(name, ""),
        Properties("", name),
        Properties("", "", reply_to=name),
        Properties("", "", expiration=name),
        Properties("", "", message_id=name),
    ):
        with pytest.raises(ShortStringTooLong):
            header_frame(1, 0, properties)
        with pytest.raises(ShortStringTooLong):
            Header(1, 0, properties.as_of_pika()).marshal()


# What is read.


@given(
    CHANNELS,
    ANY_TEXT,
    TAGS,
    st.booleans(),
    ANY_TEXT,
    ANY_TEXT,
    st.fixed_dictionaries({}, optional=PROPERTIES),
)
def test_what_came_is_what_pika_would_say(
    channel: int,
    consumer: str,
    number: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
    properties: dict[str, Any],
) -> None:
    method = spec.Basic.Deliver(consumer, number, redelivered, exchange, routing_key)
    deliver = Method(channel, method).marshal()
    header = Header(channel, 10, BasicProperties(**properties)).marshal()
    assert came(deliver, header) == came_by_pika(deliver, header)


def test_it_is_for_any_combination_of_properties() -> None:
    for number, said in enumerate(itertools.product([False, True], repeat=len(PROPERTIES))):
        names = itertools.compress(PROPERTIES, said)
        properties = BasicProperties(**{name: EXAMPLES[name] for name in names})
        deliver, header = delivered(properties, number)
        assert came(deliver, header) == came_by_pika(deliver, header)


def test_what_came_says_what_was_written() -> None:
    properties = BasicProperties(
        headers={"x-stream-offset": 7},
        correlation_id="12",
        reply_to="amq.rabbitmq.reply-to.abc",
        message_id="update",
        user_id="till",
        expiration="5000",
        delivery_mode=2,
        priority=3,
    )
    expected = Came(
        number=5,
        redelivered=True,
        routing_key="u.one",
        headers={"x-stream-offset": 7},
        correlation_id="12",
        reply_to="amq.rabbitmq.reply-to.abc",
        message_id="update",
        user_id="till",
    )
    assert came(*delivered(properties)) == expected
    properties.timestamp, properties.app_id = 1_700_000_000, "unusual"
    assert came(*delivered(properties)) == expected


def test_of_a_message_without_properties_nothing_is_said() -> None:
    assert came(*delivered(BasicProperties()))[3:] == ({}, "", "", "", "")


def test_text_that_is_none_is_readable_all_the_same() -> None:
    properties = BasicProperties(user_id=b"t\xffll", correlation_id=b"\xc3", message_id=b"\x80")
    came_to_us = came(*delivered(properties))
    assert came_to_us.user_id == "t\N{REPLACEMENT CHARACTER}ll"
    assert came_to_us.correlation_id == came_to_us.message_id == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "table",
    [
        *STRANGE.values(),
        b"\1t" + b"T" + (10**12).to_bytes(8),
        b"\1f" + b"d" + struct.pack(">d", float("nan")),
        b"\1f" + b"f" + struct.pack(">f", float("inf")),
        b"\1u" + b"?" + b"unknown",
        nested(5000),
    ],
    ids=[*STRANGE, "year 33658", "nan", "inf", "unknown", "deeply nested"],
)
def test_headers_that_cannot_be_read_are_none_and_the_rest_of_the_message_stands(
    table: bytes,
) -> None:
    flags = struct.pack(">H", 1 << 13 | 1 << 7 | 1 << 4)
    payload = struct.pack(">HHQ", 60, 0, 10) + flags + struct.pack(">L", len(table)) + table
    payload += b"\6update" + b"\4till"
    header = struct.pack(">BHL", 2, 1, len(payload)) + payload + b"\xce"
    with pytest.raises(Exception, match=r".*"):
        BasicProperties().decode(header, PROPERTIES_AT)
    by_pika = TolerantProperties().decode(header, PROPERTIES_AT)
    assert (by_pika.message_id, by_pika.user_id, by_pika.headers) == ("update", "till", {})
    said = came(delivered(BasicProperties())[0], header)
    assert (said.number, said.message_id, said.user_id, said.headers) == (5, "update", "till", {})


@given(st.fixed_dictionaries({}, optional=PROPERTIES))
def test_tolerant_properties_are_those_of_pika(properties: dict[str, Any]) -> None:
    header = Header(1, 10, BasicProperties(**properties)).marshal()
    expected = BasicProperties().decode(header, PROPERTIES_AT)
    assert TolerantProperties().decode(header, PROPERTIES_AT) == expected


def test_properties_without_headers_that_cannot_be_read_are_an_error_as_ever() -> None:
    header = Header(1, 10, BasicProperties(timestamp=1)).marshal()
    with pytest.raises(struct.error):
        TolerantProperties().decode(header[:-5], PROPERTIES_AT)


@given(CHANNELS, TAGS, st.booleans())
def test_an_ack_says_its_number_and_whether_those_before_are_meant(
    channel: int, number: int, multiple: bool
) -> None:
    assert ack_of(Method(channel, spec.Basic.Ack(number, multiple)).marshal()) == (number, multiple)


OTHERS = [
    spec.Basic.Nack(7, multiple=True),
    spec.Basic.Reject(7),
    spec.Basic.Return(312, "NO_ROUTE", "updates", "u.one"),
    spec.Basic.CancelOk("ctag"),
    spec.Basic.QosOk(),
    spec.Channel.Close(404, "NOT_FOUND", 60, 20),
    spec.Channel.CloseOk(),
    spec.Connection.Unblocked(),
    spec.Confirm.SelectOk(),
]
DELIVER = spec.Basic.Deliver("ctag", 5, False, "updates", "u.one")


@pytest.mark.parametrize("method", [*OTHERS, DELIVER], ids=lambda method: method.NAME)
def test_nothing_else_is_an_ack(method: Any) -> None:
    assert ack_of(Method(1, method).marshal()) is None


def test_a_deliver_is_one_and_nothing_else_is() -> None:
    assert is_deliver(Method(1, DELIVER).marshal())
    for method in (*OTHERS, spec.Basic.Ack(7), spec.Basic.GetOk(5, False, "x", "k", 0)):
        assert not is_deliver(Method(1, method).marshal())
    assert not is_deliver(Heartbeat().marshal())
    body = bytes(Method(1, DELIVER).marshal())
    assert not is_deliver(b"\3" + body[1:]), "a body that begins as a Basic.Deliver would"
