"""Over TLS everything goes through pika, and arrives as it does without."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.rabbitmq import RabbitTransport
from broker.topology import Queue, Topology
from broker.transport import Confirmed, Disconnected, Outgoing
from tests.broker.rabbit_bench import PumpedTransport, RabbitBench
from tests.broker.strange_headers import STRANGE, publish_strangely
from tests.broker.tls_proxy import TlsProxy, make_certificate
from tests.contracts.transport_contract import Peer

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate: openssl"),
]

SIZES = [0, 1, 1024, 65_536, 200_000, 300_000, 3_000_000]
BODIES = [random.Random(size).randbytes(size) for size in SIZES]


@dataclass(frozen=True)
class Secured:
    """Clients that speak TLS, and their queues."""

    bench: RabbitBench
    proxy: TlsProxy
    url: str
    updates: Queue
    parts: Queue

    def peer(self) -> Peer:
        return self.bench.direct(self.url)

    def connected(self) -> Peer:
        return self.peer().connect().declare(Topology((), (self.updates, self.parts), ()))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=[RabbitTransport, PumpedTransport])
def secured(
    request: pytest.FixtureRequest,
    amqp_url: str,
    federation_name: str,
    certificate: tuple[Path, Path],
) -> Iterator[Secured]:
    bench = RabbitBench(amqp_url, request.param)
    proxy, parts = TlsProxy(bench.place, certificate), urlsplit(amqp_url)
    place = parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{proxy.port}"
    yield Secured(
        bench,
        proxy,
        parts._replace(scheme="amqps", netloc=place).geturl(),
        Queue(f"{federation_name}.updates", "quorum"),
        Queue(f"{federation_name}.parts", "stream", max_bytes=10**8, segment_bytes=16_000_000),
    )
    bench.close()
    proxy.close()


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path]) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


@pytest.mark.usefixtures("trusted")
def test_bodies_of_any_size_go_both_ways(secured: Secured) -> None:
    peer = secured.connected()
    for queue, offset in ((secured.updates, None), (secured.parts, 0)):
        for body in BODIES:
            head, payload = body[: len(body) // 3], body[len(body) // 3 :]
            token = peer.transport.publish(
                Outgoing("", queue.name, head, message_id=f"id {len(body)}", payload=payload)
            )
            assert isinstance(peer.outcome(token), Confirmed)
        peer.consume(queue, prefetch=2, offset=offset)
        for body in BODIES:
            delivered = peer.delivered()
            assert delivered.body == body
            assert delivered.message_id == f"id {len(body)}"
            assert delivered.user_id == secured.bench.user
            peer.transport.ack(delivered.tag)
    assert peer.count(secured.updates) == 0
    assert secured.proxy.num_connections == 3, "all of it went over TLS"


@pytest.mark.usefixtures("trusted")
def test_a_question_is_answered(secured: Secured) -> None:
    coordinator = secured.connected()
    coordinator.consume(secured.updates)
    worker = secured.peer().connect()
    for body in BODIES:
        token = worker.transport.publish(Outgoing("", secured.updates.name, body, answerable=True))
        question = coordinator.delivered()
        assert question.body == body
        assert question.answer_to is not None
        coordinator.transport.answer(question.answer_to, body)
        coordinator.transport.ack(question.tag)
        assert worker.answer(token) == body


def test_a_broker_whose_certificate_nobody_trusts_is_not_spoken_to(secured: Secured) -> None:
    peer = secured.peer()
    peer.transport.start()
    assert "CERTIFICATE_VERIFY_FAILED" in peer.mailbox.take(Disconnected).reason
    assert secured.proxy.num_connections == 0


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_headers_that_cannot_be_read_end_no_connection(
    secured: Secured, scheme: str, strange: str
) -> None:
    peer = secured.connected()
    publish_strangely(secured.bench.url, secured.updates.name, STRANGE[strange], b"strange")
    reader = peer if scheme == "amqps" else secured.bench.direct(secured.bench.url).connect()
    peer.publish(secured.updates, b"next")
    reader.consume(secured.updates)
    assert reader.delivered().body == b"strange"
    assert reader.delivered().body == b"next"
    assert reader.mailbox.left(Disconnected) == []
