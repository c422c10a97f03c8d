"""What a worker has of a depot, if one is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from depot import Depot, DepotError, put_whole
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

        num_bytes = memoryview(payload).nbytes
        self.updates.do(lambda: put_whole(self.depot, name, num_bytes, lambda: payload), told)

    def close(self) -> None:
        """Do nothing more there. Safe to call twice."""
        self.models.close()
        self.updates.close()
