"""What the tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from broker.rabbitmq import RabbitTransport
from tests.broker.rabbit_bench import RabbitBench
from tests.support.rabbitmq_node import RabbitmqNode


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[RabbitBench]:
    """Clients of one vhost for all tests here: a fresh one for each takes twice as long."""
    url = os.environ.get("FEDMQ_TEST_AMQP_URL")
    if not url:
        node: RabbitmqNode = request.getfixturevalue("rabbitmq_node")
        url = node.url(node.shared_vhost())
    bench = RabbitBench(url, getattr(request.cls, "transport", RabbitTransport))
    bench.forget()
    yield bench
    bench.close()
