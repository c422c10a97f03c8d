"""Bodies go beside what pika sees, however their frames come in pieces."""

from __future__ import annotations

import itertools
import random
import struct
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pika import BasicProperties, spec
from pika.frame import Body, Header, Heartbeat, Method

from broker.rabbitmq.framing import (
    FRAME_BYTES,
    FramingError,
    Incoming,
    body_frames,
    body_size,
    with_body_size,
)
from schemas.buffer import Buffer

LARGE_BYTES = 64 * 1024
ALL_AT_ONCE = (1 << 30,)
DELIVER = Method(1, spec.Basic.Deliver("c", 1, False, "x", "key")).marshal()
GREETING = b"AMQP\0\0\x09\x01"


def header(channel: int, size: int) -> bytes:
    return bytes(Header(channel, size, BasicProperties(message_id="m", headers={"a": 1})).marshal())


def body_frame(channel: int, payload: bytes) -> bytes:
    return bytes(Body(channel, payload).marshal())


def fed(incoming: Incoming, wire: bytes, splits: Iterable[int]) -> Iterator[tuple[bytes, Buffer]]:
    """Receive bytes as a socket would give them: at most so many at a time, where there is room."""
    at, rest = 0, itertools.chain(splits, itertools.repeat(1 << 30))
    while at < len(wire):
        room = incoming.room()
        assert sum(map(len, room)) > 0, "a socket that may give nothing seems to have ended"
        count = min(next(rest), sum(map(len, room)), len(wire) - at)
        left = wire[at : at + count]
        for place in room:
            taken = left[: len(place)]
            place[: len(taken)] = taken
            left = left[len(taken) :]
        at += count
        yield from incoming.advance(count)


def as_bytes(told: Iterable[tuple[bytes, Buffer]]) -> list[tuple[bytes, bytes]]:
    return [(frame, bytes(body)) for frame, body in told]


@dataclass(frozen=True)
class Conversation:
    """What a broker says, and what pika is to be told."""

    wire: bytes
    told: list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Said:
    """A message or, without cuts, a method; with the channel 0 a heartbeat.

    Attributes:
        channel: Its channel.
        size: Of the body, or of the method's payload.
        cuts: Where the body's frames end, in thousandths of it; None for a method.
    """

    channel: int
    size: int
    cuts: list[int] | None

    def frames(
        self, random_bytes: random.Random
    ) -> Iterator[tuple[bytes, tuple[bytes, bytes] | None]]:
        """Frames of the broker, each with what pika is told once it is there."""
        if self.cuts is None:
            frame = _method(self.channel, random_bytes.randbytes(self.size))
            yield frame, (frame, b"")
            return
        body = random_bytes.randbytes(self.size)
        ends = sorted({self.size * cut // 1000 for cut in self.cuts} | {self.size})
        pieces = [body[a:b] for a, b in itertools.pairwise([0, *ends]) if b > a]
        told = header(self.channel, 0), body
        yield header(self.channel, self.size), None if pieces else told
        for index, piece in enumerate(pieces):
            yield body_frame(self.channel, piece), told if index == len(pieces) - 1 else None


def _method(channel: int, payload: bytes) -> bytes:
    if not channel:
        return bytes(Heartbeat().marshal())
    return struct.pack(">BHL", 1, channel, len(payload)) + payload + b"\xce"


METHODS = st.builds(Said, st.integers(0, 3), st.integers(4, 3000), st.none())
SIZES = st.one_of(
    st.just(0),
    st.integers(1, 2000),
    st.integers(LARGE_BYTES - 2, LARGE_BYTES + 2),
    st.integers(LARGE_BYTES, 400_000),
)
MESSAGES = st.builds(Said, st.integers(1, 3), SIZES, st.lists(st.integers(0, 1000), max_size=5))
SPLITS = st.lists(
    st.one_of(st.integers(1, 20), st.integers(1, 5000), st.integers(1, 300_000)), max_size=300
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Methods, heartbeats and messages; frames of different channels in any order."""
    random_bytes = random.Random(draw(st.integers(0, 1000)))
    waiting: dict[int, list[tuple[bytes, tuple[bytes, bytes] | None]]] = {}
    for said in draw(st.lists(st.one_of(METHODS, MESSAGES), max_size=12)):
        waiting.setdefault(said.channel, []).extend(said.frames(random_bytes))
    order = draw(st.lists(st.integers(0, 3), max_size=40))
    turns = itertools.chain(order, itertools.cycle(range(4)))
    wire, told = [], []
    while any(waiting.values()):
        frames = waiting.get(next(turns))
        if frames:
            frame, tells = frames.pop(0)
            wire.append(frame)
            if tells is not None:
                told.append(tells)
    return Conversation(b"".join(wire), told)


@given(conversations(), SPLITS)
def test_what_comes_is_the_same_however_its_bytes_are_split(
    conversation: Conversation, splits: list[int]
) -> None:
    told = list(fed(Incoming(), conversation.wire, splits))
    assert as_bytes(told) == conversation.told


@given(conversations(), SPLITS)
def test_bodies_that_are_let_go_make_room_for_others_and_nothing_else_changes(
    conversation: Conversation, splits: list[int]
) -> None:
    incoming = Incoming()
    for _ in range(2):
        for frame, body in fed(incoming, conversation.wire, splits):
            assert (frame, bytes(body)) in conversation.told
            del body


def test_byte_by_byte_it_is_the_same() -> None:
    body = random.Random(1).randbytes(LARGE_BYTES + 10)
    wire = DELIVER + header(1, len(body)) + body_frame(1, body[:1000]) + body_frame(1, body[1000:])
    told = as_bytes(fed(Incoming(), wire * 2, itertools.repeat(1)))
    assert told == [(DELIVER, b""), (header(1, 0), body)] * 2


@given(conversations())
def test_a_body_is_a_read_only_view_if_it_is_large_and_bytes_if_it_is_small(
    conversation: Conversation,
) -> None:
    for _, body in fed(Incoming(), conversation.wire, ALL_AT_ONCE):
        if len(body) < LARGE_BYTES:
            assert isinstance(body, bytes)
        else:
            assert isinstance(body, memoryview)
            assert body.readonly


def test_a_large_body_is_received_where_it_stays() -> None:
    incoming, body = Incoming(), random.Random(2).randbytes(FRAME_BYTES - 8)
    assert (
        list(fed(incoming, header(1, 2 * len(body)) + body_frame(1, body)[:7], ALL_AT_ONCE)) == []
    )
    place, behind = incoming.room()
    assert len(place) == len(body)
    assert len(behind) == 8, "the end of this frame and the head of the next, no more"
    place[:] = body
    assert list(incoming.advance(len(body))) == []
    ((_, whole),) = fed(incoming, b"\xce" + body_frame(1, body), ALL_AT_ONCE)
    assert whole == body * 2
    assert isinstance(whole, memoryview)
    assert place.obj is whole.obj


@pytest.mark.parametrize("splits", [(1,) * 8, (7, 1), ALL_AT_ONCE])
def test_a_greeting_of_another_protocol_is_for_pika_to_judge(splits: tuple[int, ...]) -> None:
    assert list(fed(Incoming(), GREETING, splits)) == [(GREETING, b"")]


# What is not AMQP.


def wrong_end(frame: bytes) -> bytes:
    return frame[:-1] + b"\xcd"


TOO_LARGE = struct.pack(">BHL", 1, 1, FRAME_BYTES - 7)


@pytest.mark.parametrize("splits", [ALL_AT_ONCE, (1,) * 300], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (header(1, 2) + wrong_end(body_frame(1, b"ab")), "expected 206 behind a frame, came 205"),
        (wrong_end(DELIVER), "expected 206 behind a frame, came 205"),
        (wrong_end(header(1, 2)), "expected 206 behind a frame, came 205"),
        (body_frame(1, b"ab"), "2 bytes on channel 1 that was not announced"),
        (header(2, 2) + body_frame(1, b"ab"), "2 bytes on channel 1 that was not announced"),
        (header(1, 2) + body_frame(1, b"abc"), "3 bytes on channel 1 that was not announced"),
        (
            header(1, 3) + body_frame(1, b"ab") + body_frame(1, b"cd"),
            "2 bytes on channel 1 that was not announced",
        ),
        (
            header(1, 2) + body_frame(1, b"ab") + body_frame(1, b"c"),
            "1 bytes on channel 1 that was not announced",
        ),
        (header(1, 0) + body_frame(1, b"a"), "1 bytes on channel 1 that was not announced"),
        (header(1, 2) + header(1, 2), "a second body on channel 1 before the first was whole"),
        (header(1, 2) + header(1, 0), "a second body on channel 1 before the first was whole"),
        (TOO_LARGE, f"a frame of {FRAME_BYTES + 1} bytes: {FRAME_BYTES} were agreed on"),
        (header(1, 512 * 1024**2 + 1), "a message of 536870913 bytes: at most 536870912"),
        (header(1, 2**64 - 1), f"a message of {2**64 - 1} bytes"),
        (struct.pack(">BHL", 2, 1, 11) + bytes(11) + b"\xce", "a content header of 19 bytes"),
        (struct.pack(">BHL", 2, 1, 0) + b"\xce", "a content header of 8 bytes"),
    ],
)
def test_what_is_not_amqp_is_told_apart(
    wire: bytes, expected: str, splits: tuple[int, ...]
) -> None:
    with pytest.raises(FramingError, match=expected):
        list(fed(Incoming(), wire, splits))


def test_a_frame_as_large_as_was_agreed_on_comes_through() -> None:
    frame = _method(1, bytes(FRAME_BYTES - 8))
    assert list(fed(Incoming(), b"".join([DELIVER, frame, frame]), (100, 5, FRAME_BYTES))) == [
        (DELIVER, b""),
        (frame, b""),
        (frame, b""),
    ]


def test_nothing_is_told_of_a_frame_of_which_the_end_is_wrong() -> None:
    ack = bytes(Method(1, spec.Basic.Ack(7)).marshal())
    told = fed(Incoming(), ack + wrong_end(ack), ALL_AT_ONCE)
    assert next(told) == (ack, b"")
    with pytest.raises(FramingError):
        next(told)


_KINDS = st.sampled_from([b"\1", b"\2", b"\3", b"\x08", b"A", b"AMQP", b"\0"])


@given(
    st.lists(st.one_of(st.binary(max_size=30), _KINDS, st.just(header(1, 5)), st.just(DELIVER))),
    SPLITS,
)
@example([struct.pack(">BHL", 2, 1, 3), b"abc\xce"], [])
def test_any_bytes_are_frames_or_a_framing_error(pieces: list[bytes], splits: list[int]) -> None:
    try:
        for frame, body in fed(Incoming(), b"".join(pieces), splits):
            assert len(frame) >= 8
            assert frame[-1] == 0xCE or frame.startswith(b"AMQP")
            assert len(body) <= FRAME_BYTES
    except FramingError:
        pass


# What is sent.


def frames_of_pika(channel: int, body: bytes, frame_bytes: int) -> bytes:
    most = frame_bytes - 8
    return b"".join(body_frame(channel, body[at : at + most]) for at in range(0, len(body), most))


BODIES = st.lists(st.one_of(st.just(b""), st.binary(max_size=500)), max_size=6)


@given(st.integers(1, 65535), BODIES, st.integers(9, 300))
@example(1, [b"abc", b"", b"def"], 11)
@example(1, [], 300)
def test_a_body_is_sent_in_the_frames_that_pika_would_make(
    channel: int, pieces: list[bytes], frame_bytes: int
) -> None:
    frames = list(body_frames(channel, pieces, frame_bytes))
    assert b"".join(frames) == frames_of_pika(channel, b"".join(pieces), frame_bytes)
    assert all(len(frame) for frame in frames), "an empty one is never sent, and waited for"


@given(BODIES, st.integers(9, 300))
def test_what_is_sent_comes_again(pieces: list[bytes], frame_bytes: int) -> None:
    body = b"".join(pieces)
    wire = b"".join((header(3, len(body)), *body_frames(3, pieces, frame_bytes)))
    assert as_bytes(fed(Incoming(), wire, ALL_AT_ONCE)) == [(header(3, 0), body)]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_body_is_sent_from_where_it_lies(kind: type[Buffer]) -> None:
    body = kind(bytes(300_000))
    sent = [each for each in body_frames(1, [b"head", body], FRAME_BYTES) if len(each) > 8]
    assert sum(map(len, sent)) == 300_000
    lies = body.obj if isinstance(body, memoryview) else body
    assert all(isinstance(each, memoryview) and each.obj is lies for each in sent)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_header_says_another_size_and_the_rest_stays(size: int, other: int) -> None:
    said = with_body_size(header(7, size), other)
    assert said == header(7, other)
    assert body_size(said) == other


def test_what_was_dropped_keeps_no_memory_but_what_is_looked_at() -> None:
    incoming = Incoming()
    wire = header(1, 100_000) + body_frame(1, b"x" * 100_000)
    (view,) = [body for _, body in fed(incoming, wire, [len(wire)]) if body]
    assert isinstance(view, memoryview)
    memory = weakref.ref(view.obj)
    incoming.drop()
    assert bytes(view) == b"x" * 100_000
    del view
    assert memory() is None
