"""Virtual time: what is to happen, in order. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

Call = Callable[[], None]


class VirtualTime:
    """A clock that goes on when the next thing happens.

    What is due at the same moment happens in the order in which it was asked for.

    Attributes:
        now: Seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._due: list[tuple[float, int, Call]] = []
        self._numbers = itertools.count()

    def call_in(self, delay_s: float, call: Call) -> None:
        """Have something happen after a delay; what is late already happens next."""
        due = self.now + max(delay_s, 0.0)
        heapq.heappush(self._due, (due, next(self._numbers), call))

    def step(self, until: float) -> bool:
        """Let the next thing happen; False, and time goes on to `until`, if it is later."""
        if not self._due or self._due[0][0] > until:
            self.now = max(self.now, until)
            return False
        due, _, call = heapq.heappop(self._due)
        self.now = max(self.now, due)
        call()
        return True
