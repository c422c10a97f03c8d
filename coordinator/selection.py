"""Who is asked to train: what direct dispatch needs of a selection.

machine ── DrawWorkers(count, version) ──▶ shell ── draw ──▶ Selector
   ▲                                         │
   └────────── WorkersDrawn(ids) ────────────┘     all in one transaction
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Selector(Protocol):
    """Draws workers for the tasks that the machine has room for."""

    def draw(self, count: int, version: int, now: float) -> Sequence[str]:
        """Draw workers to be asked to train on a version.

        Args:
            count: How many are wanted, at least 1.
            version: The current model version, which their tasks will pin.
            now: The coordinator's time, in seconds.

        Returns:
            Ids of at most `count` workers, none twice; fewer if no more may be asked. None of them
            has a task in hand or has counted for this version. Whoever was drawn for the same
            version before is drawn again only if that came to nothing: the task was declined, or
            its lease ended, and the worker was seen since and has no update on its way.
        """
        ...


class Nobody:
    """A selection that knows of no workers."""

    def draw(self, count: int, version: int, now: float) -> Sequence[str]:
        """Draw none."""
        return ()


NOBODY = Nobody()
