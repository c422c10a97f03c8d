"""What every transport promises, whatever broker is behind it. Each one's tests inherit this."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import pytest

from broker.errors import BrokerArgumentError
from broker.topology import DELIVERY_LIMIT, Binding, Exchange, Names, Queue, Topology
from broker.transport import (
    EXPIRES_MAX_S,
    Answered,
    AnswerTo,
    Confirmed,
    Connected,
    ConsumerLost,
    Consuming,
    Counted,
    Declared,
    Delivered,
    Disconnected,
    Doubtful,
    Event,
    Failed,
    Outgoing,
    Provided,
    Refused,
    Returned,
    Transport,
)
from tests.contracts.mailbox import DEADLINE_S, Mailbox

TASKS = Queue("q.tasks", "quorum", dead_letter_exchange="x.dead")
SINGLE = Queue("q.single", "quorum", single_active=True, dead_letter_exchange="x.dead")
SMALL = Queue("q.small", "quorum", max_bytes=1000)
LAST = Queue("q.last", "quorum", overflow="drop-head", max_bytes=1000)
PARKED = Queue("q.parked", "quorum")
STREAM = Queue("q.stream", "stream", max_bytes=100_000_000, segment_bytes=16_000_000)
OTHER = Queue("q.other", "quorum")
LATE = Queue("q.late", "quorum")  # not declared at first
OWN = Queue("q.own", "classic", overflow="drop-head", max_length=1, expires_s=3600.0)
SHORT = Queue("q.short", "classic", overflow="drop-head", max_length=1, expires_s=1.0)
TO_OWN = Binding("x.direct", OWN.name, "w.one")
SPARE = Queue("q.spare", "classic", overflow="drop-head", max_length=1, expires_s=1.0)
TO_SHORT = Binding("x.direct", SHORT.name, "w.two")
TO_SPARE = Binding("x.direct", SPARE.name, "w.three")

TOPOLOGY = Topology(
    exchanges=(
        Exchange("x.topic", "topic"),
        Exchange("x.direct", "direct"),
        Exchange("x.dead", "topic"),
    ),
    queues=(TASKS, SINGLE, SMALL, LAST, PARKED, STREAM, OTHER),
    bindings=(
        Binding("x.direct", TASKS.name, "pool"),
        Binding("x.topic", TASKS.name, "u.*.0.#"),
        Binding("x.dead", PARKED.name, "#"),
    ),
)

Outcome = Confirmed | Returned | Refused | Doubtful


class Peer:
    """A client with its mailbox, and the few steps that every test takes."""

    def __init__(self, transport: Transport, mailbox: Mailbox) -> None:
        self.transport = transport
        self.mailbox = mailbox

    def connect(self) -> Peer:
        self.transport.start()
        self.mailbox.take(Connected)
        return self

    def declare(self, topology: Topology = TOPOLOGY) -> Peer:
        self.transport.declare(topology)
        self.mailbox.take(Declared)
        return self

    def provide(self, queue: Queue, binding: Binding) -> Peer:
        self.transport.provide(queue, binding)
        assert self.mailbox.take(Provided) == Provided(queue.name)
        return self

    def outcome(self, token: int) -> Outcome:
        event = self.mailbox.take(
            object, lambda event: isinstance(event, Outcome) and event.token == token
        )
        assert isinstance(event, Outcome)
        return event

    def publish(self, queue: Queue, *bodies: bytes) -> None:
        """Publish to a queue, and see each message confirmed."""
        tokens = [self.transport.publish(Outgoing("", queue.name, body)) for body in bodies]
        for token in tokens:
            assert isinstance(self.outcome(token), Confirmed)

    def consume(self, queue: Queue, prefetch: int = 10, offset: int | None = None) -> int:
        consumer = self.transport.consume(queue, prefetch, offset)
        self.mailbox.take(Consuming, lambda event: event.consumer == consumer)
        return consumer

    def delivered(self, body: bytes | None = None) -> Delivered:
        return self.mailbox.take(Delivered, lambda event: body is None or event.body == body)

    def count(self, queue: Queue) -> int | None:
        self.transport.count(queue)
        return self.mailbox.take(Counted, lambda event: event.queue == queue.name).ready

    def answer(self, token: int) -> bytes:
        return bytes(self.mailbox.take(Answered, lambda event: event.token == token).body)

    def settled(self) -> None:
        """See that the broker has worked through all that this client has said so far."""
        self.publish(OTHER, b"settled")
        consumer = self.consume(OTHER)
        delivered = self.mailbox.take(Delivered, lambda event: event.consumer == consumer)
        self.transport.cancel(consumer)
        self.transport.ack(delivered.tag)


class Bench(ABC):
    """A broker with its clients, as one transport's tests set it up."""

    user = "guest"

    @abstractmethod
    def peer(self, name: str = "client") -> Peer:
        """A client that is not started."""

    @abstractmethod
    def mute(self, peer: Peer) -> None:
        """From here on the broker's answers to this client's publishes do not reach it."""

    @abstractmethod
    def cut(self, peer: Peer) -> None:
        """Cut the client's connection, as a network does; the client connects again by itself."""

    @abstractmethod
    def elapse(self, seconds: float) -> None:
        """Let time pass at the broker, or know that it passes."""

    def until(self, holds: Callable[[], bool]) -> None:
        """Look until something holds, which time alone brings about."""
        until = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < until, "it does not hold in time"


class TransportContract:
    """The suite. A subclass overrides `bench`."""

    @pytest.fixture
    def bench(self) -> Bench:
        raise NotImplementedError

    @pytest.fixture
    def peer(self, bench: Bench) -> Peer:
        return bench.peer("one").connect().declare()

    @pytest.fixture
    def other(self, bench: Bench, peer: Peer) -> Peer:
        return bench.peer("two").connect()

    # The topology.

    def test_declaring_twice_changes_nothing(self, peer: Peer) -> None:
        peer.publish(TASKS, b"kept")
        peer.declare()
        peer.consume(TASKS)
        assert peer.delivered().body == b"kept"

    def test_the_topology_of_a_federation_is_accepted(self, peer: Peer) -> None:
        names = Names("contract")
        model = names.model_queue("run", 10_000_000)
        peer.declare(names.topology).declare(Topology((), (model,), ()))

    def test_another_queue_of_the_same_name_fails_for_good(self, peer: Peer) -> None:
        peer.transport.declare(Topology((), (Queue(TASKS.name, "quorum", single_active=True),), ()))
        assert TASKS.name in peer.mailbox.take(Failed).reason
        assert isinstance(peer.outcome(peer.transport.publish(Outgoing("", "q", b""))), Doubtful)
        peer.connect()

    def test_another_exchange_of_the_same_name_fails_for_good(self, peer: Peer) -> None:
        peer.transport.declare(Topology((Exchange("x.topic", "direct"),), (), ()))
        assert "x.topic" in peer.mailbox.take(Failed).reason

    def test_a_binding_to_nothing_fails_for_good(self, peer: Peer) -> None:
        peer.transport.declare(Topology((), (), (Binding("x.topic", "q.none", "#"),)))
        assert "q.none" in peer.mailbox.take(Failed).reason

    # A queue for one worker.

    def test_a_queue_is_provided_on_demand_and_bound(self, peer: Peer, other: Peer) -> None:
        task = Outgoing("x.direct", "w.one", b"task")
        missing = other.transport.consume(OWN, 1)
        lost = other.mailbox.take(ConsumerLost)
        assert (lost.consumer, lost.missing) == (missing, True)
        assert isinstance(peer.outcome(peer.transport.publish(task)), Returned)
        peer.provide(OWN, TO_OWN).provide(OWN, TO_OWN)
        assert isinstance(peer.outcome(peer.transport.publish(task)), Confirmed)
        other.consume(OWN, prefetch=1)
        assert other.delivered().body == b"task"

    def test_a_queue_that_cannot_be_provided_fails_nobody_else(self, peer: Peer) -> None:
        consumer = peer.consume(TASKS)
        peer.transport.provide(Queue(OTHER.name, "classic", max_length=1, expires_s=9.0), TO_OWN)
        provided = peer.mailbox.take(Provided)
        assert provided.queue == OTHER.name
        assert OTHER.name in provided.problem
        peer.transport.provide(OWN, Binding("x.none", OWN.name, "w.one"))
        assert "x.none" in peer.mailbox.take(Provided).problem
        peer.provide(OWN, TO_OWN).publish(TASKS, b"x")
        assert peer.delivered().consumer == consumer
        assert not peer.mailbox.left(Disconnected)

    def test_providing_while_offline_is_not_done_later(self, peer: Peer) -> None:
        peer.transport.disconnect()
        peer.transport.provide(OWN, TO_OWN)
        peer.connect()
        assert peer.count(OWN) is None
        assert not peer.mailbox.left(Provided)

    def test_only_the_newest_message_waits_in_a_queue_of_one(self, peer: Peer) -> None:
        peer.provide(OWN, TO_OWN).publish(OWN, b"1", b"2", b"3")
        assert peer.count(OWN) == 1
        peer.consume(OWN)
        assert peer.delivered().body == b"3"
        peer.settled()
        assert not peer.mailbox.left(Delivered)
        assert peer.count(PARKED) == 0

    def test_what_is_given_back_to_a_queue_of_one_gives_way_to_what_came_since(
        self, bench: Bench, peer: Peer, other: Peer
    ) -> None:
        peer.provide(OWN, TO_OWN).publish(OWN, b"old")
        consumer = other.consume(OWN, prefetch=1)
        held = other.delivered()
        assert held.body == b"old"
        peer.publish(OWN, b"new")
        # Not by a lost connection: when the broker notices that is its own affair.
        other.transport.cancel(consumer)
        other.transport.reject(held.tag, requeue=True)
        other.settled()
        other.consume(OWN, prefetch=2)
        assert other.delivered().body == b"new"
        other.settled()
        assert not other.mailbox.left(Delivered)

    def test_what_was_not_fetched_from_a_queue_of_one_comes_again(
        self, bench: Bench, peer: Peer, other: Peer
    ) -> None:
        peer.provide(OWN, TO_OWN).publish(OWN, b"task")
        for _ in range(DELIVERY_LIMIT + 2):  # there is no such limit, and nothing is dead-lettered
            other.consume(OWN, prefetch=1)
            held = other.delivered()
            assert held.body == b"task"
            other.transport.disconnect()
            other.mailbox.take(Disconnected)
            other.connect()

    def test_an_expired_message_leaves_a_queue_of_one_without_a_word(
        self, bench: Bench, peer: Peer
    ) -> None:
        peer.provide(OWN, TO_OWN)
        token = peer.transport.publish(Outgoing("", OWN.name, b"old", expires_s=0.2))
        assert isinstance(peer.outcome(token), Confirmed)
        bench.elapse(0.3)
        bench.until(lambda: peer.count(OWN) == 0)
        assert peer.count(PARKED) == 0

    def test_a_queue_that_nobody_uses_is_deleted(self, bench: Bench, peer: Peer) -> None:
        peer.provide(SHORT, TO_SHORT)
        task = Outgoing("x.direct", "w.two", b"task")

        def comes_back() -> bool:  # publishing does not keep it
            return isinstance(peer.outcome(peer.transport.publish(task)), Returned)

        assert not comes_back()
        bench.elapse(1.1)
        bench.until(comes_back)
        peer.provide(SHORT, TO_SHORT)
        assert not comes_back()

    def test_a_queue_that_is_consumed_is_kept(self, bench: Bench, peer: Peer, other: Peer) -> None:
        peer.provide(SHORT, TO_SHORT).provide(OWN, TO_OWN)
        consumer = other.consume(SHORT)
        for _ in range(2):  # another one of the kind goes meanwhile, which shows the time
            peer.provide(SPARE, TO_SPARE)
            bench.elapse(1.1)
            spare = Outgoing("x.direct", TO_SPARE.key, b"x")
            bench.until(
                lambda message=spare: isinstance(  # type: ignore[misc]
                    peer.outcome(peer.transport.publish(message)), Returned
                )
            )
        peer.publish(SHORT, b"task")
        assert other.delivered().consumer == consumer

    # Publishing.

    def test_a_message_reaches_the_queues_bound_for_its_key(self, peer: Peer) -> None:
        consumer = peer.consume(TASKS)
        for exchange, key in (("x.direct", "pool"), ("x.topic", "u.run.0.w1"), ("", TASKS.name)):
            token = peer.transport.publish(Outgoing(exchange, key, key.encode(), "id-" + key))
            assert isinstance(peer.outcome(token), Confirmed)
            delivered = peer.delivered()
            assert delivered.body == key.encode()
            assert delivered.message_id == "id-" + key
            assert delivered.routing_key == key
            assert delivered.consumer == consumer
            assert delivered.offset == -1
            assert delivered.answer_to is None
            assert delivered.death == ""
            assert not delivered.redelivered

    def test_a_delivery_names_the_user_who_published(self, bench: Bench, peer: Peer) -> None:
        peer.publish(TASKS, b"x")
        peer.consume(TASKS)
        assert peer.delivered().user_id == bench.user

    def test_bodies_of_any_size_arrive_whole(self, peer: Peer) -> None:
        bodies = [b"", b"\0", bytes(range(256)) * 1024, b"\xce" * 4 * 1024 * 1024]
        peer.consume(TASKS)
        peer.publish(TASKS, *bodies)
        assert [peer.delivered().body for _ in bodies] == bodies

    def test_messages_come_in_the_order_published(self, peer: Peer) -> None:
        bodies = [b"%d" % number for number in range(200)]
        peer.publish(TASKS, *bodies)
        peer.consume(TASKS, prefetch=200)
        assert [peer.delivered().body for _ in bodies] == bodies

    @pytest.mark.parametrize(
        ("exchange", "key"),
        [("x.direct", "nobody"), ("x.topic", "u.run.1.w1"), ("", "q.none")],
    )
    def test_what_no_queue_takes_comes_back(self, peer: Peer, exchange: str, key: str) -> None:
        outcome = peer.outcome(peer.transport.publish(Outgoing(exchange, key, b"lost")))
        assert isinstance(outcome, Returned)
        assert outcome.reason

    def test_what_goes_to_no_exchange_comes_back_and_ends_no_other_work(self, peer: Peer) -> None:
        consumer = peer.consume(TASKS)
        peer.publish(TASKS, b"held")
        held = peer.delivered()
        outcome = peer.outcome(peer.transport.publish(Outgoing("x.none", "key", b"lost")))
        assert isinstance(outcome, Returned)
        assert "x.none" in outcome.reason
        peer.transport.ack(held.tag)
        peer.publish(TASKS, b"next")
        assert peer.delivered().consumer == consumer
        assert not peer.mailbox.left(Disconnected)

    def test_every_publish_among_good_and_bad_ones_ends_in_one_outcome(self, peer: Peer) -> None:
        places = [("", TASKS.name), ("x.none", "k"), ("x.direct", "pool"), ("x.direct", "nobody")]
        tokens = [
            peer.transport.publish(Outgoing(*places[number % 4], b"x")) for number in range(100)
        ]
        outcomes = [peer.outcome(token) for token in tokens]
        for number, outcome in enumerate(outcomes):
            assert isinstance(outcome, Confirmed if number % 2 == 0 else Returned)
        peer.settled()
        assert not [event for event in peer.mailbox.left(object) if isinstance(event, Outcome)]
        assert sorted(tokens) == tokens

    def test_a_full_queue_refuses(self, peer: Peer) -> None:
        def fill() -> Outcome:
            return peer.outcome(peer.transport.publish(Outgoing("", SMALL.name, bytes(300))))

        outcomes = [fill() for _ in range(50)]
        assert isinstance(outcomes[0], Confirmed)
        assert isinstance(outcomes[-1], Refused)
        kept = [outcome for outcome in outcomes if isinstance(outcome, Confirmed)]
        peer.consume(SMALL, prefetch=50)
        for _ in kept:
            peer.transport.ack(peer.delivered().tag)
        peer.settled()
        assert isinstance(fill(), Confirmed)
        peer.delivered()
        assert not peer.mailbox.left(Delivered)

    def test_a_full_queue_of_the_newest_drops_the_oldest(self, peer: Peer) -> None:
        bodies = [b"%300d" % number for number in range(10)]
        peer.publish(LAST, *bodies)
        peer.consume(LAST)
        assert [peer.delivered().body for _ in range(3)] == bodies[-3:]
        peer.settled()
        assert not peer.mailbox.left(Delivered)

    def test_an_expired_message_is_dead_lettered(self, bench: Bench, peer: Peer) -> None:
        token = peer.transport.publish(Outgoing("", TASKS.name, b"old", expires_s=0.2))
        assert isinstance(peer.outcome(token), Confirmed)
        peer.consume(PARKED)
        bench.elapse(0.3)
        delivered = peer.delivered()
        assert (delivered.body, delivered.death) == (b"old", "expired")

    def test_a_message_may_wait_for_as_long_as_is_said(self, peer: Peer) -> None:
        message = Outgoing("", TASKS.name, b"patient", expires_s=EXPIRES_MAX_S)
        assert isinstance(peer.outcome(peer.transport.publish(message)), Confirmed)
        peer.consume(TASKS)
        assert peer.delivered().body == b"patient"

    # Connections.

    def test_publishing_while_offline_is_doubtful_at_once(self, bench: Bench) -> None:
        peer = bench.peer()
        tokens = [peer.transport.publish(Outgoing("", TASKS.name, b"x")) for _ in range(3)]
        assert [peer.outcome(token) for token in tokens] == [Doubtful(token) for token in tokens]

    def test_what_is_unanswered_when_the_connection_is_cut_is_doubtful(
        self, bench: Bench, peer: Peer
    ) -> None:
        bench.mute(peer)
        tokens = [peer.transport.publish(Outgoing("", TASKS.name, b"x")) for _ in range(5)]
        bench.cut(peer)
        for token in tokens:
            assert peer.outcome(token) == Doubtful(token)
        kinds = [type(event) for event in peer.mailbox.history]
        assert kinds.index(Disconnected) < kinds.index(Doubtful)
        peer.mailbox.take(Connected)
        peer.publish(TASKS, b"again")

    def test_a_cut_connection_is_made_again(self, bench: Bench, peer: Peer) -> None:
        for _ in range(3):
            bench.cut(peer)
            peer.mailbox.take(Disconnected)
            peer.mailbox.take(Connected)
            peer.publish(TASKS, b"x")
        sessions = [event.session for event in peer.mailbox.history if isinstance(event, Connected)]
        assert all(later > earlier for earlier, later in pairwise(sessions))

    def test_going_offline_is_at_once_and_lasts_until_started(self, peer: Peer) -> None:
        peer.transport.disconnect()
        assert peer.mailbox.take(Disconnected).retry_in_s == 0.0
        assert isinstance(peer.outcome(peer.transport.publish(Outgoing("", "q", b""))), Doubtful)
        peer.connect().publish(TASKS, b"x")

    def test_work_asked_for_while_offline_is_not_done_later(self, peer: Peer) -> None:
        peer.publish(TASKS, b"kept")
        peer.transport.disconnect()
        consumer = peer.transport.consume(TASKS, 1)
        peer.transport.count(TASKS)
        peer.transport.purge(TASKS)
        peer.transport.delete(TASKS)
        peer.transport.declare(TOPOLOGY)
        peer.transport.cancel(consumer)
        peer.transport.ack(1)
        peer.transport.reject(1, requeue=True)
        peer.transport.answer(AnswerTo("nowhere", "1"), b"")
        peer.connect().consume(TASKS)
        assert peer.delivered().body == b"kept"
        assert not peer.mailbox.left(Declared)
        assert not peer.mailbox.left(Counted)
        assert not peer.mailbox.left(ConsumerLost)

    def test_a_stopped_transport_posts_nothing(self, peer: Peer) -> None:
        peer.transport.stop()
        posted = len(peer.mailbox.history)
        assert isinstance(peer.mailbox.history[-1], Disconnected)
        peer.transport.publish(Outgoing("", TASKS.name, b"x"))
        peer.transport.start()
        peer.transport.stop()
        assert len(peer.mailbox.history) == posted

    def test_starting_twice_connects_once(self, peer: Peer) -> None:
        peer.transport.start()
        peer.settled()
        assert not peer.mailbox.left(Connected)

    # Settling.

    def test_what_is_acked_is_forgotten(self, bench: Bench, peer: Peer) -> None:
        peer.publish(TASKS, b"1", b"2")
        peer.consume(TASKS)
        peer.transport.ack(peer.delivered(b"1").tag)
        peer.delivered(b"2")
        peer.transport.disconnect()
        peer.connect().consume(TASKS)
        again = peer.delivered()
        assert (again.body, again.redelivered) == (b"2", True)
        peer.settled()
        assert not peer.mailbox.left(Delivered)

    @pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 0], [5, 1, 3], [0, 1, 4, 5], [2, 0, 1]])
    def test_of_many_acked_at_once_just_those_are_forgotten(
        self, peer: Peer, order: list[int]
    ) -> None:
        bodies = [str(number).encode() for number in range(6)]
        peer.publish(TASKS, *bodies)
        peer.consume(TASKS, prefetch=6)
        tags = [peer.delivered(body).tag for body in bodies]
        for place in order:
            peer.transport.ack(tags[place])
        peer.transport.disconnect()
        peer.connect().consume(TASKS, prefetch=6)
        kept = [body for place, body in enumerate(bodies) if place not in order]
        assert sorted(bytes(peer.delivered().body) for _ in kept) == kept
        peer.settled()
        assert not peer.mailbox.left(Delivered)

    def test_what_is_acked_beside_what_is_given_back_is_forgotten(self, peer: Peer) -> None:
        bodies = [str(number).encode() for number in range(4)]
        peer.publish(TASKS, *bodies)
        peer.consume(TASKS, prefetch=4)
        tags = [peer.delivered(body).tag for body in bodies]
        peer.transport.ack(tags[0])
        peer.transport.reject(tags[1], requeue=True)
        peer.transport.ack(tags[2])
        assert peer.delivered().body == bodies[1]
        peer.transport.disconnect()
        peer.connect().consume(TASKS, prefetch=4)
        assert sorted(bytes(peer.delivered().body) for _ in range(2)) == [bodies[1], bodies[3]]
        peer.settled()
        assert not peer.mailbox.left(Delivered)

    def test_what_was_acked_just_before_going_offline_is_forgotten(self, peer: Peer) -> None:
        peer.publish(TASKS, b"1")
        peer.consume(TASKS)
        peer.transport.ack(peer.delivered().tag)
        peer.transport.disconnect()
        peer.connect().consume(TASKS)
        peer.settled()
        assert not peer.mailbox.left(Delivered)

    def test_what_a_lost_client_held_goes_to_another_in_its_old_place(
        self, bench: Bench, peer: Peer, other: Peer
    ) -> None:
        peer.publish(TASKS, b"1", b"2", b"3")
        peer.consume(TASKS, prefetch=2)
        for body in (b"1", b"2"):
            assert peer.delivered().body == body
        peer.transport.disconnect()
        peer.mailbox.take(Disconnected)
        other.consume(TASKS, prefetch=1)
        found = []
        for _ in range(3):
            delivered = other.delivered()
            found.append((delivered.body, delivered.redelivered))
            other.transport.ack(delivered.tag)
        assert sorted(found) == [(b"1", True), (b"2", True), (b"3", False)]

    def test_settling_what_is_void_or_settled_does_nothing(self, bench: Bench, peer: Peer) -> None:
        peer.publish(TASKS, b"1")
        peer.consume(TASKS)
        void = peer.delivered()
        bench.cut(peer)
        peer.mailbox.take(Connected)
        peer.transport.ack(void.tag)
        peer.transport.reject(void.tag, requeue=False)
        peer.consume(TASKS)
        again = peer.delivered()
        assert again.redelivered
        assert again.tag != void.tag
        peer.transport.ack(again.tag)
        peer.transport.ack(again.tag)
        peer.transport.ack(10**9)
        peer.publish(TASKS, b"2")
        assert peer.delivered().body == b"2"
        assert len(peer.mailbox.left(Disconnected)) == 1

    def test_what_is_given_back_comes_again(self, peer: Peer) -> None:
        peer.publish(TASKS, b"1")
        peer.consume(TASKS)
        peer.transport.reject(peer.delivered().tag, requeue=True)
        assert peer.delivered().redelivered

    def test_what_is_rejected_is_dead_lettered_with_its_reason(self, peer: Peer) -> None:
        token = peer.transport.publish(Outgoing("x.topic", "u.run.0.w1", b"bad", "the-id"))
        assert isinstance(peer.outcome(token), Confirmed)
        peer.consume(TASKS)
        peer.transport.reject(peer.delivered().tag, requeue=False)
        consumer = peer.consume(PARKED)
        dead = peer.delivered()
        assert dead.consumer == consumer
        assert (dead.body, dead.message_id, dead.death) == (b"bad", "the-id", "rejected")
        assert dead.routing_key == "u.run.0.w1"

    def test_what_is_given_back_too_often_is_dead_lettered(self, peer: Peer) -> None:
        peer.publish(TASKS, b"poison")
        peer.consume(TASKS)
        for _ in range(DELIVERY_LIMIT + 1):
            peer.transport.reject(peer.delivered().tag, requeue=True)
        peer.consume(PARKED)
        dead = peer.delivered()
        assert (dead.body, dead.death) == (b"poison", "delivery_limit")
        assert not peer.mailbox.left(Delivered)

    # Consuming.

    def test_a_consumer_holds_no_more_than_its_prefetch(self, peer: Peer) -> None:
        bodies = [b"%d" % number for number in range(10)]
        peer.publish(TASKS, *bodies)
        peer.consume(TASKS, prefetch=3)
        held = [peer.delivered() for _ in range(3)]
        peer.settled()
        assert not peer.mailbox.left(Delivered)
        peer.transport.ack(held[0].tag)
        assert peer.delivered().body == bodies[3]
        peer.settled()
        assert not peer.mailbox.left(Delivered)

    def test_consumers_take_turns(self, peer: Peer, other: Peer) -> None:
        peer.consume(TASKS)
        other.consume(TASKS)
        peer.publish(TASKS, *(b"%d" % number for number in range(10)))
        mine = [peer.delivered() for _ in range(5)]
        theirs = [other.delivered() for _ in range(5)]
        assert len({delivered.body for delivered in mine + theirs}) == 10

    def test_one_single_active_consumer_is_served_and_another_takes_over(
        self, bench: Bench, peer: Peer, other: Peer
    ) -> None:
        peer.consume(SINGLE, prefetch=2)
        other.consume(SINGLE, prefetch=2)
        peer.publish(SINGLE, b"1", b"2", b"3")
        assert [peer.delivered().body for _ in range(2)] == [b"1", b"2"]
        other.settled()
        assert not other.mailbox.left(Delivered)
        bench.cut(peer)
        # RabbitMQ may serve the next one before it gives back what the other held.
        first, second = other.delivered(), other.delivered()
        other.transport.ack(first.tag)
        third = other.delivered()
        came = {bytes(each.body): each.redelivered for each in (first, second, third)}
        assert came == {b"1": True, b"2": True, b"3": False}

    def test_who_takes_one_after_another_takes_none_beyond(self, peer: Peer, other: Peer) -> None:
        peer.publish(TASKS, *(b"%d" % number for number in range(6)))
        for number in range(4):
            consumer = peer.consume(TASKS, prefetch=1)
            delivered = peer.delivered()
            assert (delivered.consumer, delivered.body) == (consumer, b"%d" % number)
            assert not delivered.redelivered
            peer.transport.cancel(consumer)
            peer.transport.ack(delivered.tag)
        peer.settled()
        assert not peer.mailbox.left(Delivered)
        other.consume(TASKS)
        left = [other.delivered(), other.delivered()]
        assert [(d.body, d.redelivered) for d in left] == [(b"4", False), (b"5", False)]

    def test_what_a_cancelled_consumer_holds_can_still_be_settled(self, peer: Peer) -> None:
        peer.publish(TASKS, b"1", b"2")
        consumer = peer.consume(TASKS, prefetch=1)
        held = peer.delivered()
        peer.transport.cancel(consumer)
        peer.transport.ack(held.tag)
        peer.settled()
        assert not peer.mailbox.left(Delivered)
        peer.consume(TASKS)
        delivered = peer.delivered()
        assert (delivered.body, delivered.redelivered) == (b"2", False)
        peer.transport.ack(delivered.tag)
        peer.settled()
        assert not peer.mailbox.left(Delivered)

    def test_consuming_again_takes_the_place_of_the_first(self, peer: Peer) -> None:
        peer.publish(TASKS, b"x")
        first = peer.consume(TASKS)
        held = peer.delivered()
        assert held.consumer == first
        second = peer.consume(TASKS)
        again = peer.delivered()
        assert (again.consumer, again.redelivered) == (second, True)
        peer.transport.ack(held.tag)
        peer.transport.cancel(first)
        peer.transport.ack(again.tag)
        peer.publish(TASKS, b"y")
        assert peer.delivered().consumer == second

    def test_consuming_a_missing_queue_works_once_it_is_declared(self, peer: Peer) -> None:
        missing = peer.transport.consume(LATE, 1)
        lost = peer.mailbox.take(ConsumerLost)
        assert (lost.consumer, lost.missing) == (missing, True)
        assert LATE.name in lost.reason
        peer.declare(Topology((), (LATE,), ())).consume(LATE)
        peer.publish(LATE, b"x")
        assert peer.delivered().body == b"x"

    def test_bad_arguments_are_the_callers_fault(self, peer: Peer) -> None:
        for prefetch in (0, -1, 65536):
            with pytest.raises(BrokerArgumentError, match="prefetch"):
                peer.transport.consume(TASKS, prefetch)
        with pytest.raises(BrokerArgumentError, match="offset"):
            peer.transport.consume(TASKS, 1, offset=0)
        with pytest.raises(BrokerArgumentError, match="offset"):
            peer.transport.consume(STREAM, 1, offset=-1)
        with pytest.raises(BrokerArgumentError, match="purged"):
            peer.transport.purge(STREAM)

    def test_a_purged_queue_keeps_what_is_held(self, peer: Peer) -> None:
        peer.publish(TASKS, b"1", b"2", b"3")
        consumer = peer.consume(TASKS, prefetch=1)
        held = peer.delivered()
        peer.transport.purge(TASKS)
        peer.declare()
        peer.transport.cancel(consumer)
        peer.transport.reject(held.tag, requeue=True)
        peer.consume(TASKS)
        assert peer.delivered().body == b"1"
        peer.settled()
        assert not peer.mailbox.left(Delivered)

    def test_deleting_a_queue_ends_its_consumers(self, peer: Peer, other: Peer) -> None:
        consumer = other.consume(TASKS)
        peer.transport.delete(TASKS)
        lost = other.mailbox.take(ConsumerLost)
        assert (lost.consumer, lost.missing) == (consumer, True)
        peer.settled()
        outcome = peer.outcome(peer.transport.publish(Outgoing("", TASKS.name, b"x")))
        assert isinstance(outcome, Returned)
        other.declare().consume(TASKS)
        peer.publish(TASKS, b"y")
        assert other.delivered().body == b"y"

    def test_deleting_or_purging_what_is_not_there_does_nothing(self, peer: Peer) -> None:
        nothing = Queue("q.none", "quorum")
        peer.transport.delete(nothing)
        peer.transport.purge(nothing)
        peer.declare()
        peer.publish(TASKS, b"x")
        assert not peer.mailbox.left(Disconnected)

    # Streams.

    def test_a_stream_is_read_by_many_from_any_offset(self, bench: Bench, peer: Peer) -> None:
        bodies = [b"%d" % number for number in range(6)]
        peer.publish(STREAM, *bodies)
        for offset in (0, 0, 4):
            reader = bench.peer("reader").connect()
            consumer = reader.consume(STREAM, prefetch=2, offset=offset)
            for expected in range(offset, 6):
                delivered = reader.delivered()
                assert (delivered.body, delivered.offset) == (bodies[expected], expected)
                assert delivered.consumer == consumer
                reader.transport.ack(delivered.tag)

    def test_offsets_go_up_and_may_skip_where_a_segment_begins(self, peer: Peer) -> None:
        stream = Queue("q.segments", "stream", max_bytes=100_000_000, segment_bytes=1_000_000)
        peer.declare(Topology((), (stream,), ()))
        bodies = [bytes([number]) * 400_000 for number in range(12)]
        for body in bodies:
            peer.publish(stream, body)
        peer.consume(stream, prefetch=12, offset=0)
        came = [peer.delivered() for _ in bodies]
        assert [delivered.body for delivered in came] == bodies
        offsets = [delivered.offset for delivered in came]
        assert offsets == sorted(set(offsets))
        assert len(bodies) <= offsets[-1] < 2 * len(bodies), "it is of what is built on"

    def test_a_stream_is_read_on_as_it_grows(self, peer: Peer) -> None:
        peer.publish(STREAM, b"old")
        peer.consume(STREAM)
        peer.publish(STREAM, b"new")
        delivered = peer.delivered()
        assert (delivered.body, delivered.offset) == (b"new", 1)

    def test_an_offset_past_the_end_is_waited_for(self, peer: Peer) -> None:
        peer.publish(STREAM, b"0")
        peer.consume(STREAM, offset=3)
        peer.publish(STREAM, *(b"%d" % number for number in range(1, 5)))
        assert [peer.delivered().offset for _ in range(2)] == [3, 4]
        assert not peer.mailbox.left(Delivered)

    def test_a_reader_that_gives_back_goes_on_reading(self, peer: Peer) -> None:
        peer.publish(STREAM, b"0", b"1", b"2")
        peer.consume(STREAM, prefetch=1, offset=0)
        for offset in range(3):
            delivered = peer.delivered()
            assert delivered.offset == offset
            peer.transport.reject(delivered.tag, requeue=offset == 0)

    def test_a_cancelled_reader_ends_and_another_begins(self, peer: Peer) -> None:
        peer.publish(STREAM, *(b"%d" % number for number in range(20)))
        for _ in range(3):
            consumer = peer.consume(STREAM, prefetch=5, offset=0)
            first = peer.delivered()
            peer.transport.cancel(consumer)
            peer.transport.ack(first.tag)
            assert first.offset == 0
            while peer.mailbox.left(Delivered):
                peer.delivered()
        peer.publish(TASKS, b"x")
        assert not peer.mailbox.left(Disconnected)

    def test_reading_a_missing_stream_is_told(self, peer: Peer) -> None:
        missing = peer.transport.consume(Queue("q.nostream", "stream"), 1, offset=0)
        lost = peer.mailbox.take(ConsumerLost)
        assert (lost.consumer, lost.missing) == (missing, True)
        assert not peer.mailbox.left(Disconnected)

    def test_deleting_a_stream_ends_its_readers(self, peer: Peer, other: Peer) -> None:
        consumer = other.consume(STREAM, offset=0)
        peer.transport.delete(STREAM)
        lost = other.mailbox.take(ConsumerLost)
        assert (lost.consumer, lost.missing) == (consumer, True)

    # Counting, and looking without taking.

    def test_what_waits_is_counted_and_what_is_held_is_not(self, peer: Peer) -> None:
        peer.publish(TASKS, b"1", b"2", b"3")
        peer.consume(TASKS, prefetch=1)
        peer.delivered()
        assert peer.count(TASKS) == 2
        assert peer.count(PARKED) == 0

    def test_a_queue_that_is_not_there_is_told_apart_from_an_empty_one(self, peer: Peer) -> None:
        assert peer.count(LATE) is None
        assert peer.count(TASKS) == 0
        assert not peer.mailbox.left(Disconnected)

    def test_a_count_sees_what_was_purged_before_it(self, peer: Peer) -> None:
        peer.publish(TASKS, b"1", b"2")
        peer.transport.purge(TASKS)
        assert peer.count(TASKS) == 0

    def test_a_stream_cannot_be_counted(self, peer: Peer) -> None:
        with pytest.raises(BrokerArgumentError, match=STREAM.name):
            peer.transport.count(STREAM)

    # Questions and answers.

    def test_a_question_may_have_several_answers(self, peer: Peer, other: Peer) -> None:
        other.consume(TASKS)
        token = peer.transport.publish(Outgoing("", TASKS.name, b"?", answerable=True))
        assert isinstance(peer.outcome(token), Confirmed)
        question = other.delivered()
        assert question.answer_to is not None
        other.transport.answer(question.answer_to, b"first")
        other.transport.answer(question.answer_to, b"second")
        answers = [peer.mailbox.take(Answered) for _ in range(2)]
        assert answers == [Answered(token, b"first"), Answered(token, b"second")]

    def test_answers_find_their_questions(self, peer: Peer, other: Peer) -> None:
        other.consume(TASKS)
        bodies = [b"%d" % number for number in range(5)]
        asked = {
            body: peer.transport.publish(Outgoing("", TASKS.name, body, answerable=True))
            for body in bodies
        }
        for question in reversed([other.delivered() for _ in bodies]):
            assert question.answer_to is not None
            other.transport.answer(question.answer_to, bytes(question.body))
        for body, token in asked.items():
            assert peer.answer(token) == body

    def test_an_answer_to_who_has_gone_is_dropped(self, peer: Peer, other: Peer) -> None:
        other.consume(TASKS)
        peer.transport.publish(Outgoing("", TASKS.name, b"?", answerable=True))
        question = other.delivered()
        assert question.answer_to is not None
        peer.transport.disconnect()
        peer.connect()
        other.transport.answer(question.answer_to, b"too late")
        other.settled()
        peer.settled()
        assert not peer.mailbox.left(Answered)
        assert not other.mailbox.left(Disconnected)

    # Order.

    def test_events_come_in_the_order_in_which_things_happen(self, peer: Peer) -> None:
        consumer = peer.consume(TASKS)
        token = peer.transport.publish(Outgoing("", TASKS.name, b"x"))
        peer.outcome(token)
        peer.delivered()
        peer.transport.disconnect()
        peer.mailbox.take(Disconnected)
        history: list[Event] = peer.mailbox.history
        kinds = [type(event) for event in history]
        assert kinds[:2] == [Connected, Declared]
        assert history[2] == Consuming(consumer)
        assert set(kinds[3:5]) == {Confirmed, Delivered}
        assert kinds[5] is Disconnected
