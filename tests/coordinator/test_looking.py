"""One look at a queue, step by step; what it promises over both transports is a contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names
from broker.transport import Delivered, Event, Outgoing
from coordinator.errors import BrokerAway
from coordinator.looking import AHEAD, Drop, Fate, Keep, Look, Send

NAMES = Names("demo")


@dataclass
class Desk:
    """A refused queue with messages in it, and whoever looks at it."""

    broker: MemoryBroker = field(default_factory=MemoryBroker)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.transport = MemoryTransport(self.broker, self.events.append)
        self.transport.start()
        self.transport.declare(NAMES.topology)

    def fill(self, *bodies: bytes) -> None:
        for body in bodies:
            self.transport.publish(Outgoing(NAMES.refused_exchange, "u.r.0.w", body))
        self.events.clear()

    def look(self, fate: Callable[[Delivered], Fate], expected: int) -> Look:
        look = Look(self.transport, NAMES.refused_queue, NAMES.refused_exchange, expected, fate)
        self.take(look)
        return look

    def take(self, look: Look) -> None:
        while self.events:
            look.handle(self.events.pop(0))

    @property
    def left(self) -> int:
        return self.broker.ready(NAMES.refused_queue)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.transport.stop()


def keep(delivered: Delivered) -> Fate:
    return Keep()


def test_an_empty_queue_is_looked_through_at_once(desk: Desk) -> None:
    look = desk.look(keep, 0)
    assert (look.done, look.idle, look.taken) == (True, True, 0)


def test_each_has_its_fate(desk: Desk) -> None:
    desk.fill(b"keep", b"drop", b"send")
    fates: dict[bytes, Fate] = {
        b"keep": Keep(),
        b"drop": Drop(),
        b"send": Send(NAMES.dead_exchange, "u.r.0.w", "its name"),
    }
    look = desk.look(lambda delivered: fates[bytes(delivered.body)], 3)
    assert (look.done, look.taken, look.failures, look.stuck) == (True, 3, [], 0)
    assert desk.left == 1
    assert desk.broker.ready(NAMES.parked_queue) == 1


def test_what_cannot_be_sent_is_named_and_kept(desk: Desk) -> None:
    desk.fill(b"send")
    look = desk.look(lambda _: Send(NAMES.update_exchange, "nowhere", "its name"), 1)
    assert look.done
    ((name, reason),) = look.failures
    assert name == "its name"
    assert reason
    assert desk.left == 1


def test_what_cannot_even_be_kept_is_still_the_brokers(desk: Desk) -> None:
    desk.fill(b"a", b"b")
    desk.broker.refuse(True)
    look = desk.look(keep, 2)
    assert (look.done, look.stuck) == (True, 2)
    assert desk.left == 0, "they are delivered, and not settled"
    desk.transport.stop()
    assert desk.left == 2


def test_where_fewer_come_than_expected_it_ends_when_it_is_told(desk: Desk) -> None:
    desk.fill(b"a")
    look = desk.look(lambda _: Drop(), 3)
    assert (look.done, look.idle, look.taken) == (False, True, 1)
    look.finish()
    desk.take(look)
    assert look.done
    desk.transport.stop()
    assert desk.left == 0, "it is acked, though more was expected"


def test_who_stops_takes_no_more_than_may_be_on_its_way(desk: Desk) -> None:
    desk.fill(*[b"%d" % number for number in range(5 * AHEAD)])
    desk.broker.hold_confirms()
    look = desk.look(keep, 5 * AHEAD)
    assert look.taken == AHEAD
    look.stop()
    desk.broker.release_confirms()
    desk.take(look)
    assert (look.done, look.taken) == (True, AHEAD)
    assert desk.left == 5 * AHEAD


def test_a_queue_that_goes_away_is_said(desk: Desk) -> None:
    desk.fill(b"a")
    look = Look(desk.transport, NAMES.refused_queue, NAMES.refused_exchange, 5, keep)
    desk.transport.delete(NAMES.refused_queue)
    with pytest.raises(BrokerAway, match=r"fedmq\.demo\.refused cannot be looked at"):
        desk.take(look)
