"""What a worker has of a depot, if one is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from depot import Depot, DepotError, DepotUnreachable
from depot.porter import Porter
from schemas.buffer import Buffer
from worker.events import Ref


@dataclass(frozen=True, slots=True)
class ObjectPut:
    """An update was put into the depot, or was not.

    Attributes:
        ref: The attempt.
        error: Why it is not known to be there, "" if it is.
    """

    ref: Ref
    error: str


@dataclass(frozen=True, slots=True)
class ByDepot:
    """A depot, and who goes there.

    Attributes:
        models: Reads models.
        updates: Puts updates, so that the next model need not wait for one.
    """

    depot: Depot
    models: Porter
    updates: Porter

    def put(
        self, ref: Ref, name: str, payload: Buffer, tell: Callable[[ObjectPut], object]
    ) -> None:
        """Put an update's payload, unless it lies there, and tell what came of it."""

        def told(came: DepotError | None) -> None:
            tell(ObjectPut(ref, "" if came is None else str(came)))

        self.updates.do(lambda: put_once(self.depot, name, payload), told)

    def close(self) -> None:
        """Do nothing more there. Safe to call twice."""
        self.models.close()
        self.updates.close()


def put_once(depot: Depot, name: str, payload: Buffer) -> None:
    """Put an object unless one of that size lies there; then look whether it does.

    Raises:
        DepotError: It is not known to lie there.
    """
    num_bytes = memoryview(payload).nbytes
    if depot.size(name) == num_bytes:
        return
    depot.put(name, payload)
    found = depot.size(name)
    if found != num_bytes:
        raise DepotUnreachable(f"expected {num_bytes} bytes of {name} after a put, found {found}")
