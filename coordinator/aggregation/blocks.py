"""A weighted sum of updates, block by block.

Sums are in double precision. Then the order in which updates arrive changes no sum by more than a
few parts in 10^15 of what was added, and no float32 of a model but where it lay on the edge of two.
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
        room: Where a sum that begins with zeros is to be, if it has that size; what is there is
            written over. Memory that is new to a process costs more than an addition.
    """

    def __init__(
        self, size: int, numbers: Doubles | None = None, room: Doubles | None = None
    ) -> None:
        self._begun = numbers is not None
        if numbers is None:
            numbers = room if room is not None and room.size == size else np.empty(size)
        self._numbers = numbers
        self._scratch = np.empty(min(BLOCK, size))

    @property
    def numbers(self) -> Doubles:
        """The sum."""
        if not self._begun:
            self._numbers.fill(0.0)
            self._begun = True
        return self._numbers

    @property
    def room(self) -> Doubles:
        """The memory of the sum, for the next when this one is done."""
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
