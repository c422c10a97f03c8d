"""What can go wrong at each step of a process, and when it does.

A step is a thing that the process does to its disk or its broker: between the end of one and the
beginning of the next nothing of it is to be seen outside, so a process that ends at the beginning
of each step has ended everywhere.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable

FULL, FAILS = errno.ENOSPC, errno.EIO


class Crash(BaseException):
    """The process ends here, as with kill -9."""


class Mishaps:
    """The mishaps of one life of a process.

    Args:
        told: Takes what happened, for the history.
        chances: Of what a full disk takes of a write.

    Attributes:
        steps: How many steps were taken.
        crash_at: The number of the step to end at, None for none.
        crash_in: The name of a step, and at which of the next of that name to end; None for none.
        full: The disk takes no file any more.
        rows_fit: A full disk still takes what a database commits, as real ones do for a while.
        syncs_to_fail: How many of the next syncs fail, and lose what was written.
        ended: The process is no more; what it still tries to do does nothing.
    """

    def __init__(
        self,
        told: Callable[[str], None] = lambda what: None,
        chances: random.Random | None = None,
    ) -> None:
        self._told = told
        self._chances = chances or random.Random(0)
        self.steps = 0
        self.names: list[str] | None = None
        self.crash_at: int | None = None
        self.crash_in: tuple[str, int] | None = None
        self.full = False
        self.rows_fit = True
        self.syncs_to_fail = 0
        self.ended = False
        self.counts: Counter[str] = Counter()

    def at(self, step: str) -> None:
        """A step begins.

        Raises:
            Crash: If the process ends here, or has ended before.
        """
        if self.ended:
            raise Crash(step)
        self.steps += 1
        if self.names is not None:
            self.names.append(step)
        if self.crash_in is not None and self.crash_in[0] == step:
            left = self.crash_in[1] - 1
            self.crash_in = (step, left) if left else None
            self.crash_at = self.crash_at if left else 0
        if self.crash_at is not None and self.steps > self.crash_at:
            self.ended = True
            self._happened("crash at a step", f"ends before {step}")
            raise Crash(step)

    def require_room(self, step: str) -> None:
        """Something is to be written.

        Raises:
            OSError: If the disk is full.
        """
        if self.full:
            self._happened("disk full", f"no room for {step}")
            raise OSError(FULL, os.strerror(FULL))

    def fits(self, num_bytes: int) -> int:
        """How many bytes of a write a full disk still takes: never all."""
        return self._chances.choice((0, self._chances.randrange(num_bytes)))

    def sync_fails(self, step: str) -> bool:
        """Whether the next sync fails."""
        if self.syncs_to_fail <= 0:
            return False
        self.syncs_to_fail -= 1
        self._happened("sync fails", f"cannot sync: {step}")
        return True

    def _happened(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        self._told(what)
