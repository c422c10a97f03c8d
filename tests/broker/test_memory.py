"""The in-process broker keeps the contract, and has hooks for simulators."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.memory import MemoryBroker, MemoryTransport
from broker.memory.routing import topic_matches
from broker.topology import Queue, Topology
from broker.transport import (
    Confirmed,
    Connected,
    Delivered,
    Disconnected,
    Doubtful,
    Event,
    Outgoing,
    Refused,
)
from tests.contracts.mailbox import Mailbox
from tests.contracts.transport_contract import (
    OWN,
    PARKED,
    STREAM,
    TASKS,
    TO_OWN,
    TOPOLOGY,
    Bench,
    Peer,
    TransportContract,
)


@dataclass
class FakeTime:
    """A clock and a schedule that go on when told to."""

    now: float = 0.0
    calls: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def schedule(self, delay_s: float, call: Callable[[], None]) -> None:
        self.calls.append((self.now + delay_s, call))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [call for at, call in self.calls if at <= self.now]
        self.calls = [(at, call) for at, call in self.calls if at > self.now]
        for call in due:
            call()


class MemoryBench(Bench):
    def __init__(self) -> None:
        self.time = FakeTime()
        self.broker = MemoryBroker(self.time.clock)

    def peer(self, name: str = "client") -> Peer:
        mailbox = Mailbox()
        return Peer(MemoryTransport(self.broker, mailbox.post, name), mailbox)

    def mute(self, peer: Peer) -> None:
        self.broker.hold_confirms()

    def cut(self, peer: Peer) -> None:
        assert isinstance(peer.transport, MemoryTransport)
        self.broker.drop(peer.transport)
        self.broker.release_confirms()

    def elapse(self, seconds: float) -> None:
        self.time.advance(seconds)
        self.broker.expire()


class TestMemoryTransport(TransportContract):
    @pytest.fixture
    def bench(self) -> MemoryBench:
        return MemoryBench()


@pytest.fixture
def bench() -> MemoryBench:
    return MemoryBench()


def test_content_survives_a_restart_of_the_broker(bench: MemoryBench) -> None:
    peer = bench.peer().connect().declare()
    peer.publish(TASKS, b"ready")
    peer.publish(STREAM, b"model")
    bench.broker.down()
    peer.mailbox.take(Disconnected)
    assert not peer.mailbox.left(Connected)
    bench.broker.up()
    peer.mailbox.take(Connected)
    peer.consume(TASKS)
    peer.consume(STREAM, offset=0)
    assert {peer.delivered().body for _ in range(2)} == {b"ready", b"model"}


def test_a_restart_counts_as_one_delivery_for_what_clients_held(bench: MemoryBench) -> None:
    peers = [bench.peer().connect() for _ in range(30)]
    peers[0].declare().publish(TASKS, b"held")
    for peer in peers:
        peer.consume(TASKS)
    bench.broker.down()
    bench.broker.up()
    assert bench.broker.ready(TASKS) == 1
    assert bench.broker.ready(PARKED) == 0


def test_clients_with_a_schedule_try_until_the_broker_is_up(bench: MemoryBench) -> None:
    mailbox = Mailbox()
    transport = MemoryTransport(
        bench.broker, mailbox.post, schedule=bench.time.schedule, retry_s=10.0
    )
    bench.broker.down()
    transport.start()
    bench.time.advance(10.0)
    bench.broker.up()
    assert not mailbox.left(Connected)
    bench.time.advance(10.0)
    assert [type(event) for event in mailbox.history] == [Disconnected, Disconnected, Connected]
    assert mailbox.take(Disconnected).retry_in_s == 10.0


def test_an_attempt_scheduled_before_going_offline_is_void(bench: MemoryBench) -> None:
    mailbox = Mailbox()
    transport = MemoryTransport(bench.broker, mailbox.post, schedule=bench.time.schedule)
    transport.start()
    bench.broker.drop(transport)
    transport.disconnect()
    bench.time.advance(100.0)
    assert len(mailbox.left(Connected)) == 1
    transport.start()
    assert len(mailbox.left(Connected)) == 2


def test_held_confirms_are_posted_when_released(bench: MemoryBench) -> None:
    peer = bench.peer().connect().declare()
    bench.broker.hold_confirms()
    tokens = [peer.transport.publish(Outgoing("", TASKS.name, b"x")) for _ in range(3)]
    assert not peer.mailbox.left(Confirmed)
    bench.broker.release_confirms()
    assert peer.mailbox.left(Confirmed) == [Confirmed(token) for token in tokens]
    assert not peer.mailbox.left(Doubtful)


def test_a_message_above_the_limit_is_refused(bench: MemoryBench) -> None:
    broker = MemoryBroker(bench.time.clock, message_bytes_max=10)
    mailbox = Mailbox()
    peer = Peer(MemoryTransport(broker, mailbox.post), mailbox).connect().declare()
    outcome = peer.outcome(peer.transport.publish(Outgoing("", TASKS.name, bytes(11))))
    assert isinstance(outcome, Refused)
    assert "11 bytes" in outcome.reason


def test_a_stream_forgets_whole_segments_above_its_limit(bench: MemoryBench) -> None:
    stream = Queue("q.short", "stream", max_bytes=40, segment_bytes=20)
    peer = bench.peer().connect().declare(Topology((), (stream,), ()))
    peer.publish(stream, *(b"%10d" % number for number in range(10)))
    peer.consume(stream, offset=0)
    assert [event.offset for event in peer.mailbox.left(Delivered)] == [6, 7, 9, 10, 12, 13]


def test_a_dead_letter_that_finds_no_room_waits_in_its_queue(bench: MemoryBench) -> None:
    parked = Queue(PARKED.name, "quorum", max_bytes=1)
    others = tuple(parked if queue == PARKED else queue for queue in TOPOLOGY.queues)
    topology = Topology(TOPOLOGY.exchanges, others, TOPOLOGY.bindings)
    peer = bench.peer().connect().declare(topology)
    peer.publish(TASKS, b"1", b"2")
    peer.consume(TASKS)
    for _ in range(2):
        peer.transport.reject(peer.delivered().tag, requeue=False)
    peer.consume(parked, prefetch=1)
    first = peer.delivered()
    assert first.body == b"1"
    peer.transport.ack(first.tag)
    assert peer.delivered().body == b"2"


def test_a_post_may_call_the_transport() -> None:
    events: list[Event] = []

    def post(event: Event) -> None:
        events.append(event)
        if isinstance(event, Connected):
            transport.declare(TOPOLOGY)
            transport.consume(TASKS, 1)
            transport.publish(Outgoing("", TASKS.name, b"x"))
        elif isinstance(event, Delivered):
            transport.ack(event.tag)

    broker = MemoryBroker(lambda: 0.0)
    transport = MemoryTransport(broker, post)
    transport.start()
    assert [type(event).__name__ for event in events] == [
        "Connected",
        "Declared",
        "Consuming",
        "Confirmed",
        "Delivered",
    ]
    assert broker.ready(TASKS) == 0


def test_many_threads_lose_nothing() -> None:
    broker = MemoryBroker()
    taker = Mailbox()
    consumer = Peer(MemoryTransport(broker, taker.post), taker).connect().declare()
    consumer.consume(TASKS, prefetch=65535)

    def publish(start: int) -> None:
        mailbox = Mailbox()
        peer = Peer(MemoryTransport(broker, mailbox.post), mailbox).connect()
        peer.publish(TASKS, *(b"%d" % number for number in range(start, start + 100)))

    threads = [threading.Thread(target=publish, args=(100 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bodies = [consumer.delivered().body for _ in range(400)]
    assert sorted(map(int, bodies)) == list(range(400))
    mine = [int(body) for body in bodies if int(body) < 100]
    assert mine == sorted(mine)


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("#", "", True),
        ("#", "a.b.c", True),
        ("a.#", "a", True),
        ("a.#.c", "a.c", True),
        ("a.#.c", "a.b.b.c", True),
        ("a.*.c", "a.c", False),
        ("*", "a", True),
        ("*", "", False),
        ("u.*.0.*", "u.run.0.w1", True),
        ("u.*.0.*", "u.run.10.w1", False),
    ],
)
def test_topic_patterns_match_by_words(pattern: str, key: str, matches: bool) -> None:
    assert topic_matches(pattern, key) is matches


STEPS = st.lists(
    st.sampled_from(["publish", "publish", "ack", "back", "drop", "restart", "consume"]),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_confirmed_message_is_acked_or_dead_lettered_or_there(steps: list[str]) -> None:
    bench = MemoryBench()
    peers = [bench.peer().connect() for _ in range(2)]
    peers[0].declare()
    published = acked = 0
    for number, step in enumerate(steps):
        peer = peers[number % 2]
        match step:
            case "publish":
                peer.publish(TASKS, b"%d" % number)
                published += 1
            case "consume":
                peer.consume(TASKS, prefetch=2)
            case "ack" if peer.mailbox.left(Delivered):
                assert isinstance(peer.transport, MemoryTransport)
                tag = peer.delivered().tag
                acked += tag in peer.transport.client.leases
                peer.transport.ack(tag)
            case "back" if peer.mailbox.left(Delivered):
                peer.transport.reject(peer.delivered().tag, requeue=True)
            case "drop":
                bench.cut(peer)
            case "restart":
                bench.broker.down()
                bench.broker.up()
            case _:
                pass
    for peer in peers:
        peer.transport.disconnect()
    assert bench.broker.ready(TASKS) + bench.broker.ready(PARKED) + acked == published


def test_what_comes_back_when_the_broker_goes_down_gives_way_to_what_came_since(
    bench: MemoryBench,
) -> None:
    peer, other = bench.peer().connect().declare().provide(OWN, TO_OWN), bench.peer().connect()
    peer.publish(OWN, b"old")
    other.consume(OWN, prefetch=1)
    peer.publish(OWN, b"new")
    bench.broker.down()
    assert bench.broker.ready(OWN) == 1
    bench.broker.up()
    peer.consume(OWN)
    assert peer.delivered().body == b"new"
