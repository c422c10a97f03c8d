"""The transport over RabbitMQ keeps the contract, and bears what only a real broker does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from broker.rabbitmq import RabbitTransport
from broker.topology import Queue, Topology
from broker.transport import (
    Confirmed,
    Connected,
    Delivered,
    Disconnected,
    Doubtful,
    Failed,
    Outgoing,
    Refused,
)
from tests.broker.tcp_proxy import TcpProxy
from tests.contracts.mailbox import Mailbox
from tests.contracts.transport_contract import (
    STREAM,
    TASKS,
    TOPOLOGY,
    Bench,
    Peer,
    TransportContract,
)
from tests.support.rabbitmq_node import RabbitmqNode, free_ports

pytestmark = pytest.mark.rabbitmq


class RabbitBench(Bench):
    """Clients of a vhost, each behind a wire of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._parts = urlsplit(url)
        self._proxies: dict[Peer, TcpProxy] = {}
        self.user = self._parts.username or "guest"

    def peer(self, name: str = "client") -> Peer:
        proxy = TcpProxy(self._parts.port or 5672)
        place = self._parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{proxy.port}"
        peer = self.direct(self._parts._replace(netloc=place).geturl(), name)
        self._proxies[peer] = proxy
        return peer

    def direct(self, url: str, name: str = "client") -> Peer:
        mailbox = Mailbox()
        peer = Peer(RabbitTransport(url, mailbox.post, name), mailbox)
        self._proxies.setdefault(peer, TcpProxy(0))
        return peer

    def mute(self, peer: Peer) -> None:
        self._proxies[peer].mute()

    def cut(self, peer: Peer) -> None:
        self._proxies[peer].cut()

    def elapse(self, seconds: float) -> None:
        """Time passes by itself."""

    def forget(self) -> None:
        """Delete what tests on one shared vhost would find of each other."""
        peer = self.direct(self._url).connect()
        for queue in TOPOLOGY.queues:
            peer.transport.delete(queue)
        peer.declare(Topology((), (), ()))
        peer.transport.stop()

    def close(self) -> None:
        for peer, proxy in self._proxies.items():
            peer.transport.stop()
            proxy.close()


@pytest.fixture
def bench(amqp_url: str) -> Iterator[RabbitBench]:
    bench = RabbitBench(amqp_url)
    if "FEDMQ_TEST_AMQP_URL" in os.environ:
        bench.forget()
    yield bench
    bench.close()


class TestRabbitTransport(TransportContract):
    @pytest.fixture
    def bench(self, bench: RabbitBench) -> RabbitBench:
        return bench
