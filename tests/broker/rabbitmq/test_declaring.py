"""What is declared, as it goes over the wire."""

from __future__ import annotations

from typing import Any, cast

from pika.channel import Channel

from broker.rabbitmq.declaring import _steps
from broker.topology import Names

TOPOLOGY = Names("hospital").topology


class Recorder:
    """A channel that writes down what it is asked to declare."""

    def __init__(self) -> None:
        self.exchanges: dict[str, dict[str, Any]] = {}
        self.queues: dict[str, dict[str, Any]] = {}
        self.bindings: list[tuple[Any, ...]] = []

    def exchange_declare(self, name: str, kind: str, **options: Any) -> None:
        del options["callback"]
        self.exchanges[name] = {"kind": kind, **options}

    def queue_declare(self, name: str, **options: Any) -> None:
        del options["callback"]
        self.queues[name] = options

    def queue_bind(self, *names: Any, callback: object) -> None:
        self.bindings.append(names)


def declared() -> Recorder:
    recorder = Recorder()
    for step in _steps(TOPOLOGY):
        step(cast(Channel, recorder), lambda _: None)
    return recorder


def test_no_exchange_has_an_alternate_or_a_misrouted_update_would_be_confirmed_and_lost() -> None:
    assert declared().exchanges == {
        exchange.name: {"kind": exchange.kind, "durable": True} for exchange in TOPOLOGY.exchanges
    }


def test_queues_are_durable_and_have_the_arguments_of_the_topology() -> None:
    assert declared().queues == {
        queue.name: {"durable": True, "arguments": queue.arguments()} for queue in TOPOLOGY.queues
    }
