"""What the store is still to be told: done at once, or later if the disk does not take it.

Nothing is lost while a chore waits (the store's rows say so, and a restart finds them); but the
files of what was sent stay, and take the room that is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from worker.errors import StoreError

_log = logging.getLogger("worker")

CHORES_MAX = 1000
"""More than these wait for a restart."""

Key = tuple[str, str]
"""What is done, and to which task or update."""


class Chores:
    """Changes of the store that may fail and be tried again. Used by one thread.

    Args:
        owner: Whose they are, for the log.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._left: dict[Key, Callable[[], object]] = {}

    def __len__(self) -> int:
        return len(self._left)

    def do(self, key: Key, chore: Callable[[], object]) -> None:
        """Do a chore now, or with the next `try_again`; it takes the place of one with its key."""
        self.drop(key)
        try:
            chore()
        except StoreError as error:
            if len(self._left) >= CHORES_MAX:
                self._warn(f"{error}; it is done again after a restart")
                return
            self._warn(f"{error}; it is tried again")
            self._left[key] = chore

    def drop(self, key: Key) -> None:
        """Leave a chore that is of no use any more."""
        self._left.pop(key, None)

    def try_again(self) -> None:
        """Do what is left, up to the first that fails again; that one is the last next time."""
        while self._left:
            key, chore = next(iter(self._left.items()))
            del self._left[key]
            try:
                chore()
            except StoreError:
                self._left[key] = chore
                return

    def _warn(self, text: str) -> None:
        _log.warning("%s: %s", self._owner, text)
