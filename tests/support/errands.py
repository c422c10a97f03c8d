"""Porters without threads: one does an errand at once, one when a test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from depot.porter import outcome_of


class PromptPorter:
    """A `depot.porter.Porter` that does an errand at once, on the caller's thread."""

    def __init__(self) -> None:
        self._closed = False

    @property
    def is_busy(self) -> bool:
        """See `Porter.is_busy`."""
        return False

    def do(self, errand: Callable[[], Any], tell: Callable[[Any], object]) -> None:
        """See `Porter.do`."""
        if not self._closed:
            tell(outcome_of(errand))

    def do_instead(self, errand: Callable[[], Any], tell: Callable[[Any], object]) -> None:
        """See `Porter.do_instead`."""
        self.do(errand, tell)

    def close(self) -> None:
        """See `Porter.close`."""
        self._closed = True


class HeldPorter:
    """A `depot.porter.Porter` that waits to be told: until then the depot hangs.

    Attributes:
        waiting: Errands that are to be done; the first is under way.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[Callable[[], Any], Callable[[Any], object]]] = deque()
        self.closed = False

    @property
    def is_busy(self) -> bool:
        """See `Porter.is_busy`."""
        return bool(self.waiting)

    def do(self, errand: Callable[[], Any], tell: Callable[[Any], object]) -> None:
        """See `Porter.do`."""
        self.waiting.append((errand, tell))

    def do_instead(self, errand: Callable[[], Any], tell: Callable[[Any], object]) -> None:
        """See `Porter.do_instead`."""
        while len(self.waiting) > 1:
            self.waiting.pop()
        self.do(errand, tell)

    def close(self) -> None:
        """See `Porter.close`."""
        self.closed = True

    def go(self) -> bool:
        """Do the next errand; whether there was one."""
        if not self.waiting or self.closed:
            return False
        errand, tell = self.waiting.popleft()
        tell(outcome_of(errand))
        return True
