"""How long somebody has waited for a depot.

A folder may hang in a call, a network that is cut may do so for a long time, and neither raises
anything. So whoever gives an errand looks at the clock himself.
"""

from __future__ import annotations

import math
from collections.abc import Callable


class Patience:
    """What is waited for, and since when nothing was heard of it.

    Args:
        now: In seconds; asked on any thread.
        limit_s: How long nothing may be heard.
    """

    def __init__(self, now: Callable[[], float], limit_s: float) -> None:
        self._now = now
        self._limit_s = limit_s
        self._heard_at = 0.0
        self._waits = False

    def begin(self) -> None:
        """Something is waited for from now on, and nothing else."""
        self._waits = True
        self._heard_at = self._now()

    def moved(self) -> None:
        """It goes on; from any thread."""
        self._heard_at = self._now()

    def end(self) -> None:
        """Nothing is waited for any more."""
        self._waits = False

    @property
    def ends_at(self) -> float:
        """When it ends unless something is heard; infinite if it has, or nothing is awaited."""
        return self._heard_at + self._limit_s if self._waits else math.inf

    def has_ended(self) -> bool:
        """Whether it has ended; said once, until something else is waited for."""
        if self.ends_at > self._now():
            return False
        self._waits = False
        return True
