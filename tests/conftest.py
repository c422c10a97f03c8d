"""Fixtures for tests on a real RabbitMQ.

The broker is, in this order: the one of FEDMQ_TEST_AMQP_URL; a private node in a container of the
image that FEDMQ_TEST_RABBITMQ names; one of an installed rabbitmq-server; one installed by apt
where we are root. Where there is none the tests are skipped with a line that says what to do, and
fail where CI=true.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.support.rabbitmq_choice import node_here
from tests.support.rabbitmq_install import NoBrokerError
from tests.support.rabbitmq_node import RabbitmqNode

_NEED_A_BROKER = {"amqp_url", "rabbitmq_node"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a broker, so that `-m "not rabbitmq"` leaves it out."""
    for item in items:
        if _NEED_A_BROKER & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.rabbitmq)


@pytest.fixture(scope="session")
def _private_node() -> Iterator[RabbitmqNode]:
    try:
        node = node_here()
    except NoBrokerError as error:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def rabbitmq_node(_private_node: RabbitmqNode) -> Iterator[RabbitmqNode]:
    """The private node of this test session, to be killed, frozen and restarted at will."""
    yield _private_node
    _private_node.mend()


@pytest.fixture
def amqp_url(request: pytest.FixtureRequest) -> str:
    """The URL of a vhost that no other test used.

    With FEDMQ_TEST_AMQP_URL it is that one's vhost for all tests: take names from
    `federation_name`, so that tests do not meet there.
    """
    given = os.environ.get("FEDMQ_TEST_AMQP_URL")
    if given:
        return given
    node: RabbitmqNode = request.getfixturevalue("rabbitmq_node")
    return node.url(node.fresh_vhost())


@pytest.fixture
def federation_name() -> str:
    """A federation's name that no other test uses."""
    return f"test-{secrets.token_hex(4)}"
