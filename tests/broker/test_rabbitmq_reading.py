"""A connection that reads a stream is used again, and moves nothing that nobody asked for."""

from __future__ import annotations

import pytest

from broker.transport import ConsumerLost, Delivered, Disconnected
from tests.broker.rabbit_bench import RabbitBench
from tests.contracts.transport_contract import STREAM, Peer

pytestmark = pytest.mark.rabbitmq
BODIES = [b"%d" % number for number in range(20)]


@pytest.fixture
def peer(bench: RabbitBench) -> Peer:
    return bench.peer().connect().declare()


def fill(peer: Peer, *bodies: bytes) -> None:
    """Publish one by one, each confirmed before the next: each is a chunk of the stream."""
    for body in bodies:
        peer.publish(STREAM, body)


def read(peer: Peer, offset: int, count: int, prefetch: int = 2) -> list[int]:
    """Read some messages and cancel, the last ones not acked; the offsets that came."""
    consumer = peer.consume(STREAM, prefetch, offset)
    found = []
    for left in reversed(range(count)):
        delivered = peer.mailbox.take(Delivered, lambda event: event.consumer == consumer)
        assert delivered.body == BODIES[delivered.offset]
        found.append(delivered.offset)
        if left >= prefetch:
            peer.transport.ack(delivered.tag)
    peer.transport.cancel(consumer)
    return found


def test_one_connection_reads_whatever_is_wanted_next(bench: RabbitBench, peer: Peer) -> None:
    fill(peer, *BODIES)
    assert read(peer, 0, 3) == [0, 1, 2]
    wires = bench.wires(peer)
    assert len(wires) == 3
    assert read(peer, 3, 4) == [3, 4, 5, 6]  # right behind
    assert read(peer, 12, 2) == [12, 13]  # further on
    assert read(peer, 1, 5) == [1, 2, 3, 4, 5]  # back
    assert read(peer, 6, 1, prefetch=1) == [6]
    assert read(peer, 7, 1, prefetch=1) == [7]
    assert read(peer, 8, 2) == [8, 9]
    assert bench.wires(peer) == wires
    assert not peer.mailbox.left(Disconnected)


def test_a_reader_that_rests_is_sent_nothing(bench: RabbitBench, peer: Peer) -> None:
    fill(peer, *BODIES[:2])
    read(peer, 0, 2)
    reads = bench.wires(peer)[-1]
    before = reads.heard_bytes["broker"]
    fill(peer, *BODIES[2:])
    peer.settled()
    assert not peer.mailbox.left(Delivered)
    assert reads.heard_bytes["broker"] == before


def test_what_is_sent_along_with_the_last_is_read_again(bench: RabbitBench, peer: Peer) -> None:
    peer.publish(STREAM, *BODIES)  # in few chunks, each of which is sent as a whole
    for offset in range(0, 18, 2):
        assert read(peer, offset, 2) == [offset, offset + 1]
        peer.settled()
    assert len(bench.wires(peer)) == 3
    assert not peer.mailbox.left(Disconnected)


def test_acks_after_the_end_let_nothing_more_come(peer: Peer) -> None:
    fill(peer, *BODIES)
    consumer = peer.consume(STREAM, 2, offset=0)
    held = [peer.delivered(), peer.delivered()]
    peer.transport.cancel(consumer)
    for delivered in held:
        peer.transport.ack(delivered.tag)
    peer.settled()
    assert not peer.mailbox.left(Delivered)
    assert read(peer, 2, 2) == [2, 3]


def test_a_reader_that_something_is_on_its_way_to_is_not_kept(
    bench: RabbitBench, peer: Peer
) -> None:
    fill(peer, *BODIES)
    consumer = peer.consume(STREAM, 5, offset=0)
    peer.transport.ack(peer.delivered().tag)
    peer.transport.cancel(consumer)
    bench.until(lambda: len(bench.wires(peer)) == 2)
    while peer.mailbox.left(Delivered):
        peer.delivered()
    assert read(peer, 1, 2) == [1, 2]


def test_a_reader_is_kept_for_no_longer_than_is_said(bench: RabbitBench) -> None:
    bench.linger_s = 0.0
    peer = bench.peer().connect().declare()
    fill(peer, *BODIES)
    for _ in range(2):
        assert read(peer, 4, 2) == [4, 5]
        bench.until(lambda: len(bench.wires(peer)) == 2)
    assert not peer.mailbox.left(ConsumerLost)


def test_a_stream_deleted_meanwhile_is_told_to_who_reads_next(peer: Peer) -> None:
    fill(peer, *BODIES[:2])
    read(peer, 0, 2)
    peer.transport.delete(STREAM)
    peer.settled()
    consumer = peer.transport.consume(STREAM, 2, offset=2)
    lost = peer.mailbox.take(ConsumerLost)
    assert (lost.consumer, lost.missing) == (consumer, True)
    fill(peer.declare(), *BODIES[:2])
    assert read(peer, 0, 2) == [0, 1]
    assert not peer.mailbox.left(ConsumerLost)


def test_a_resting_reader_whose_connection_is_cut_is_made_anew(
    bench: RabbitBench, peer: Peer
) -> None:
    fill(peer, *BODIES)
    read(peer, 0, 2)
    bench.wires(peer)[-1].close()
    bench.until(lambda: len(bench.wires(peer)) == 2)
    peer.settled()
    assert not peer.mailbox.left(ConsumerLost)
    assert read(peer, 2, 2) == [2, 3]


def test_a_reader_whose_connection_is_cut_is_lost_at_once(bench: RabbitBench, peer: Peer) -> None:
    consumer = peer.consume(STREAM, 2, offset=0)
    bench.wires(peer)[-1].close()
    lost = peer.mailbox.take(ConsumerLost)
    assert (lost.consumer, lost.missing) == (consumer, False)
    assert STREAM.name in lost.reason
    assert not peer.mailbox.left(Disconnected)
