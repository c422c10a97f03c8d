"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker.rabbit_bench import RabbitBench

_shared_urls: list[str] = []


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[RabbitBench]:
    """Clients of one vhost for all tests here: a fresh one for each takes twice as long."""
    if not _shared_urls:
        _shared_urls.append(request.getfixturevalue("amqp_url"))
    bench = RabbitBench(_shared_urls[0])
    bench.forget()
    yield bench
    bench.close()
