from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pika
import pytest

from tests.support.rabbitmq_choice import node_here
from tests.support.rabbitmq_installed import InstalledNode, guard
from tests.support.rabbitmq_node import RabbitmqNode, free_ports, stands_still

DEADLINE_S = 60.0


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "the condition did not come true in time"
        time.sleep(0.02)


def connect(url: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(url))


def test_ports_are_distinct_and_below_those_of_outgoing_connections() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    assert max(ports) < 32_768


def test_node_and_port_mapper_end_when_those_who_started_them_do(tmp_path: Path) -> None:
    vm = subprocess.Popen(["sleep", "600"], start_new_session=True)
    epmd = subprocess.Popen(["sleep", "600"])
    (tmp_path / "data").mkdir()
    watcher = guard(vm, epmd, tmp_path / "data")
    watcher.communicate(timeout=DEADLINE_S)  # closes its input
    assert vm.wait(DEADLINE_S) == epmd.wait(DEADLINE_S) == -9
    assert not (tmp_path / "data").exists()


def test_a_fresh_vhost_answers_and_is_empty(amqp_url: str) -> None:
    connection = connect(amqp_url)
    channel = connection.channel()
    declared = channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
    assert declared.method.message_count == 0
    channel.queue_delete("q")
    connection.close()


def test_each_vhost_is_given_out_once(rabbitmq_node: RabbitmqNode) -> None:
    vhosts = [rabbitmq_node.fresh_vhost() for _ in range(40)]
    assert len(set(vhosts)) == 40
    connect(rabbitmq_node.url(vhosts[-1])).close()


@pytest.mark.slow
def test_a_node_whose_port_was_taken_meanwhile_takes_another(rabbitmq_node: RabbitmqNode) -> None:
    if not isinstance(rabbitmq_node, InstalledNode):
        pytest.skip("an engine says otherwise that a port is taken")
    node = node_here()
    with socket.create_server(("127.0.0.1", node.port)) as taken:
        try:
            node.start()
            assert node.port != taken.getsockname()[1]
            connect(node.url()).close()
        finally:
            node.stop()


@pytest.mark.slow
def test_a_confirmed_message_survives_kill_and_restart(rabbitmq_node: RabbitmqNode) -> None:
    url = rabbitmq_node.url(rabbitmq_node.fresh_vhost())
    connection = connect(url)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("kept", durable=True, arguments={"x-queue-type": "quorum"})
    persistent = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish("", "kept", b"still here", persistent, mandatory=True)
    rabbitmq_node.kill()
    assert not rabbitmq_node.answers()
    with pytest.raises(pika.exceptions.AMQPError):
        channel.basic_publish("", "kept", b"nobody listens", persistent, mandatory=True)
    assert connection.is_closed
    rabbitmq_node.restart()
    channel = connect(url).channel()
    bodies: list[bytes] = []
    wait_until(lambda: take(channel, bodies))
    assert bodies == [b"still here"]
    channel.connection.close()


def take(channel: pika.adapters.blocking_connection.BlockingChannel, bodies: list[bytes]) -> bool:
    method, _, body = channel.basic_get("kept", auto_ack=True)
    if method is not None and body is not None:
        bodies.append(body)
    return method is not None


def test_a_frozen_node_keeps_its_connections_and_goes_on(rabbitmq_node: RabbitmqNode) -> None:
    with closing(connect(rabbitmq_node.url(rabbitmq_node.fresh_vhost()))) as connection:
        rabbitmq_node.pause()
        try:
            assert stands_still(rabbitmq_node.pid)
            assert not rabbitmq_node.answers()
        finally:
            rabbitmq_node.resume()
        assert connection.channel().is_open
