"""A porter in virtual time: an errand takes a while, and ends with the process that gave it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from depot.porter import outcome_of
from simulation.clock import VirtualTime
from simulation.mishaps import Mishaps

FROZEN_S = 1.0  # after which a frozen process is looked at again


class VirtualPorter:
    """A `depot.porter.Porter` of one life of a process.

    Args:
        time: When errands are done.
        rng: How long they take.
        mishaps: Of the life: when it has ended, nothing is done any more.
        is_frozen: Whether the process is stopped, its threads with it.
        poke: Something has come for the process.
        duration_s: The mean time of an errand.
        delay_s: How much later what came of an errand is told: the depot hangs.
    """

    def __init__(
        self,
        time: VirtualTime,
        rng: random.Random,
        mishaps: Mishaps,
        is_frozen: Callable[[], bool],
        poke: Callable[[], None],
        duration_s: float,
        delay_s: Callable[[], float],
    ) -> None:
        self._time = time
        self._rng = rng
        self._mishaps = mishaps
        self._is_frozen = is_frozen
        self._poke = poke
        self._duration_s = duration_s
        self._delay_s = delay_s
        self._errands: deque[tuple[Callable[[], Any], Callable[[Any], object]]] = deque()
        self._closed = False

    @property
    def is_busy(self) -> bool:
        """See `Porter.is_busy`."""
        return bool(self._errands)

    def do(self, errand: Callable[[], Any], tell: Callable[[Any], object]) -> None:
        """See `Porter.do`."""
        self._errands.append((errand, tell))
        if len(self._errands) == 1:
            self._call_in(self._rng.expovariate(1 / self._duration_s))

    def do_instead(self, errand: Callable[[], Any], tell: Callable[[Any], object]) -> None:
        """See `Porter.do_instead`."""
        while len(self._errands) > 1:  # the first is under way
            self._errands.pop()
        self.do(errand, tell)

    def close(self) -> None:
        """See `Porter.close`."""
        self._closed = True

    def _call_in(self, delay_s: float) -> None:
        self._time.call_in(delay_s, self._go)

    def _go(self) -> None:
        if self._closed or self._mishaps.ended:
            return
        if self._is_frozen():
            self._call_in(FROZEN_S)
            return
        errand, tell = self._errands[0]
        came, delay_s = outcome_of(errand), self._delay_s()
        if delay_s:
            self._time.call_in(delay_s, lambda: self._told(came, tell))
        else:
            self._told(came, tell)

    def _told(self, came: Any, tell: Callable[[Any], object]) -> None:
        if self._closed or self._mishaps.ended:
            return
        if self._is_frozen():
            self._time.call_in(FROZEN_S, lambda: self._told(came, tell))
            return
        tell(came)
        self._errands.popleft()
        if self._errands:
            self._call_in(self._rng.expovariate(1 / self._duration_s))
        self._poke()
