"""A weighted sum in double precision, block by block: one that lives longer than a round.

What is added to such a sum is taken off again, rounds later. So that nothing of it stays, it is in
double precision; the sum of one round is in `coordinator.aggregation.groups`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.codecs.numbers import BLOCK, Numbers

Doubles = NDArray[np.float64]
"""A sum or a step: `(count,)` float64."""


class RunningSum:
    """A weighted sum of updates of one size. Nothing is allocated per update.

    Args:
        size: Numbers of an update.
        numbers: What to begin with, `(size,)` float64, which becomes the sum; zeros if None.
    """

    def __init__(self, size: int, numbers: Doubles | None = None) -> None:
        self._begun = numbers is not None
        self._numbers = np.empty(size) if numbers is None else numbers
        self._scratch = np.empty(min(BLOCK, size))

    @property
    def numbers(self) -> Doubles:
        """The sum."""
        if not self._begun:
            self._numbers.fill(0.0)
            self._begun = True
        return self._numbers

    def add(self, numbers: Numbers, factor: float) -> None:
        """Add `factor` times the numbers of an update."""
        if self._begun:
            for start, block in numbers.blocks():
                self.add_block(start, block, factor)
            return
        for start, block in numbers.blocks():
            first = self._numbers[start : start + block.size]
            first[...] = block
            first *= factor
        self._begun = True

    def add_block(self, start: int, block: NDArray[np.floating], factor: float) -> None:
        """Add `factor` times a block, of at most `BLOCK` numbers, that begins at `start`."""
        scaled = self._scratch[: block.size]
        scaled[...] = block
        scaled *= factor
        here = self.numbers[start : start + block.size]
        here += scaled
