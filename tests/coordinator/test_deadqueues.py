"""Looking at dead letters keeps its promises over both transports, and when the broker does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.connect import open_transport
from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names
from broker.transport import Delivered, Event, Post, Transport
from coordinator.deadqueues import DeadQueues
from coordinator.errors import BrokerAway, BrokerRefused
from coordinator.looking import AHEAD, Fate, Keep, Look
from tests.contracts.dead_queues_contract import DeadBroker, DeadQueuesContract, collect


class InProcess(DeadBroker):
    def __init__(self) -> None:
        super().__init__(Names("demo"))
        self.inner = MemoryBroker()
        self.transports: list[MemoryTransport] = []

    def open(self, post: Post) -> Transport:
        self.transports.append(MemoryTransport(self.inner, post))
        return self.transports[-1]


class OverRabbit(DeadBroker):
    def __init__(self, url: str, federation: str) -> None:
        super().__init__(Names(federation))
        self.url = url

    def open(self, post: Post) -> Transport:
        return open_transport(self.url, post, "dead letters")


class TestInProcess(DeadQueuesContract):
    @pytest.fixture
    def broker(self) -> DeadBroker:
        return InProcess()


class TestOverRabbitmq(DeadQueuesContract):
    @pytest.fixture
    def broker(self, amqp_url: str, federation_name: str) -> Iterator[DeadBroker]:
        broker = OverRabbit(amqp_url, federation_name)
        yield broker
        with broker.client() as client:
            for queue in broker.names.topology.queues:
                client.transport.delete(queue)


def test_only_so_much_is_in_memory_until_the_broker_confirms() -> None:
    broker = InProcess()
    bodies = [b"%d" % number for number in range(5 * AHEAD)]
    broker.fill(*bodies)
    seen: list[bytes] = []
    events: list[Event] = []
    transport = MemoryTransport(broker.inner, events.append)
    transport.start()
    broker.inner.hold_confirms()
    names = broker.names
    look = Look(transport, names.refused_queue, names.refused_exchange, 80, collect(seen))

    def take_all() -> None:
        while events:
            look.handle(events.pop(0))

    take_all()
    assert len(seen) == AHEAD
    broker.inner.release_confirms()
    take_all()
    assert look.done
    assert seen == bodies
    transport.stop()


def test_a_connection_that_is_cut_in_the_middle_leaves_everything_there() -> None:
    broker = InProcess()
    bodies = [b"%d" % number for number in range(2 * AHEAD)]
    broker.fill(*bodies)
    with broker.looking() as queues:
        looker = broker.transports[-1]

        def cut(delivered: Delivered) -> Fate:
            if delivered.body == b"3":
                broker.inner.hold_confirms()
            if delivered.body == b"9":
                broker.inner.drop(looker)
            return Keep()

        with pytest.raises(BrokerAway, match="is lost"):
            queues.look(cut)
    broker.inner.release_confirms()
    left = broker.bodies()
    assert set(left) == set(bodies)
    assert len(left) > len(bodies)  # twice rather than never


def test_a_look_after_a_cut_one_sees_each_message() -> None:
    broker = InProcess()
    bodies = [b"%d" % number for number in range(3)]
    broker.fill(*bodies)
    with broker.looking() as queues:
        looker = broker.transports[-1]

        def cut(delivered: Delivered) -> Fate:
            broker.inner.drop(looker)
            return Keep()

        with pytest.raises(BrokerAway):
            queues.look(cut)
    seen: list[bytes] = []
    with broker.looking() as queues:
        queues.look(collect(seen))
    assert set(seen) == set(bodies)


def test_a_broker_that_is_down_is_said_at_once() -> None:
    broker = InProcess()
    broker.inner.down()
    with pytest.raises(BrokerAway, match="not reached"), broker.looking():
        pass


@pytest.mark.rabbitmq
def test_a_wrong_password_is_refused(amqp_url: str) -> None:
    url = amqp_url.replace("//guest:guest@", "//guest:wrong@")
    if url == amqp_url:
        pytest.skip("the broker given has other users")
    queues = DeadQueues(lambda post: open_transport(url, post, "x"), Names("demo"))
    with pytest.raises(BrokerRefused), queues:
        pass
