"""Any bytes are a frame or a DecodeError, and a frame is read where it lies."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError, UnsupportedVersion
from schemas.frame import (
    ALIGNMENT,
    HEADER_BYTES_MAX,
    PROTOCOL_VERSION,
    _unpack_by_item,
    decode_frame,
    encode_frame,
)
from tests.schemas.strategies import PRIMITIVES, TEXTS

HEADERS = st.dictionaries(TEXTS, PRIMITIVES, max_size=6)
EMPTY_MAP = b"\x80"


def frame_around(
    packed: bytes,
    payload: bytes = b"",
    *,
    version: int = PROTOCOL_VERSION,
    magic: bytes = b"fmq\0",
    padding: int | None = None,
    payload_bytes: int | None = None,
) -> bytes:
    """A frame with a header that is given as bytes, whatever they are."""
    header = struct.pack("<H", version) + packed
    fill = -(16 + len(header)) % ALIGNMENT if padding is None else padding
    length = len(payload) if payload_bytes is None else payload_bytes
    return struct.pack("<4sIQ", magic, len(header), length) + header + bytes(fill) + payload


def decoded(body: bytes | bytearray) -> dict[str, Any] | DecodeError:
    """The header, or the one error that may come."""
    try:
        return decode_frame(body)[0]
    except DecodeError as error:
        return error


def refusal_of(body: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_frame(body)
    return str(caught.value)


@given(HEADERS, st.binary(max_size=300))
def test_a_frame_gives_back_its_header_and_payload(header: dict[str, Any], payload: bytes) -> None:
    came, rest = decode_frame(encode_frame(header, payload))
    assert came == header
    assert bytes(rest) == payload


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_chunks_of_a_payload_lie_one_after_another(chunks: list[bytes]) -> None:
    _, payload = decode_frame(encode_frame({}, *chunks))
    assert bytes(payload) == b"".join(chunks)


def test_a_payload_of_numbers_is_counted_in_bytes() -> None:
    numbers = np.arange(5, dtype="<f4")
    _, payload = decode_frame(encode_frame({}, numbers.data))
    assert np.array_equal(np.frombuffer(payload, "<f4"), numbers)


@given(HEADERS)
def test_a_payload_begins_at_a_multiple_of_64(header: dict[str, Any]) -> None:
    body = encode_frame(header, b"payload")
    assert body.index(b"payload", len(body) - 7) % ALIGNMENT == 0


def test_a_payload_is_read_in_place_and_cannot_be_written() -> None:
    body = bytearray(encode_frame({"a": 1}, b"payload"))
    _, payload = decode_frame(body)
    body[-1:] = b"D"
    assert bytes(payload) == b"payloaD"
    assert payload.readonly


def test_the_version_and_lengths_stand_where_the_format_says() -> None:
    body = encode_frame({}, b"xyz")
    assert body[:4] == b"fmq\0"
    assert struct.unpack_from("<IQH", body, 4) == (3, 3, PROTOCOL_VERSION)
    assert len(body) == 64 + 3


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_a_decode_error(body: bytes) -> None:
    assert "\n" not in str(decoded(body))


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_any_header_bytes_are_a_map_or_a_decode_error(packed: bytes, payload: bytes) -> None:
    assert isinstance(decoded(frame_around(packed, payload)), dict | DecodeError)


@given(st.binary(max_size=60) | HEADERS.map(msgpack.packb), st.data())
def test_a_short_header_is_what_it_is_item_by_item(packed: bytes, data: st.DataObject) -> None:
    changed = bytearray(packed)
    if changed and data.draw(st.booleans()):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    at_once = decoded(frame_around(bytes(changed)))
    try:
        by_item = _unpack_by_item(memoryview(changed))
    except DecodeError:
        assert isinstance(at_once, DecodeError)
    else:
        assert repr(at_once) == repr(by_item)  # which tells numbers apart, and knows one NaN


@given(HEADERS, st.binary(max_size=80), st.data())
def test_a_frame_with_some_bytes_changed_never_crashes_the_decoder(
    header: dict[str, Any], payload: bytes, data: st.DataObject
) -> None:
    body = bytearray(encode_frame(header, payload))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(decoded(body), dict | DecodeError)


@given(HEADERS, st.binary(max_size=80), st.data())
def test_a_frame_that_is_cut_or_goes_on_is_refused(
    header: dict[str, Any], payload: bytes, data: st.DataObject
) -> None:
    body = encode_frame(header, payload)
    refusal_of(body[: data.draw(st.integers(0, len(body) - 1))])
    refusal_of(body + data.draw(st.binary(min_size=1, max_size=70)))


def test_the_least_frame_is_a_map_without_a_key() -> None:
    assert decode_frame(frame_around(EMPTY_MAP))[0] == {}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "at least 16 bytes, came 0"),
        (frame_around(EMPTY_MAP, magic=b"fmq\1"), "begins with"),
        (frame_around(EMPTY_MAP, payload_bytes=1), "says 65 bytes, came 64"),
        (frame_around(EMPTY_MAP, payload_bytes=2**64 - 1), "came 64"),
        (frame_around(EMPTY_MAP, b"x", payload_bytes=0), "says 64 bytes, came 65"),
        (frame_around(EMPTY_MAP, padding=0), "came 19"),
        (frame_around(EMPTY_MAP, padding=109), "came 128"),
        (frame_around(b""), "not msgpack"),
        (frame_around(b"\x00" * HEADER_BYTES_MAX), "65538 bytes"),
        (struct.pack("<4sIQ", b"fmq\0", 0, 0) + bytes(48), "header of 0 bytes"),
        (struct.pack("<4sIQ", b"fmq\0", 1, 0) + bytes(48), "header of 1 bytes"),
        (struct.pack("<4sIQ", b"fmq\0", 2**32 - 1, 0) + bytes(48), "header of 4294967295 bytes"),
    ],
)
def test_a_frame_of_wrong_lengths_is_refused(body: bytes, says: str) -> None:
    assert says in refusal_of(body)


def test_bytes_between_header_and_payload_are_zero() -> None:
    body = bytearray(frame_around(EMPTY_MAP, b"x"))
    body[63] = 1
    assert "zeros" in refusal_of(bytes(body))


def test_a_newer_version_is_told_apart_and_its_header_never_parsed() -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        decode_frame(frame_around(b"\xc1 no msgpack", version=PROTOCOL_VERSION + 1))
    assert caught.value.came == PROTOCOL_VERSION + 1
    assert "upgrade" in str(caught.value)


def test_version_zero_is_no_version() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_frame(frame_around(EMPTY_MAP, version=0))
    assert not isinstance(caught.value, UnsupportedVersion)


def test_a_header_that_no_receiver_takes_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="at most 65536"):
        encode_frame({"text": "x" * HEADER_BYTES_MAX})


def _nested(depth: int, leaf: Any = 0) -> Any:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"\x82\xa1a\x01\xa1a\x02", id="a key twice"),
        pytest.param(b"\x81\xa1a\x82\xa1b\x01\xa1b\x02", id="a key twice, further in"),
        pytest.param(msgpack.packb({1: 2}), id="a number as key"),
        pytest.param(msgpack.packb({None: 2}), id="nothing as key"),
        pytest.param(msgpack.packb({b"a": 2}), id="bytes as key"),
        pytest.param(b"\x81\x90\x01", id="a list as key"),
        pytest.param(b"\x81\x80\x01", id="a map as key"),
        pytest.param(msgpack.packb([1, 2]), id="a list"),
        pytest.param(msgpack.packb(None), id="nothing"),
        pytest.param(msgpack.packb({"a": msgpack.ExtType(5, b"")}), id="an extension"),
        pytest.param(msgpack.packb({"a": msgpack.ExtType(5, b"12345")}), id="a long extension"),
        pytest.param(msgpack.packb({"a": msgpack.Timestamp(1, 2)}), id="a timestamp"),
        pytest.param(b"\x81\xa1a\xc7\x00\xff", id="an empty timestamp"),
        pytest.param(msgpack.packb({"a": _nested(8)}), id="nested too deep"),
        pytest.param(msgpack.packb({"a": _nested(500)}), id="nested far too deep"),
        pytest.param(b"\x81\xa1a" + b"\x91" * 60_000, id="nested without end"),
        pytest.param(b"\x81\xa1a" * 20_000, id="maps nested without end"),
        pytest.param(b"\x81\xa1a\xc1", id="the byte that is never used"),
        pytest.param(b"\x81\xa1a\xa2\xff\xfe", id="text that is not UTF-8"),
        pytest.param(b"\x81\xa1a\xa3\xed\xa0\x80", id="half of a surrogate pair"),
        pytest.param(b"\x80\x80", id="a map and then more"),
        pytest.param(b"\x81\xa1a", id="a key without a value"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map said to be huge"),
        pytest.param(b"\x81\xa1a\xdd\xff\xff\xff\xff", id="a list said to be huge"),
        pytest.param(b"\x81\xa1a\xdb\xff\xff\xff\xff", id="a text said to be huge"),
        pytest.param(b"\x81\xa1a\xc6\xff\xff\xff\xff", id="bytes said to be huge"),
        pytest.param(b"\x81\xa1a\xc9\xff\xff\xff\xff\x05", id="an extension said to be huge"),
        pytest.param(msgpack.packb({"a": [None] * 5000}), id="a list that is too long"),
        pytest.param(msgpack.packb({str(n): 0 for n in range(1025)}), id="a map that is too long"),
        pytest.param(msgpack.packb({"a": "x" * 5000}), id="a text that is too long"),
    ],
)
def test_what_a_header_must_not_hold_is_refused(packed: bytes) -> None:
    refusal_of(frame_around(packed))


def test_a_header_may_nest_eight_deep() -> None:
    header = {"a": _nested(7)}
    assert decode_frame(frame_around(msgpack.packb(header)))[0] == header


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"\x81\xa1a\xdc\xff\xff" + b"\xc0" * 65_000, id="a list of nothing"),
        pytest.param(b"\x81\xa1a" + b"\xdc\x10\x00" * 20_000, id="lists in lists, none filled"),
        pytest.param(b"\x81\xa1a" + b"\xdc\x10\x00" * 1_000, id="lists in lists, 1000 deep"),
        pytest.param(b"\x81\xa1a\x9f" + b"\xde\x04\x00\xa1a" * 10_000, id="maps in maps"),
    ],
)
def test_a_small_header_never_becomes_many_objects(packed: bytes) -> None:
    assert peak_of_refusing(frame_around(packed)) < 2 * 2**20


def test_16_mb_of_nothing_is_refused_unread() -> None:
    body = frame_around(b"\xdd\x01\x00\x00\x00" + b"\xc0" * 2**24)
    assert peak_of_refusing(body) < 2**16


def peak_of_refusing(body: bytes) -> int:
    """Most bytes in use while a frame is decoded, which must fail."""
    tracemalloc.start()
    try:
        refusal_of(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
