"""A service's mailbox for tests: keeps what was posted, and waits for what is to come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from broker.transport import Event

DEADLINE_S = 20.0

E = TypeVar("E")


class Mailbox:
    """Events in the order in which they were posted; `take` waits for one and removes it."""

    def __init__(self) -> None:
        self.history: list[Event] = []
        self._fresh: list[Event] = []
        self._changed = threading.Condition()

    def post(self, event: Event) -> None:
        with self._changed:
            self.history.append(event)
            self._fresh.append(event)
            self._changed.notify_all()

    def take(
        self,
        kind: type[E],
        matches: Callable[[E], bool] = lambda event: True,
        deadline_s: float = DEADLINE_S,
    ) -> E:
        """The first event of a kind that matches and was not taken yet."""
        until = time.monotonic() + deadline_s
        with self._changed:
            while True:
                for index, event in enumerate(self._fresh):
                    if isinstance(event, kind) and matches(event):
                        del self._fresh[index]
                        return event
                left_s = until - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    raise AssertionError(
                        f"no such {kind.__name__} in {deadline_s} s; not taken: {self._fresh[:20]}"
                    )

    def left(self, kind: type[E]) -> list[E]:
        """The events of a kind that were posted and not taken."""
        with self._changed:
            return [event for event in self._fresh if isinstance(event, kind)]
