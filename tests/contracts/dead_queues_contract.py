"""What looking at dead letters promises, over any transport. Each one's tests inherit this."""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from broker import topology
from broker.topology import DELIVERY_LIMIT, Names, Queue
from broker.transport import (
    Confirmed,
    Connected,
    Counted,
    Declared,
    Delivered,
    Event,
    Outgoing,
    Post,
    Transport,
)
from coordinator.deadqueues import DeadQueues
from coordinator.errors import BrokerAway
from coordinator.looking import AHEAD, Drop, Fate, Keep, Send

LOOKS = DELIVERY_LIMIT + 10
KEY = "u.run.0.w1"


class DeadBroker(ABC):
    """A broker with a federation's queues."""

    def __init__(self, names: Names) -> None:
        self.names = names

    @abstractmethod
    def open(self, post: Post) -> Transport:
        """A transport that is not started."""

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client like any other."""
        client = Client(self)
        try:
            yield client
        finally:
            client.transport.stop()

    def fill(self, *bodies: bytes, key: str = KEY) -> None:
        """Put copies into the people's queue, as the coordinator does."""
        with self.client() as client:
            client.transport.declare(self.names.topology)
            client.wait(Declared)
            for body in bodies:
                client.publish(self.names.refused_exchange, key, body, "id of " + body.hex()[:32])

    def content(self, where: Queue) -> list[Delivered]:
        """What is in a queue, taken out of it."""
        with self.client() as client:
            client.transport.count(where)
            client.transport.consume(where, 1000)
            return client.take_all()

    def bodies(self) -> list[bytes]:
        """The bodies in the people's queue, which it takes out."""
        return [bytes(delivered.body) for delivered in self.content(self.names.refused_queue)]

    @contextmanager
    def looking(self, silence_s: float = 30.0) -> Iterator[DeadQueues]:
        """A connection that looks."""
        with DeadQueues(self.open, self.names, silence_s=silence_s) as queues:
            yield queues


@dataclass
class Client:
    """A client that waits for what it asked for."""

    broker: DeadBroker
    mailbox: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.transport = self.broker.open(self.mailbox.put)
        self.transport.start()
        self.wait(Connected)

    def wait(self, kind: type[Event]) -> Event:
        while True:
            event = self.mailbox.get(timeout=30)
            if isinstance(event, kind):
                return event

    def publish(self, exchange: str, key: str, body: bytes, message_id: str = "") -> None:
        self.transport.publish(Outgoing(exchange, key, body, message_id))
        self.wait(Confirmed)

    def take_all(self) -> list[Delivered]:
        """What is delivered until nothing more comes; acked."""
        taken: list[Delivered] = []
        try:
            while True:
                event = self.mailbox.get(timeout=0.5)
                if isinstance(event, Delivered):
                    taken.append(event)
                    self.transport.ack(event.tag)
        except queue.Empty:
            return taken


def keep(_: Delivered) -> Fate:
    return Keep()


def collect(into: list[bytes]) -> Callable[[Delivered], Fate]:
    def note(delivered: Delivered) -> Fate:
        into.append(bytes(delivered.body))
        return Keep()

    return note


class DeadQueuesContract:
    """The suite. A subclass overrides `broker`."""

    @pytest.fixture
    def broker(self) -> DeadBroker:
        raise NotImplementedError

    def test_a_look_sees_everything_in_its_order_and_as_it_came(self, broker: DeadBroker) -> None:
        bodies = [b"%d" % number for number in range(3 * AHEAD + 1)]
        broker.fill(*bodies)
        seen: list[Delivered] = []

        def note(delivered: Delivered) -> Fate:
            seen.append(delivered)
            return Keep()

        with broker.looking() as queues:
            look = queues.look(note)
            assert look.taken == len(bodies)
            assert queues.count(broker.names.refused_queue) == len(bodies)
        assert [delivered.body for delivered in seen] == bodies
        left = broker.content(broker.names.refused_queue)
        assert [delivered.body for delivered in left] == bodies
        for delivered in (*seen, *left):
            assert delivered.routing_key == KEY
            assert delivered.message_id == "id of " + delivered.body.hex()[:32]

    @pytest.mark.parametrize("count", [1, AHEAD - 1, AHEAD, AHEAD + 1, 2 * AHEAD + 3])
    def test_looking_thirty_times_loses_nothing(self, broker: DeadBroker, count: int) -> None:
        bodies = [b"%d" % number for number in range(count)]
        broker.fill(*bodies)
        for _ in range(LOOKS):
            with broker.looking() as queues:
                assert queues.look(keep).taken == count
        assert broker.bodies() == bodies

    def test_looking_thirty_times_at_a_part_loses_nothing(self, broker: DeadBroker) -> None:
        bodies = [b"%d" % number for number in range(AHEAD + 5)]
        broker.fill(*bodies)
        for number in range(LOOKS):
            with broker.looking() as queues:
                most = 1 + number % 4
                assert queues.look(keep, most).taken == most
        assert sorted(broker.bodies()) == sorted(bodies)

    def test_being_interrupted_thirty_times_loses_nothing(self, broker: DeadBroker) -> None:
        bodies = [b"%d" % number for number in range(AHEAD)]
        broker.fill(*bodies)
        for _ in range(LOOKS):
            with broker.looking() as queues:
                ask = iter([queues.interrupt])

                def interrupt(_: Delivered, ask: Iterator[Callable[[], None]] = ask) -> Fate:
                    next(ask, int)()  # once: a second one ends it at once
                    return Keep()

                with pytest.raises(KeyboardInterrupt):
                    queues.look(interrupt)
        left = broker.content(broker.names.refused_queue)
        assert sorted(bytes(delivered.body) for delivered in left) == sorted(bodies)
        assert not any(delivered.redelivered for delivered in left)

    def test_an_interrupt_ends_a_long_look_early(self, broker: DeadBroker) -> None:
        bodies = [b"%d" % number for number in range(10 * AHEAD)]
        broker.fill(*bodies)
        seen: list[bytes] = []
        with broker.looking() as queues:

            def interrupt(delivered: Delivered) -> Fate:
                seen.append(bytes(delivered.body))
                if len(seen) == 2:
                    queues.interrupt()
                return Keep()

            with pytest.raises(KeyboardInterrupt):
                queues.look(interrupt)
        assert len(seen) < len(bodies)
        left = broker.content(broker.names.refused_queue)
        assert sorted(bytes(delivered.body) for delivered in left) == sorted(bodies)
        assert not any(delivered.redelivered for delivered in left)

    def test_an_empty_queue_is_no_trouble(self, broker: DeadBroker) -> None:
        broker.fill()
        with broker.looking() as queues:
            assert queues.look(keep).taken == 0
            assert queues.count(broker.names.parked_queue) == 0

    def test_a_queue_that_nobody_declared_is_told(self, broker: DeadBroker) -> None:
        with broker.looking() as queues, pytest.raises(BrokerAway, match="has never run"):
            queues.look(keep)

    def test_what_is_dropped_is_gone_and_the_rest_stays(self, broker: DeadBroker) -> None:
        broker.fill(*(b"%d" % number for number in range(2 * AHEAD)))
        with broker.looking() as queues:
            queues.look(lambda delivered: Drop() if int(delivered.body) % 2 else Keep())
        assert broker.bodies() == [b"%d" % number for number in range(0, 2 * AHEAD, 2)]

    def test_what_is_sent_arrives_under_its_id_and_leaves_the_queue(
        self, broker: DeadBroker
    ) -> None:
        broker.fill(b"send", b"keep")
        where = broker.names.update_exchange

        def choose(delivered: Delivered) -> Fate:
            sent = delivered.body == b"send"
            return Send(where, delivered.routing_key, "it") if sent else Keep()

        with broker.looking() as queues:
            assert queues.look(choose).failures == []
        (arrived,) = broker.content(broker.names.update_queue())
        assert (arrived.body, arrived.routing_key) == (b"send", KEY)
        assert arrived.message_id == "id of " + b"send".hex()
        assert broker.bodies() == [b"keep"]

    def test_what_no_queue_takes_stays(self, broker: DeadBroker) -> None:
        broker.fill(b"1", b"2")
        with broker.looking() as queues:
            look = queues.look(lambda d: Send(broker.names.update_exchange, "nobody", "it"))
            assert [name for name, _ in look.failures] == ["it", "it"]
            assert look.stuck == 0
        assert sorted(broker.bodies()) == [b"1", b"2"]

    def test_what_came_over_the_default_exchange_is_kept_as_well(self, broker: DeadBroker) -> None:
        broker.fill()
        name = broker.names.refused_queue.name
        with broker.client() as client:
            client.publish("", name, b"of an earlier version", "id")
        with broker.looking() as queues:
            assert queues.look(keep).stuck == 0
        (left,) = broker.content(broker.names.refused_queue)
        assert (left.routing_key, left.message_id) == (name, "id")

    def test_a_look_needs_no_exchange_to_lose_nothing(
        self, broker: DeadBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bodies = [b"%d" % number for number in range(3)]
        broker.fill(*bodies)
        monkeypatch.setattr(Names, "refused_exchange", "fedmq.nowhere")
        for _ in range(LOOKS):
            with broker.looking() as queues:
                look = queues.look(keep)
                assert (look.taken, look.stuck) == (3, 0)
        left = broker.content(broker.names.refused_queue)
        assert [delivered.body for delivered in left] == bodies
        assert not any(delivered.redelivered for delivered in left)

    def test_what_comes_meanwhile_is_kept(self, broker: DeadBroker) -> None:
        bodies = [b"%d" % number for number in range(2 * AHEAD)]
        broker.fill(*bodies)
        with broker.client() as client, broker.looking() as queues:

            def publish(_: Delivered) -> Fate:
                client.transport.publish(Outgoing(broker.names.refused_exchange, KEY, b"new"))
                client.wait(Confirmed)
                return Keep()

            assert queues.look(publish).taken == len(bodies)
        assert sorted(broker.bodies()) == sorted([*bodies, *([b"new"] * len(bodies))])

    def test_a_look_ends_though_others_take_what_it_expected(self, broker: DeadBroker) -> None:
        bodies = [b"%d" % number for number in range(2 * AHEAD)]
        broker.fill(*bodies)
        with broker.client() as client, broker.looking(silence_s=1.0) as queues:

            def purge(delivered: Delivered) -> Fate:
                if delivered.body == b"0":
                    client.transport.purge(broker.names.refused_queue)
                    client.transport.count(broker.names.refused_queue)
                    client.wait(Counted)  # comes behind it
                return Drop()

            assert queues.look(purge).taken == AHEAD
        assert broker.bodies() == []

    def test_a_full_queue_is_looked_at_without_loss(
        self, broker: DeadBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(topology, "_REFUSED_BYTES_MAX", 4000)
        broker.fill(*(b"%0100d" % number for number in range(60)))
        with broker.looking() as queues:
            ready = queues.count(broker.names.refused_queue)
            assert ready <= 40
            for _ in range(3):
                assert queues.look(keep).taken == ready
        assert broker.bodies() == [b"%0100d" % number for number in range(60 - ready, 60)]

    def test_everything_can_be_deleted(self, broker: DeadBroker) -> None:
        broker.fill(b"1", b"2")
        with broker.looking() as queues:
            queues.purge(broker.names.refused_queue)
            assert queues.count(broker.names.refused_queue) == 0
        assert broker.bodies() == []
