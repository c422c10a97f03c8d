"""Putting an object and knowing that it is there."""

from __future__ import annotations

from collections.abc import Callable

from depot.depot import Depot, nothing
from depot.errors import DepotUnreachable
from schemas.buffer import Buffer


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
