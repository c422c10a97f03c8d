"""Putting an object, and knowing that it is there."""

from __future__ import annotations

from collections.abc import Callable

from depot.depot import RANGE_BYTES, Depot, nothing
from depot.errors import DepotUnreachable
from schemas.buffer import Buffer
from schemas.digest import RunningDigest


def put_whole(
    depot: Depot,
    name: str,
    num_bytes: int,
    read: Callable[[], Buffer],
    moved: Callable[[], object] = nothing,
    *,
    again: bool = False,
) -> None:
    """Put an object, unless it lies there; then look whether it lies there.

    Args:
        depot: Where to.
        name: Of the object.
        num_bytes: Its size.
        read: Gives its bytes, if they are needed.
        moved: Called each time that it has come on.
        again: Put it also over one of its size, which may not be it.

    Raises:
        DepotError: It is not known to lie there.
    """
    if not again and depot.size(name) == num_bytes:
        return
    moved()
    depot.put(name, read(), moved)
    found = depot.size(name)
    if found != num_bytes:
        raise DepotUnreachable(f"expected {num_bytes} bytes of {name} after a put, found {found}")


def fault_of(
    depot: Depot,
    name: str,
    num_bytes: int,
    digest: str | None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> str:
    """What is wrong with an object, "" if nothing is.

    Args:
        depot: Where it should lie.
        name: Of the object.
        num_bytes: Its size.
        digest: Of its bytes, which are read for it; None: only its size is looked at.
        is_wanted: Whether to go on reading.

    Raises:
        DepotError: It is not known.
    """
    there = depot.size(name)
    if there is None:
        return "it is not there"
    if there != num_bytes:
        return f"expected {num_bytes} bytes, found {there}"
    if digest is None:
        return ""
    running = RunningDigest()
    for start in range(0, num_bytes, RANGE_BYTES):
        if not is_wanted():
            raise DepotUnreachable("it was not read to its end: it is not wanted any more")
        running.update(depot.read(name, start, min(RANGE_BYTES, num_bytes - start)))
    came = running.digits()
    return "" if came == digest else f"expected digest {digest:.12}…, came {came:.12}…"
