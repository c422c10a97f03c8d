"""A transport is made from a URL, or the URL is refused in words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from broker.connect import open_transport
from broker.errors import BrokerError, BrokerUrlError
from broker.transport import Doubtful, Event, Outgoing


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "http://bob:s3cret@host",
        "host:5672",
        "",
        "amqp://bob:s3cret@host:port/v",
        "amqp://bob@host/v",
        "amqp://bob:s3cret@[host/v",
        "amqp://bob:s3cret@host/v?heartbeat=often",
        "amqp://bob:s3cret@host/v?unknown=1",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BrokerUrlError, match="expected") as caught:
        open_transport(url, lambda event: None, "one")
    assert "s3cret" not in str(caught.value)
    assert isinstance(caught.value, BrokerError)


def test_a_transport_that_is_not_started_has_no_thread_and_doubts() -> None:
    events: list[Event] = []
    transport = open_transport("amqp://bob:s3cret@host/v", events.append, "one")
    token = transport.publish(Outgoing("", "q", b""))
    assert events == [Doubtful(token)]
    transport.disconnect()
    transport.stop()
    transport.start()
    transport.publish(Outgoing("", "q", b""))
    assert len(events) == 1


def test_importing_the_broker_brings_neither_pika_nor_arrays() -> None:
    code = (
        "import sys, broker.connect, broker.memory, broker.topology, broker.transport;"
        "print(sorted({'pika', 'numpy', 'tenacity', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
