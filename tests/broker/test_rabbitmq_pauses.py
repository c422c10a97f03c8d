"""A consumer that is cancelled, and wanted again soon, stays with the broker meanwhile."""

from __future__ import annotations

import pytest

from broker.transport import Connected, ConsumerLost, Delivered, Disconnected
from tests.broker.rabbit_bench import RabbitBench
from tests.contracts.transport_contract import TASKS, Peer

pytestmark = pytest.mark.rabbitmq
ACK_BYTES = 21


@pytest.fixture
def peer(bench: RabbitBench) -> Peer:
    return bench.peer("one").connect().declare()


@pytest.fixture
def other(bench: RabbitBench, peer: Peer) -> Peer:
    return bench.peer("two").connect()


def take(peer: Peer) -> Delivered:
    """Take one message, and no more; it is not acked."""
    consumer = peer.consume(TASKS, prefetch=1)
    delivered = peer.mailbox.take(Delivered, lambda event: event.consumer == consumer)
    peer.transport.cancel(consumer)
    return delivered


def come_back(peer: Peer, other: Peer) -> None:
    """Take messages until consumers pause."""
    other.publish(TASKS, b"first", b"second")
    for body in (b"first", b"second"):
        delivered = take(peer)
        assert delivered.body == body
        peer.transport.ack(delivered.tag)


def said(bench: RabbitBench, peer: Peer) -> int:
    """Bytes that a client has said."""
    return sum(wire.heard_bytes["client"] for wire in bench.wires(peer))


def test_who_comes_back_soon_says_an_ack_and_nothing_else(
    bench: RabbitBench, peer: Peer, other: Peer
) -> None:
    come_back(peer, other)
    for number in range(5):
        before = said(bench, peer)
        other.publish(TASKS, b"%d" % number)
        delivered = take(peer)
        assert (delivered.body, delivered.redelivered) == (b"%d" % number, False)
        peer.transport.ack(delivered.tag)
        assert said(bench, peer) == before + ACK_BYTES


def test_in_a_pause_nothing_comes_and_others_get_it(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    other.publish(TASKS, b"for the other")
    other.consume(TASKS)
    delivered = other.delivered()
    assert (delivered.body, delivered.redelivered) == (b"for the other", False)
    peer.settled()
    assert not peer.mailbox.left(Delivered)


def test_one_that_more_may_come_to_does_not_pause(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    other.publish(TASKS, b"third")
    consumer = peer.consume(TASKS, prefetch=2)
    third = peer.delivered()
    peer.transport.cancel(consumer)
    peer.settled()
    other.publish(TASKS, b"fourth")
    other.consume(TASKS)
    fourth = other.delivered()
    assert (fourth.body, fourth.redelivered) == (b"fourth", False)
    peer.transport.ack(third.tag)
    assert not peer.mailbox.left(Delivered)


def test_at_the_end_of_a_pause_nothing_comes_either(bench: RabbitBench) -> None:
    bench.pause_s = 0.4
    peer, other = bench.peer("one").connect().declare(), bench.peer("two").connect()
    come_back(peer, other)
    other.publish(TASKS, b"third")
    before = said(bench, peer)
    bench.until(lambda: said(bench, peer) > before + ACK_BYTES)
    peer.settled()
    other.consume(TASKS)
    delivered = other.delivered()
    assert (delivered.body, delivered.redelivered) == (b"third", False)
    assert not peer.mailbox.left(Delivered)


def test_an_ack_is_kept_back_for_no_longer_than_is_said(bench: RabbitBench) -> None:
    bench.pause_s = 0.4
    peer, other = bench.peer("one").connect().declare(), bench.peer("two").connect()
    come_back(peer, other)
    before = said(bench, peer)
    bench.until(lambda: said(bench, peer) > before + ACK_BYTES)  # with the end of the consumer
    peer.settled()
    bench.cut(peer)
    peer.mailbox.take(Connected)
    assert other.count(TASKS) == 0


def test_who_comes_for_the_first_time_is_not_waited_for(
    bench: RabbitBench, peer: Peer, other: Peer
) -> None:
    other.publish(TASKS, b"first")
    peer.transport.ack(take(peer).tag)
    peer.settled()
    bench.cut(peer)
    peer.mailbox.take(Connected)
    assert other.count(TASKS) == 0


def test_who_does_not_come_back_soon_is_not_waited_for(bench: RabbitBench) -> None:
    bench.pause_s = 0.0
    peer, other = bench.peer("one").connect().declare(), bench.peer("two").connect()
    come_back(peer, other)
    peer.settled()
    bench.cut(peer)
    peer.mailbox.take(Connected)
    assert other.count(TASKS) == 0


def test_going_offline_tells_what_was_acked(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    peer.transport.disconnect()
    peer.mailbox.take(Disconnected)
    other.publish(TASKS, b"next")
    other.consume(TASKS)
    assert other.delivered().body == b"next"
    assert other.count(TASKS) == 0


def test_stopping_tells_what_was_acked(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    peer.transport.stop()
    other.publish(TASKS, b"next")
    other.consume(TASKS)
    assert other.delivered().body == b"next"


def test_a_connection_lost_in_a_pause_brings_the_message_back(
    bench: RabbitBench, peer: Peer, other: Peer
) -> None:
    come_back(peer, other)
    bench.cut(peer)
    other.consume(TASKS)
    delivered = other.delivered()
    assert (delivered.body, delivered.redelivered) == (b"second", True)


def test_after_a_connection_was_lost_nobody_is_known_to_come_back(
    bench: RabbitBench, peer: Peer, other: Peer
) -> None:
    come_back(peer, other)
    bench.cut(peer)
    peer.mailbox.take(Connected)
    peer.transport.ack(take(peer).tag)
    peer.settled()
    bench.cut(peer)
    peer.mailbox.take(Connected)
    assert other.count(TASKS) == 0


def test_what_is_given_back_in_a_pause_is_so_at_once(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    other.publish(TASKS, b"back")
    peer.transport.reject(take(peer).tag, requeue=True)
    other.consume(TASKS)
    delivered = other.delivered()
    assert (delivered.body, delivered.redelivered) == (b"back", True)
    other.transport.ack(delivered.tag)
    other.publish(TASKS, b"next")
    assert other.delivered().body == b"next"


def test_who_comes_back_before_it_has_acked_gets_the_next(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    other.publish(TASKS, b"slow", b"next")
    slow = take(peer)
    following = take(peer)
    assert (slow.body, following.body) == (b"slow", b"next")
    for delivered in (slow, following):
        peer.transport.ack(delivered.tag)
    peer.transport.disconnect()
    peer.mailbox.take(Disconnected)
    assert other.count(TASKS) == 0


def test_more_is_taken_at_a_time_after_a_pause(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    other.publish(TASKS, b"third", b"fourth")
    peer.consume(TASKS, prefetch=2)
    assert [peer.delivered().body, peer.delivered().body] == [b"third", b"fourth"]


def test_a_queue_deleted_in_a_pause_is_told_to_who_comes_back(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    other.transport.delete(TASKS)
    other.settled()
    peer.settled()
    assert not peer.mailbox.left(ConsumerLost)
    consumer = peer.transport.consume(TASKS, 1)
    lost = peer.mailbox.take(ConsumerLost)
    assert (lost.consumer, lost.missing) == (consumer, True)
