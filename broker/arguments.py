"""Checks of calls that no broker could carry out, the same for every transport."""

from __future__ import annotations

from broker.errors import BrokerArgumentError
from broker.topology import Queue

PREFETCH_MAX = 65535


def check_consume(queue: Queue, prefetch: int, offset: int | None) -> None:
    """Check the arguments of `Transport.consume`.

    Raises:
        BrokerArgumentError: The prefetch is out of range, or the offset is of no use here.
    """
    if not 1 <= prefetch <= PREFETCH_MAX:  # 0 would mean "no limit": 2000 on quorum queues
        raise BrokerArgumentError(
            f"prefetch of {queue.name}: expected 1 to {PREFETCH_MAX}, got {prefetch}"
        )
    if offset is not None and queue.kind != "stream":
        raise BrokerArgumentError(
            f"only streams are read by offset, {queue.name} is a {queue.kind} queue: pass None"
        )
    if offset is not None and offset < 0:
        raise BrokerArgumentError(f"offset in {queue.name}: expected 0 or more, got {offset}")


def check_count(queue: Queue) -> None:
    """Check the argument of `Transport.count`.

    Raises:
        BrokerArgumentError: What is in a stream waits for nobody.
    """
    if queue.kind == "stream":
        raise BrokerArgumentError(f"{queue.name} is a stream and cannot be counted: read it")


def check_purge(queue: Queue) -> None:
    """Check the argument of `Transport.purge`.

    Raises:
        BrokerArgumentError: Streams cannot be purged.
    """
    if queue.kind == "stream":
        raise BrokerArgumentError(f"{queue.name} is a stream and cannot be purged: delete it")
