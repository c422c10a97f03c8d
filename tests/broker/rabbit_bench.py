"""Clients of a real broker, for tests: each behind a wire that can be cut."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

from broker.rabbitmq import DrivenTransport, RabbitTransport
from broker.topology import Topology
from broker.transport import Post
from tests.broker.tcp_proxy import TcpProxy, Wire
from tests.contracts.mailbox import Mailbox
from tests.contracts.transport_contract import LATE, OWN, SHORT, SPARE, TOPOLOGY, Bench, Peer


class PumpedTransport(DrivenTransport):
    """A driven transport, and who drives it."""

    def __init__(self, url: str, post: Post, name: str, **options: Any) -> None:
        super().__init__(url, post, name, **options)
        self._pump: threading.Thread | None = threading.Thread(target=self._drive_on, daemon=True)
        self._pump.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        pump, self._pump = self._pump, None
        if pump is not None:
            self.wake()
            pump.join()
        super().stop(timeout_s)

    def _drive_on(self) -> None:
        while self._pump is not None:
            self.drive(60.0)


class RabbitBench(Bench):
    """Clients of a vhost, each behind a wire of its own."""

    def __init__(self, url: str, make: type[RabbitTransport] = RabbitTransport) -> None:
        self.url = url
        self.make = make
        self.linger_s = self.rest_s = 600.0  # longer than any test
        self._parts = urlsplit(url)
        self.place = (self._parts.hostname or "localhost", self._parts.port or 5672)
        self._peers: list[Peer] = []
        self._proxies: dict[Peer, TcpProxy] = {}
        self.user = self._parts.username or "guest"

    def peer(self, name: str = "client") -> Peer:
        proxy = TcpProxy(self.place)
        place = self._parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{proxy.port}"
        peer = self.direct(self._parts._replace(netloc=place).geturl(), name)
        self._proxies[peer] = proxy
        return peer

    def direct(self, url: str, name: str = "client") -> Peer:
        mailbox = Mailbox()
        transport = self.make(
            url,
            mailbox.post,
            name,
            retry_max_s=1.0,
            linger_s=self.linger_s,
            rest_s=self.rest_s,
        )
        peer = Peer(transport, mailbox)
        self._peers.append(peer)
        return peer

    def mute(self, peer: Peer) -> None:
        self._proxies[peer].mute()

    def cut(self, peer: Peer) -> None:
        self._proxies[peer].cut()

    def wires(self, peer: Peer) -> list[Wire]:
        """The client's connections, the newest last."""
        return self._proxies[peer].live()

    def elapse(self, seconds: float) -> None:
        """Time passes by itself."""

    def forget(self) -> None:
        """Delete what a test would find of the one before."""
        peer = self.direct(self.url).connect()
        for queue in (*TOPOLOGY.queues, LATE, OWN, SHORT, SPARE):
            peer.transport.delete(queue)
        peer.declare(Topology((), (), ()))
        peer.transport.stop()

    def declare_all(self) -> None:
        self.direct(self.url).connect().declare()
        self.close()

    def close(self) -> None:
        for peer in self._peers:
            peer.transport.stop()
        for proxy in self._proxies.values():
            proxy.close()
