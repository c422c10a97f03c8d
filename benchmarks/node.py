"""The broker that benchmarks run on: one that is given, or a private node of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.processes import cpu_s
from tests.support.rabbitmq_choice import node_here
from tests.support.rabbitmq_install import NoBrokerError


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it answers, and which process it is; no process if it is not ours to look at."""

    url: str
    pid: int | None = None

    def cpu_s(self) -> float:
        """Seconds of CPU it took so far; 0 if unknown."""
        return 0.0 if self.pid is None else cpu_s(self.pid)


@contextmanager
def broker(url: str = "", advanced_config: str = "") -> Iterator[Broker]:
    """The broker at a URL, or a private node that is gone afterwards.

    Args:
        url: Where it answers; "" for a private node.
        advanced_config: Erlang terms that the private node is configured by.
    """
    if url:
        yield Broker(url)
        return
    try:
        node = node_here(advanced_config, install=False)
    except NoBrokerError as error:
        sys.exit(f"{error}, or pass --url")
    node.start()
    try:
        yield Broker(node.url(), node.pid)
    finally:
        node.stop()
