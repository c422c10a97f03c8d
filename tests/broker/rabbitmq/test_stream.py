"""A connection between a socket and pika: sends together, tells taps first, and ends once."""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties, spec
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport
from pika.exceptions import ChannelWrongStateError
from pika.frame import Body, Header, Heartbeat, Method

from broker.rabbitmq.methods import Came
from broker.rabbitmq.services import Services
from broker.rabbitmq.stream import Stream
from schemas.buffer import Buffer

DEADLINE_S = 20.0
HEARTBEAT = bytes(Heartbeat().marshal())
MARK = bytes(Method(9, spec.Channel.FlowOk(active=True)).marshal())


def method(channel: int, which: Any) -> bytes:
    return bytes(Method(channel, which).marshal())


def deliver(number: int, channel: int = 1) -> bytes:
    return method(channel, spec.Basic.Deliver("c", number, False, "x", "key"))


def header(size: int, channel: int = 1) -> bytes:
    return bytes(Header(channel, size, BasicProperties(message_id="m")).marshal())


def message(number: int, body: bytes, channel: int = 1) -> bytes:
    rest = bytes(Body(channel, body).marshal()) if body else b""
    return deliver(number, channel) + header(len(body), channel) + rest


def ack(number: int, *, multiple: bool = False, channel: int = 1) -> bytes:
    return method(channel, spec.Basic.Ack(number, multiple))


class Script(AbstractStreamProtocol):  # type: ignore[misc]
    """Stands where pika does: writes down what it is told, and does what it was told to.

    Attributes:
        told: Frames, each with the body beside it.
        lost: Why the connection was lost, each time.
        on_frame: Called with each frame.
    """

    def __init__(self) -> None:
        self.told: list[tuple[bytes, bytes]] = []
        self.lost: list[BaseException | None] = []
        self.num_ends = 0
        self.on_frame: Callable[[bytes], None] = lambda frame: None
        self._stream: Stream | None = None

    def connection_made(self, transport: AbstractStreamTransport) -> None:
        self._stream = transport

    def connection_lost(self, error: BaseException | None) -> None:
        self.lost.append(error)

    def eof_received(self) -> bool:
        self.num_ends += 1
        return False

    def data_received(self, data: bytes) -> None:
        assert self._stream is not None
        self.told.append((data, bytes(self._stream.body)))
        self.on_frame(data)

    def frames(self) -> list[bytes]:
        return [frame for frame, _ in self.told]


class Ear:
    """A tap: writes down what it is told."""

    def __init__(self) -> None:
        self.is_tapping = True
        self.takes_acks = True
        self.messages: list[tuple[Came, bytes]] = []
        self.acks: list[tuple[int, bool]] = []

    def delivered(self, message: Came, body: Buffer) -> None:
        self.messages.append((message, bytes(body)))

    def acked(self, number: int, multiple: bool) -> bool:
        self.acks.append((number, multiple))
        return self.takes_acks

    def bodies(self) -> list[tuple[int, bytes]]:
        return [(message.number, body) for message, body in self.messages]


class Wire:
    """A stream and its other end.

    Attributes:
        now: What its clock shows.
        peer: The broker's end.
    """

    def __init__(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        self.now = 100.0
        ours, self.peer = socket.socketpair(socket.AF_UNIX, kind)
        ours.setblocking(False)
        self.peer.settimeout(DEADLINE_S)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.loop = IOLoop()
        self.loop.activate_poller()
        self.services = Services(self.loop, lambda: self.now)
        self.script = Script()
        linked: list[Any] = []
        self.services.create_streaming_connection(lambda: self.script, ours, linked.append)
        assert linked == [], "nothing is called back from within a call"
        self.until(lambda: bool(linked))
        assert linked == [(self.services.stream, self.script)]
        assert self.services.stream is not None
        self.stream = self.services.stream

    def turn(self) -> None:
        """One turn of the loop, which does not wait for long."""
        self.loop.call_later(0.01, lambda: None)
        self.loop.process_timeouts()
        self.loop.poll()

    def until(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + DEADLINE_S
        while not is_so():
            assert time.monotonic() < until, f"told: {self.script.told[-5:]}"
            self.turn()

    def say(self, *frames: bytes) -> None:
        """Say something as the broker, and see that all of it was heard."""
        heard = self.script.frames().count(MARK)
        self.peer.sendall(b"".join((*frames, MARK)))
        self.until(lambda: self.script.frames().count(MARK) > heard)

    def told(self) -> list[tuple[bytes, bytes]]:
        """What pika was told, but for the marks of `say`."""
        return [each for each in self.script.told if each[0] != MARK]

    def heard(self, most: int = 1 << 20) -> bytes:
        """What the broker has got, if anything."""
        is_some, *_ = select.select([self.peer], [], [], 0)
        return self.peer.recv(most) if is_some else b""

    def lost(self) -> BaseException | None:
        """Why the connection was lost: it is once, however long one waits."""
        self.until(lambda: bool(self.script.lost))
        for _ in range(3):
            self.turn()
        (error,) = self.script.lost
        return error

    def close(self) -> None:
        self.services.discard()
        self.peer.close()
        self.loop.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture
def records() -> Iterator[Wire]:
    """A wire on which each send arrives by itself."""
    wire = Wire(socket.SOCK_SEQPACKET)
    yield wire
    wire.close()


# Writing.


@given(
    st.lists(
        st.tuples(st.sampled_from(["write", "hold", "release", "turn", "read"]), st.integers(0, 9)),
        max_size=60,
    ),
    st.integers(0, 100),
)
def test_what_is_written_arrives_in_order_however_slowly_it_is_taken(
    steps: list[tuple[str, int]], seed: int
) -> None:
    wire, draws = Wire(), random.Random(seed)
    written, heard = bytearray(), bytearray()
    try:
        for step, size in steps:
            if step == "write":
                pieces = [
                    draws.randbytes(draws.choice([0, 1, size, 10**size // 10**4])) for _ in "123"
                ]
                written += b"".join(pieces)
                wire.stream.write_all(pieces)
            elif step == "hold":
                wire.stream.hold()
            elif step == "release":
                wire.stream.release()
            elif step == "turn":
                wire.turn()
            else:
                heard += wire.heard(10**size)
        wire.stream.release()
        while len(heard) < len(written):
            wire.turn()
            heard += wire.peer.recv(1 << 20)
        wire.until(lambda: wire.stream.get_write_buffer_size() == 0)
        assert heard == written
        assert wire.heard() == b""
        assert wire.script.lost == []
    finally:
        wire.close()


def test_of_what_is_written_the_stream_says_how_much_was_not_sent(wire: Wire) -> None:
    wire.stream.write(bytes(300_000))
    assert wire.stream.get_write_buffer_size() == 300_000
    wire.turn()
    assert 0 < wire.stream.get_write_buffer_size() < 300_000, "the peer has not read: it is full"
    heard = 0
    while heard < 300_000:
        heard += len(wire.peer.recv(1 << 20))
        wire.turn()
    wire.until(lambda: wire.stream.get_write_buffer_size() == 0)


def test_more_pieces_than_the_system_takes_at_once_are_sent_all(wire: Wire) -> None:
    pieces = [b"%06d" % number for number in range(3000)]
    wire.stream.write_all(pieces)
    heard = b""
    while len(heard) < 6 * 3000:
        wire.turn()
        heard += wire.peer.recv(1 << 20)
    assert heard == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[b""], [b"", b"ab"], [b"ab", b""], [b"", b"", b"ab", b"", b""]])
def test_an_empty_piece_is_not_waited_for(wire: Wire, pieces: list[bytes]) -> None:
    wire.stream.hold()
    wire.stream.write_all(pieces)
    wire.stream.release()
    assert wire.stream.get_write_buffer_size() == 0
    assert wire.heard() == b"".join(pieces)


def test_what_is_written_while_held_goes_with_one_send(records: Wire) -> None:
    records.stream.hold()
    records.stream.write(b"method")
    records.stream.write_all((b"header", memoryview(b"body")))
    records.turn()
    assert records.heard() == b""
    records.stream.write(b"ack")
    records.stream.release()
    assert records.heard() == b"methodheaderbodyack"
    records.turn()
    assert records.heard() == b""


def test_what_is_written_in_one_turn_goes_with_one_send(records: Wire) -> None:
    for piece in (b"method", b"header", b"body"):
        records.stream.write(piece)
    assert records.heard() == b"", "nothing is sent from within `write`"
    records.turn()
    assert records.heard() == b"methodheaderbody"


def test_what_is_answered_to_what_came_goes_with_one_send(records: Wire) -> None:
    records.script.on_frame = lambda frame: records.stream.write(b"answer ")
    records.say(ack(1), ack(2))
    assert records.heard() == b"answer answer answer "


def test_release_without_anything_written_sends_nothing(records: Wire) -> None:
    records.stream.hold()
    records.stream.release()
    records.turn()
    assert records.heard() == b""


# The end.


class Bug(Exception):
    pass


def _fail(*_: object) -> None:
    raise Bug


def test_an_error_of_pika_ends_the_connection_once(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    wire.script.on_frame = _fail
    wire.peer.sendall(ack(1) + ack(2))
    assert isinstance(wire.lost(), Bug)
    assert wire.script.frames() == [ack(1)]
    assert wire.peer.recv(10) == b"", "the socket is closed"
    assert "error in what came from the broker, connecting again" in caplog.text


def test_a_step_on_a_channel_that_we_are_closing_is_no_bug(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    def too_late(_: bytes) -> None:
        raise ChannelWrongStateError("Channel is closing.")

    wire.script.on_frame = too_late
    wire.peer.sendall(ack(1))
    assert isinstance(wire.lost(), ChannelWrongStateError)
    assert "ERROR" not in caplog.text


def test_an_error_of_a_tap_ends_the_connection_once(wire: Wire) -> None:
    ear = Ear()
    ear.delivered = _fail  # type: ignore[method-assign, assignment]
    wire.stream.tap(1, ear)
    wire.peer.sendall(message(1, b"a") + message(2, b"b"))
    assert isinstance(wire.lost(), Bug)
    assert wire.script.frames() == []


def test_what_is_not_amqp_ends_the_connection_once(wire: Wire) -> None:
    wire.peer.sendall(ack(1) + b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "were agreed on" in str(wire.lost())
    assert wire.script.frames() == [ack(1)]


def test_when_the_broker_hangs_up_pika_hears_of_the_end_once(wire: Wire) -> None:
    wire.peer.sendall(ack(1))
    wire.peer.shutdown(socket.SHUT_WR)
    assert wire.lost() is None
    assert wire.script.num_ends == 1
    assert wire.script.frames() == [ack(1)]


def test_a_reset_is_the_reason_for_the_end(wire: Wire) -> None:
    wire.stream.write(b"never read")
    wire.turn()
    wire.peer.close()  # with something unread: a reset
    assert isinstance(wire.lost(), ConnectionResetError)
    assert wire.script.num_ends == 0


def test_a_send_that_fails_is_the_reason_for_the_end(wire: Wire) -> None:
    wire.peer.shutdown(socket.SHUT_RD)
    wire.stream.hold()
    wire.stream.write(b"to nobody")
    wire.stream.release()
    assert wire.script.lost == [], "nothing is called back from within a call"
    assert isinstance(wire.lost(), BrokenPipeError)
    assert wire.stream.get_write_buffer_size() == 0


def test_abort_ends_the_connection_once_and_not_from_within(wire: Wire) -> None:
    wire.stream.write(b"not sent any more")
    wire.stream.abort()
    wire.stream.abort()
    wire.stream.write(b"nor this")
    assert wire.script.lost == []
    assert wire.lost() is None
    assert wire.script.num_ends == 0
    assert wire.peer.recv(10) == b""


def test_once_pika_aborts_it_is_told_nothing_more(wire: Wire) -> None:
    wire.now += 10.0  # a sign of life would be due, too
    wire.script.on_frame = lambda frame: wire.stream.abort()
    wire.peer.sendall(ack(1) + ack(2) + message(3, b"abc"))
    assert wire.lost() is None
    assert wire.script.frames() == [ack(1)]


def test_that_pika_wanted_the_end_counts_more_than_a_failure(wire: Wire) -> None:
    wire.peer.shutdown(socket.SHUT_RD)
    wire.stream.hold()
    wire.stream.write(b"to nobody")
    wire.stream.release()
    wire.stream.abort()
    assert wire.lost() is None


def test_when_the_loop_has_ended_nobody_is_told(wire: Wire) -> None:
    wire.services.discard()
    assert wire.peer.recv(10) == b""
    assert wire.script.lost == []


def test_a_connection_that_is_given_up_before_it_is_handed_over_is_closed() -> None:
    loop = IOLoop()
    loop.activate_poller()
    ours, theirs = socket.socketpair()
    theirs.settimeout(DEADLINE_S)
    linked: list[Any] = []
    linking = Services(loop).create_streaming_connection(Script, ours, linked.append)
    assert linking.cancel()
    assert not linking.cancel(), "it was, already"
    loop.process_timeouts()
    assert linked == []
    assert theirs.recv(1) == b""
    theirs.close()
    loop.close()


# What comes.


def test_pika_sees_an_empty_body_and_the_real_one_is_beside_it(wire: Wire) -> None:
    large = random.Random(1).randbytes(200_000)
    frames = [large[:100_000], large[100_000:]]
    wire.say(
        message(1, b"abc"),
        message(2, b""),
        deliver(3) + header(len(large)) + b"".join(bytes(Body(1, f).marshal()) for f in frames),
        ack(4),
    )
    assert wire.told() == [
        (deliver(1), b""),
        (header(0), b"abc"),
        (deliver(2), b""),
        (header(0), b""),
        (deliver(3), b""),
        (header(0), large),
        (ack(4), b""),
    ]


def test_a_body_is_not_kept_when_pika_was_told_of_it(wire: Wire) -> None:
    wire.peer.sendall(message(1, b"abc"))
    wire.until(lambda: len(wire.script.told) == 2)
    assert wire.stream.body == b""


def test_that_there_is_no_more_than_there_was_room_for_is_no_failure(wire: Wire) -> None:
    first, second = bytes(Body(1, b"a" * 1000).marshal()), bytes(Body(1, b"b" * 1000).marshal())
    wire.peer.sendall(deliver(1) + header(2000) + first[:7])
    wire.until(lambda: wire.script.frames() == [deliver(1)])
    wire.peer.sendall(first[7:] + second[:7])  # all there is room for, and nothing behind it
    wire.turn()
    assert wire.heard() == b""
    wire.say(second[7:])
    assert wire.told() == [(deliver(1), b""), (header(0), b"a" * 1000 + b"b" * 1000)]


def test_a_tap_gets_deliveries_and_acks_and_pika_none_of_them(wire: Wire) -> None:
    ear = Ear()
    wire.stream.tap(1, ear)
    large = bytes(100_000)
    wire.say(message(7, b"abc"), ack(1), message(8, b""), ack(3, multiple=True), message(9, large))
    assert ear.bodies() == [(7, b"abc"), (8, b""), (9, large)]
    assert ear.acks == [(1, False), (3, True)]
    assert ear.messages[0][0].message_id == "m"
    assert wire.told() == []


def test_all_else_of_the_channel_and_all_of_others_is_for_pika(wire: Wire) -> None:
    ear = Ear()
    wire.stream.tap(1, ear)
    returned = method(1, spec.Basic.Return(312, "NO_ROUTE", "x", "key")) + header(2)
    body = bytes(Body(1, b"ab").marshal())
    nack, cancel = method(1, spec.Basic.Nack(5)), method(1, spec.Basic.Cancel("c"))
    wire.say(nack, returned, body, cancel, ack(1, channel=2), message(2, b"b", channel=2))
    assert wire.told() == [
        (nack, b""),
        (returned[: -len(header(2))], b""),
        (header(0), b"ab"),
        (cancel, b""),
        (ack(1, channel=2), b""),
        (deliver(2, channel=2), b""),
        (header(0, channel=2), b"b"),
    ]
    assert (ear.messages, ear.acks) == ([], [])


def test_an_ack_that_a_tap_does_not_want_is_for_pika(wire: Wire) -> None:
    ear = Ear()
    ear.takes_acks = False
    wire.stream.tap(1, ear)
    wire.say(ack(1))
    assert ear.acks == [(1, False)]
    assert wire.told() == [(ack(1), b"")]


def test_a_tap_that_takes_no_deliveries_still_hears_of_acks(wire: Wire) -> None:
    ear = Ear()
    ear.is_tapping = False
    wire.stream.tap(1, ear)
    wire.say(message(1, b"abc"), ack(2))
    assert ear.acks == [(2, False)]
    assert wire.told() == [(deliver(1), b""), (header(0), b"abc")]


def _stops(wire: Wire, ear: Ear) -> None:
    ear.is_tapping = False


def _leaves(wire: Wire, ear: Ear) -> None:
    wire.stream.tap(1, None)


def _does_nothing(wire: Wire, ear: Ear) -> None:
    pass


@pytest.mark.parametrize("change", [_stops, _leaves], ids=["stops", "leaves"])
@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_tap_that_goes_in_the_middle_of_a_message_leaves_all_of_it_to_pika(
    wire: Wire, change: Callable[[Wire, Ear], None], body: bytes
) -> None:
    ear = Ear()
    wire.stream.tap(1, ear)
    wire.say(deliver(1))
    assert wire.told() == []
    change(wire, ear)
    wire.say(message(1, body)[len(deliver(1)) :], message(2, b"next"))
    assert wire.told() == [
        (deliver(1), b""),
        (header(0), body),
        (deliver(2), b""),
        (header(0), b"next"),
    ]
    assert ear.messages == []


def test_a_tap_that_comes_in_the_middle_of_a_message_gets_the_next(wire: Wire) -> None:
    ear = Ear()
    wire.say(deliver(1))
    wire.stream.tap(1, ear)
    wire.say(message(1, b"abc")[len(deliver(1)) :], message(2, b"next"))
    assert wire.told() == [(deliver(1), b""), (header(0), b"abc")]
    assert ear.bodies() == [(2, b"next")]


def test_messages_of_several_channels_come_frame_by_frame_in_any_order(wire: Wire) -> None:
    first, second = Ear(), Ear()
    wire.stream.tap(1, first)
    wire.stream.tap(2, second)
    wire.say(
        deliver(1),
        deliver(2, channel=2),
        header(3),
        header(4, channel=2),
        ack(8, channel=3),
        bytes(Body(2, b"two").marshal()),
        bytes(Body(1, b"one").marshal()),
        bytes(Body(2, b"!").marshal()),
        ack(9, channel=2),
    )
    assert first.bodies() == [(1, b"one")]
    assert second.bodies() == [(2, b"two!")]
    assert second.acks == [(9, False)]
    assert wire.told() == [(ack(8, channel=3), b"")]


def test_the_channel_closes_behind_a_deliver_without_its_message(wire: Wire) -> None:
    wire.stream.tap(1, Ear())
    close = method(1, spec.Channel.Close(404, "NOT_FOUND", 60, 20))
    wire.say(deliver(1), close)
    assert wire.told() == [(deliver(1), b""), (close, b"")]


def test_pika_is_told_that_something_comes_once_a_second_at_most(wire: Wire) -> None:
    ear = Ear()
    wire.stream.tap(1, ear)

    def acks(now: float) -> int:
        """Signs of life so far, when an ack has come at this time."""
        wire.now, before = now, len(ear.acks)
        wire.peer.sendall(ack(1))
        wire.until(lambda: len(ear.acks) > before)
        return wire.script.frames().count(HEARTBEAT)

    assert [acks(now) for now in (100.5, 101.0, 101.0, 101.9, 102.0, 150.0, 150.5)] == [
        0, 1, 1, 1, 2, 3, 3,
    ]  # fmt: skip
    wire.now = 500.0
    for _ in range(3):
        wire.turn()
    assert wire.script.frames().count(HEARTBEAT) == 3, "nothing came"
