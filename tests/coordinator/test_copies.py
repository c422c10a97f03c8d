from __future__ import annotations

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names
from broker.transport import Event
from coordinator.copies import ON_THEIR_WAY_BYTES_MAX, ON_THEIR_WAY_MAX, CopyOutlet

NAMES = Names("demo")


class Bench:
    def __init__(self) -> None:
        self.broker = MemoryBroker(message_bytes_max=10**9)
        self.events: list[Event] = []
        transport = MemoryTransport(self.broker, self.events.append)
        transport.start()
        transport.declare(NAMES.topology)
        self.transport = transport
        self.copies = CopyOutlet(transport, NAMES.refused_exchange)

    def take(self) -> int:
        """Hand in what happened; how many events were about a copy."""
        events, self.events[:] = list(self.events), []
        return sum(self.copies.handle(event) for event in events)


def test_copies_go_to_the_peoples_queue() -> None:
    bench = Bench()
    assert bench.copies.publish(b"body", "id", "u.run.0.w1")
    assert bench.broker.ready(NAMES.refused_queue) == 1
    assert bench.take() == 1


def test_only_so_many_are_on_their_way_while_the_broker_confirms_nothing() -> None:
    bench = Bench()
    bench.broker.hold_confirms()
    taken = [bench.copies.publish(b"x", "", "k") for _ in range(ON_THEIR_WAY_MAX + 5)]
    assert sum(taken) == ON_THEIR_WAY_MAX
    assert bench.copies.dropped == 5
    bench.broker.release_confirms()
    bench.take()
    assert bench.copies.publish(b"x", "", "k")


def test_only_so_many_bytes_are_on_their_way() -> None:
    bench = Bench()
    bench.broker.hold_confirms()
    body = bytes(ON_THEIR_WAY_BYTES_MAX // 4)
    assert [bench.copies.publish(body, "", "k") for _ in range(5)] == [True] * 4 + [False]


def test_a_single_one_has_room_however_large() -> None:
    bench = Bench()
    assert bench.copies.publish(bytes(ON_THEIR_WAY_BYTES_MAX + 1), "", "k")


def test_a_cut_connection_makes_room() -> None:
    bench = Bench()
    bench.broker.hold_confirms()
    for _ in range(ON_THEIR_WAY_MAX):
        bench.copies.publish(b"x", "", "k")
    bench.broker.drop(bench.transport)
    bench.copies.disconnected()
    bench.broker.release_confirms()
    assert bench.copies.publish(b"x", "", "k")
