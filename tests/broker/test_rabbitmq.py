"""The transport over RabbitMQ keeps the contract, and bears what only a real broker does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pika
import pytest

from broker.rabbitmq import RabbitTransport
from broker.topology import Queue
from broker.transport import (
    AnswerTo,
    Confirmed,
    Connected,
    ConsumerLost,
    Consuming,
    Disconnected,
    Doubtful,
    Event,
    Failed,
    Outgoing,
    Refused,
)
from tests.broker.rabbit_bench import PumpedTransport, RabbitBench
from tests.broker.tcp_proxy import TcpProxy
from tests.contracts.mailbox import Mailbox
from tests.contracts.transport_contract import (
    STREAM,
    TASKS,
    TOPOLOGY,
    Peer,
    TransportContract,
)
from tests.support.rabbitmq_node import RabbitmqNode, free_ports

pytestmark = pytest.mark.rabbitmq


class TestRabbitTransport(TransportContract):
    @pytest.fixture
    def bench(self, bench: RabbitBench) -> RabbitBench:
        return bench


class TestDrivenTransport(TransportContract):
    transport = PumpedTransport

    @pytest.fixture
    def bench(self, bench: RabbitBench) -> RabbitBench:
        return bench


def test_confirmed_messages_survive_the_death_of_the_broker(rabbitmq_node: RabbitmqNode) -> None:
    bench = RabbitBench(rabbitmq_node.url(rabbitmq_node.fresh_vhost()))
    peer = bench.peer().connect().declare()
    bodies = [b"%d" % number for number in range(100)]
    peer.publish(TASKS, *bodies)
    peer.publish(STREAM, b"model")
    peer.consume(TASKS, prefetch=1)
    peer.delivered(b"0")
    rabbitmq_node.kill()
    peer.mailbox.take(Disconnected)
    token = peer.transport.publish(Outgoing("", TASKS.name, b"while down"))
    assert peer.outcome(token) == Doubtful(token)
    rabbitmq_node.start()
    peer.mailbox.take(Connected, deadline_s=90.0)
    _consume_until_there(peer, TASKS, None)
    again = [peer.delivered() for _ in bodies]
    assert sorted(bytes(delivered.body) for delivered in again) == sorted(bodies)
    assert next(each for each in again if each.body == b"0").redelivered
    _consume_until_there(peer, STREAM, 0)
    assert peer.delivered().body == b"model"
    bench.close()


def _consume_until_there(peer: Peer, queue: Queue, offset: int | None) -> None:
    """A queue may be missing for a moment after the broker answers again."""
    for _ in range(100):
        consumer = peer.transport.consume(queue, 200, offset)
        event = peer.mailbox.take(
            object,
            lambda event, consumer=consumer: (  # type: ignore[misc]
                isinstance(event, Consuming | ConsumerLost) and event.consumer == consumer
            ),
        )
        if isinstance(event, Consuming):
            return
        assert isinstance(event, ConsumerLost)
        assert event.missing
        peer.settled()
    raise AssertionError(f"{queue.name} did not come back")


@pytest.mark.parametrize("user", ["guest", "nobody"])
def test_a_wrong_password_fails_at_once_and_is_not_shown(amqp_url: str, user: str) -> None:
    place = urlsplit(amqp_url).netloc.rpartition("@")[2]
    bench = RabbitBench(amqp_url)
    url = urlsplit(amqp_url)._replace(netloc=f"{user}:s3cret@{place}").geturl()
    peer = bench.direct(url)
    peer.transport.start()
    reason = peer.mailbox.take(Failed).reason
    assert "s3cret" not in reason
    assert f"{user}:***@{place}" in reason
    assert "ACCESS_REFUSED" in reason
    assert not peer.mailbox.left(Disconnected)
    bench.close()


def test_an_unknown_vhost_fails_at_once(amqp_url: str) -> None:
    bench = RabbitBench(amqp_url)
    peer = bench.direct(urlsplit(amqp_url)._replace(path="/no-such-vhost").geturl())
    peer.transport.start()
    assert "no-such-vhost" in peer.mailbox.take(Failed).reason
    bench.close()


def test_a_broker_that_appears_late_is_found(amqp_url: str) -> None:
    parts = urlsplit(amqp_url)
    [port] = free_ports(1)
    place = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}"
    bench = RabbitBench(amqp_url)
    peer = bench.direct(parts._replace(netloc=place).geturl())
    peer.transport.start()
    lost = peer.mailbox.take(Disconnected)
    assert "refused" in lost.reason
    assert lost.retry_in_s > 0
    proxy = TcpProxy(bench.place, port)
    peer.mailbox.take(Connected)
    bench.close()
    proxy.close()


def test_a_name_that_does_not_resolve_is_tried_again(amqp_url: str) -> None:
    bench = RabbitBench(amqp_url)
    peer = bench.direct("amqp://guest:guest@no-such-host.invalid/")
    peer.transport.start()
    assert "no-such-host.invalid" in peer.mailbox.take(Disconnected).reason
    assert not peer.mailbox.left(Failed)
    bench.close()


def test_what_does_not_speak_amqp_is_tried_again(amqp_url: str) -> None:
    bench = RabbitBench(amqp_url)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        peer = bench.direct(f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/")
        peer.transport.start()
        peer.mailbox.take(Disconnected)
        assert not peer.mailbox.left(Failed)
    bench.close()


@pytest.fixture
def small_messages_only(rabbitmq_node: RabbitmqNode) -> Iterator[str]:
    """A vhost of a broker that takes 16 MiB at most, as RabbitMQ 4 does by default."""
    setting = "application:set_env(rabbit, max_message_size, {})."
    before = rabbitmq_node.ctl(
        "eval", "{ok, Bytes} = application:get_env(rabbit, max_message_size), Bytes."
    ).strip()
    rabbitmq_node.ctl("eval", setting.format(16 * 1024 * 1024))
    yield rabbitmq_node.url(rabbitmq_node.fresh_vhost())
    rabbitmq_node.ctl("eval", setting.format(before))


def test_a_message_above_the_brokers_limit_is_refused(small_messages_only: str) -> None:
    bench = RabbitBench(small_messages_only)
    peer = bench.peer().connect().declare()
    bodies = [b"before", bytes(20 * 1024 * 1024), b"behind"]
    tokens = [peer.transport.publish(Outgoing("", TASKS.name, body)) for body in bodies]
    before, large, behind = [peer.outcome(token) for token in tokens]
    assert isinstance(before, Confirmed)
    assert isinstance(behind, Confirmed)
    assert isinstance(large, Refused)
    assert "16777216" in large.reason
    assert "parts" in large.reason
    peer.publish(TASKS, b"again")
    assert not peer.mailbox.left(Disconnected)
    bench.close()


def test_questions_are_answered_after_the_channel_was_opened_again(bench: RabbitBench) -> None:
    peer = bench.peer("one").connect().declare()
    other = bench.peer("two").connect()
    other.consume(TASKS)
    peer.outcome(peer.transport.publish(Outgoing("x.none", "k", b"")))
    token = peer.transport.publish(Outgoing("", TASKS.name, b"?", answerable=True))
    question = other.delivered()
    assert question.answer_to is not None
    other.transport.answer(question.answer_to, b"!")
    assert peer.answer(token) == b"!"


def test_an_answer_goes_nowhere_but_to_who_asked(bench: RabbitBench) -> None:
    peer = bench.peer().connect().declare()
    peer.consume(TASKS)
    stranger = pika.BlockingConnection(pika.URLParameters(bench.url))
    forged = pika.BasicProperties(reply_to="q.other", correlation_id="7")
    stranger.channel().basic_publish("", TASKS.name, b"?", forged)
    assert peer.delivered().answer_to is None
    stranger.close()


def test_headers_of_strangers_do_no_harm(bench: RabbitBench) -> None:
    peer = bench.peer().connect().declare()
    peer.consume(TASKS)
    stranger = pika.BlockingConnection(pika.URLParameters(bench.url))
    channel = stranger.channel()
    odd: list[dict[str, object] | None] = [
        {"x-stream-offset": "many", "x-first-death-reason": 3},
        {"x-death": ["?"]},
        None,
    ]
    for headers in odd:
        properties = pika.BasicProperties(headers=headers, correlation_id="no number")
        channel.basic_publish("", TASKS.name, b"x", properties)
        delivered = peer.delivered()
        assert (delivered.offset, delivered.death, delivered.user_id) == (-1, "", "")
    stranger.close()


@pytest.fixture
def timid_url(rabbitmq_node: RabbitmqNode) -> Iterator[str]:
    """A vhost in which user "timid" may read q.tasks and write to x.direct, and nothing else."""
    vhost = rabbitmq_node.fresh_vhost()
    RabbitBench(rabbitmq_node.url(vhost)).declare_all()
    rabbitmq_node.ctl("add_user", "timid", "t1m1d")
    rights = ("^$", "^x[.]direct$", "^q[.]tasks$")
    rabbitmq_node.ctl("set_permissions", "-p", vhost, "timid", *rights)
    yield rabbitmq_node.url(vhost).replace("guest:guest", "timid:t1m1d")
    rabbitmq_node.ctl("delete_user", "timid")


def test_what_is_not_permitted_explains_itself(timid_url: str) -> None:
    bench = RabbitBench(timid_url)
    peer = bench.peer().connect()
    consumer = peer.consume(TASKS)
    token = peer.transport.publish(Outgoing("x.direct", "pool", b"mine"))
    assert isinstance(peer.outcome(token), Confirmed)
    delivered = peer.delivered()
    assert (delivered.user_id, delivered.consumer) == ("timid", consumer)
    for exchange in ("x.topic", ""):
        outcome = peer.outcome(peer.transport.publish(Outgoing(exchange, "q.other", b"x")))
        assert isinstance(outcome, Refused)
        assert "permission" in outcome.reason
    assert not peer.mailbox.left(Disconnected)
    work: list[Callable[[], object]] = [
        lambda: peer.transport.declare(TOPOLOGY),
        lambda: peer.transport.consume(STREAM, 1, 0),
        lambda: peer.transport.delete(TASKS),
    ]
    for act in work:
        act()
        reason = peer.mailbox.take(Failed).reason
        assert "permission" in reason
        assert "t1m1d" not in reason
        peer.connect()
    bench.close()


def test_a_key_that_is_not_permitted_takes_no_other_with_it(
    rabbitmq_node: RabbitmqNode, timid_url: str
) -> None:
    vhost = urlsplit(timid_url).path.lstrip("/")
    rabbitmq_node.ctl("set_permissions", "-p", vhost, "timid", "^$", "^x[.]topic$", "^$")
    mine = ("^u[.]run[.]0[.]timid$", "^$")
    rabbitmq_node.ctl("set_topic_permissions", "-p", vhost, "timid", "x.topic", *mine)
    bench = RabbitBench(timid_url)
    peer = bench.peer().connect()
    keys = ["u.run.0.timid", "u.run.0.other", "u.run.0.timid"]
    tokens = [peer.transport.publish(Outgoing("x.topic", key, b"x")) for key in keys]
    kinds = [type(peer.outcome(token)) for token in tokens]
    assert kinds == [Confirmed, Refused, Confirmed]
    bench.close()


@pytest.mark.parametrize("name", ["x" * 256, "\ud800"], ids=["long", "not UTF-8"])
def test_a_name_that_cannot_be_said_is_refused_and_nothing_else(
    bench: RabbitBench, name: str
) -> None:
    peer = bench.peer().connect().declare()
    for message in (Outgoing("", name, b""), Outgoing(name, "", b""), Outgoing("", "q", b"", name)):
        refused = peer.outcome(peer.transport.publish(message))
        assert isinstance(refused, Refused)
        assert "255 bytes" in refused.reason
    peer.transport.answer(AnswerTo(name, "1"), b"to nobody")
    peer.publish(TASKS, b"still here")
    assert not peer.mailbox.left(Disconnected)


def test_a_blocked_publish_is_doubtful_in_the_end(rabbitmq_node: RabbitmqNode) -> None:
    url = rabbitmq_node.url(rabbitmq_node.fresh_vhost()) + "?blocked_connection_timeout=1"
    bench = RabbitBench(url)
    peer = bench.direct(url).connect().declare()
    rabbitmq_node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        token = peer.transport.publish(Outgoing("", TASKS.name, b"x"))
        assert peer.outcome(token) == Doubtful(token)
        assert "locked" in peer.mailbox.take(Disconnected).reason
    finally:
        rabbitmq_node.ctl("set_vm_memory_high_watermark", "0.6")
    peer.mailbox.take(Connected)
    bench.close()


def test_the_broker_lists_a_client_by_its_name(rabbitmq_node: RabbitmqNode) -> None:
    bench = RabbitBench(rabbitmq_node.url(rabbitmq_node.fresh_vhost()))
    bench.peer("worker w17").connect()
    listed = rabbitmq_node.ctl("list_connections", "client_properties")
    assert "worker w17 (publishes)" in listed
    assert "worker w17 (consumes)" in listed
    bench.close()


def test_a_transport_may_be_stopped_from_its_own_thread(amqp_url: str) -> None:
    done = threading.Event()

    def post(event: object) -> None:
        if isinstance(event, Connected):
            transport.stop()
            done.set()

    transport = RabbitTransport(amqp_url, post, "one")
    transport.start()
    assert done.wait(20.0)
    transport.stop()
    assert not any(thread.name == "amqp one" for thread in threading.enumerate())


def test_an_error_in_its_thread_does_not_end_a_transport(amqp_url: str) -> None:
    mailbox = Mailbox()
    bad_news = [ZeroDivisionError("once")]

    def post(event: Event) -> None:
        mailbox.post(event)
        if isinstance(event, Connected) and bad_news:
            raise bad_news.pop()

    transport = RabbitTransport(amqp_url, post, "one")
    transport.start()
    assert "once" in mailbox.take(Disconnected).reason
    mailbox.take(Connected, lambda event: event.session == 2)
    Peer(transport, mailbox).declare().publish(TASKS, b"x")
    transport.stop()


def test_stopping_while_nobody_answers_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mailbox = Mailbox()
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/"
        transport = RabbitTransport(url, mailbox.post, "hopeful")
        transport.start()
        connection, _ = silent.accept()
        transport.stop(timeout_s=0.2)
        connection.close()
    assert not any(thread.name == "amqp hopeful" for thread in threading.enumerate())
