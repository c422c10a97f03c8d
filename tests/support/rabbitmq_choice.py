"""Which RabbitMQ a private node is of: the installed one, or that of FEDMQ_TEST_RABBITMQ.

FEDMQ_TEST_RABBITMQ=image:rabbitmq:4-management     a container of that image
"""

from __future__ import annotations

import os

from tests.support.rabbitmq_container import ContainerNode
from tests.support.rabbitmq_install import NoBrokerError, find_or_install_server, find_server
from tests.support.rabbitmq_installed import InstalledNode
from tests.support.rabbitmq_node import RabbitmqNode

VARIABLE = "FEDMQ_TEST_RABBITMQ"
_IMAGE = "image:"


def node_here(advanced_config: str = "", *, install: bool = True) -> RabbitmqNode:
    """A private node that was not started yet.

    Args:
        advanced_config: Erlang terms that it is configured by, "" for none.
        install: Install RabbitMQ where there is none and that is possible.

    Raises:
        NoBrokerError: There is none to be had; the message says what to do.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen.startswith(_IMAGE):
        return ContainerNode(chosen.removeprefix(_IMAGE), advanced_config)
    if chosen:
        raise NoBrokerError(f"{VARIABLE}: expected {_IMAGE}NAME, came {chosen!r}")
    script = find_or_install_server() if install else find_server()
    if script is None:
        raise NoBrokerError("no rabbitmq-server is installed: apt-get install rabbitmq-server")
    return InstalledNode(script, advanced_config)
