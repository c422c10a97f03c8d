"""What a worker has of a depot, if one is set.

A folder on a server that hangs raises nothing and does not return. So what is put there is given up
after `SILENCE_S` without a word, and the update goes another way; a thread in such a call cannot be
stopped, and so nothing else is asked of it meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from depot import Depot, DepotError, put_whole
from depot.patience import Patience
from depot.porter import Porter
from schemas.buffer import Buffer
from worker.events import Ref

_log = logging.getLogger("worker")
SILENCE_S = 900.0  # a request to a bucket has a limit of its own, and is tried again
_SILENCE = f"it has not answered for {SILENCE_S:.0f} s"


@dataclass(frozen=True, slots=True)
class ObjectPut:
    """An update was put into the depot, or was not.

    Attributes:
        ref: The attempt.
        error: Why it is not known to be there, "" if it is.
    """

    ref: Ref
    error: str


class ByDepot:
    """A depot, and who goes there. One update is put at a time, the one that was asked for last.

    Args:
        depot: Where to.
        models: Reads models.
        updates: Puts updates, so that the next model need not wait for one.
        now: Monotonic seconds; asked on any thread.
    """

    def __init__(
        self, depot: Depot, models: Porter, updates: Porter, now: Callable[[], float]
    ) -> None:
        self.depot = depot
        self.models = models
        self._updates = updates
        self._patience = Patience(now, SILENCE_S)
        self._ref: Ref | None = None  # what is waited for
        self._hangs = False  # what was waited for then may be under way still

    def put(
        self, ref: Ref, name: str, payload: Buffer, tell: Callable[[ObjectPut], object]
    ) -> None:
        """Put an update's payload, unless it lies there, and tell what came of it."""
        self._hangs = self._hangs and self._updates.is_busy
        if self._hangs:
            tell(ObjectPut(ref, _SILENCE))
            return
        self._ref = ref
        self._patience.begin()
        num_bytes, moved = memoryview(payload).nbytes, self._patience.moved

        def told(came: DepotError | None) -> None:
            tell(ObjectPut(ref, "" if came is None else str(came)))

        self._updates.do_instead(
            lambda: put_whole(self.depot, name, num_bytes, lambda: payload, moved), told
        )

    def heard(self, came: ObjectPut) -> None:
        """What came of a put was taken in."""
        if came.ref == self._ref:
            self._ref = None
            self._patience.end()

    @property
    def gives_up_at(self) -> float:
        """When to call `give_up`; infinite if nothing is waited for."""
        return self._patience.ends_at

    def give_up(self, tell: Callable[[ObjectPut], object]) -> None:
        """Tell that a put has failed of which nothing was heard for long.

        It may be under way still, and nothing else is put until it has ended.
        """
        if self._ref is not None and self._patience.has_ended():
            self._hangs = True
            _log.warning("an update is not put into the depot: %s", _SILENCE)
            tell(ObjectPut(self._ref, _SILENCE))

    def close(self) -> None:
        """Do nothing more there. Safe to call twice."""
        self.models.close()
        self._updates.close()
