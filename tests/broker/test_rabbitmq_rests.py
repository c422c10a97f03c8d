"""A consumer that is cancelled, and wanted again soon, stays with the broker meanwhile."""

from __future__ import annotations

import pytest

from broker.rabbitmq import RabbitTransport
from broker.transport import Connected, ConsumerLost, Delivered, Disconnected
from tests.broker.rabbit_bench import PumpedTransport, RabbitBench
from tests.contracts.transport_contract import TASKS, Peer

pytestmark = pytest.mark.rabbitmq
ACK_BYTES = 21


@pytest.fixture(params=[RabbitTransport, PumpedTransport], ids=["threaded", "driven"])
def bench(bench: RabbitBench, request: pytest.FixtureRequest) -> RabbitBench:
    bench.make = request.param
    return bench


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
    """Take two messages, the second with a consumer that rests then."""
    other.publish(TASKS, b"first", b"second")
    for body in (b"first", b"second"):
        delivered = take(peer)
        assert delivered.body == body
        peer.transport.ack(delivered.tag)


def cut(bench: RabbitBench, peer: Peer) -> None:
    bench.cut(peer)
    peer.mailbox.take(Connected)


def rest_and_lose(bench: RabbitBench, peer: Peer, other: Peer) -> None:
    """Come back, and lose the connection that consumes, before anything can be told over it."""
    before = {wire: wire.heard_bytes["client"] for wire in bench.wires(peer)}
    come_back(peer, other)
    (consumes,) = (wire for wire, said in before.items() if wire.heard_bytes["client"] > said)
    consumes.close()


def next_of(peer: Peer) -> tuple[bytes, bool]:
    """What the queue gives, and whether it was given before; what is published now is behind it."""
    peer.publish(TASKS, b"the end")
    peer.consume(TASKS, prefetch=1)
    delivered = peer.delivered()
    return bytes(delivered.body), delivered.redelivered


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


def test_while_it_rests_nothing_comes_and_others_get_it(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    other.publish(TASKS, b"for the other")
    other.consume(TASKS)
    delivered = other.delivered()
    assert (delivered.body, delivered.redelivered) == (b"for the other", False)
    peer.settled()
    assert not peer.mailbox.left(Delivered)


def test_one_that_more_may_come_to_does_not_rest(peer: Peer, other: Peer) -> None:
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


def test_when_a_rest_ends_the_ack_is_told_behind_the_end(bench: RabbitBench) -> None:
    bench.rest_s = 0.5
    peer, other = bench.peer("one").connect().declare(), bench.peer("two").connect()
    other.publish(TASKS, b"first", b"second", b"third")
    peer.transport.ack(take(peer).tag)
    consumer = peer.consume(TASKS, prefetch=1)
    second = peer.mailbox.take(Delivered, lambda event: event.consumer == consumer)
    before = said(bench, peer)
    peer.transport.cancel(consumer)
    peer.transport.ack(second.tag)
    bench.until(lambda: said(bench, peer) > before + ACK_BYTES)
    peer.settled()
    cut(bench, peer)
    assert not peer.mailbox.left(Delivered)
    assert next_of(other) == (b"third", False)


def test_who_comes_for_the_first_time_is_not_waited_for(
    bench: RabbitBench, peer: Peer, other: Peer
) -> None:
    other.publish(TASKS, b"first")
    peer.transport.ack(take(peer).tag)
    peer.settled()
    cut(bench, peer)
    assert next_of(other) == (b"the end", False)


def test_going_offline_tells_what_was_acked(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    peer.transport.disconnect()
    peer.transport.stop()  # which waits until the broker has said goodbye
    assert next_of(other) == (b"the end", False)


def test_stopping_tells_what_was_acked(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    peer.transport.stop()
    assert next_of(other) == (b"the end", False)


def test_a_connection_lost_in_a_rest_brings_the_message_back(
    bench: RabbitBench, peer: Peer, other: Peer
) -> None:
    rest_and_lose(bench, peer, other)
    other.consume(TASKS)
    assert other.delivered(b"second").redelivered  # once the broker has noticed


def test_after_a_connection_was_lost_nobody_is_known_to_come_back(
    bench: RabbitBench, peer: Peer, other: Peer
) -> None:
    rest_and_lose(bench, peer, other)
    peer.mailbox.take(Connected)
    peer.transport.ack(take(peer).tag)
    peer.settled()
    cut(bench, peer)
    assert next_of(other) == (b"the end", False)


def test_what_is_given_back_in_a_rest_is_so_at_once(peer: Peer, other: Peer) -> None:
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
    peer.transport.stop()
    assert next_of(other) == (b"the end", False)


def test_more_is_taken_at_a_time_after_a_rest(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    other.publish(TASKS, b"third", b"fourth")
    peer.consume(TASKS, prefetch=2)
    assert [peer.delivered().body, peer.delivered().body] == [b"third", b"fourth"]


def test_a_queue_deleted_in_a_rest_is_told_to_who_comes_back(peer: Peer, other: Peer) -> None:
    come_back(peer, other)
    other.transport.delete(TASKS)
    other.settled()
    peer.settled()
    assert not peer.mailbox.left(ConsumerLost)
    consumer = peer.transport.consume(TASKS, 1)
    lost = peer.mailbox.take(ConsumerLost)
    assert (lost.consumer, lost.missing) == (consumer, True)
    assert not peer.mailbox.left(Disconnected)
