"""Work on flat arrays block by block: what is worked on stays in the cache, and nothing grows.

Sums are in double precision. Then the order in which updates arrive changes no sum by more than a
few parts in 10^15 of what was added, and no float32 of a model but where it lay on the edge of two.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from schemas.tensors import Floats

BLOCK = 64 * 1024  # floats at a time: 256 KiB stay in the cache between the check and the add

Doubles = NDArray[np.float64]
"""A sum or a step: `(count,)` float64."""


def spans(size: int, block: int = BLOCK) -> Iterator[tuple[int, int]]:
    """Where the blocks of an array of so many numbers begin and end."""
    for start in range(0, size, block):
        yield start, min(start + block, size)


class RunningSum:
    """A weighted sum of arrays of one size. Nothing is allocated per array.

    Args:
        size: Numbers of an array.
        numbers: What to begin with, `(size,)` float64, which becomes the sum; zeros if None.
    """

    def __init__(self, size: int, numbers: Doubles | None = None) -> None:
        self.numbers = np.zeros(size) if numbers is None else numbers
        self._scratch = np.empty(min(BLOCK, size))

    def add(self, floats: Floats, factor: float) -> None:
        """Add `factor` times an array."""
        for start, stop in spans(floats.size):
            self.add_block(start, floats[start:stop], factor)

    def add_block(self, start: int, block: NDArray[np.floating], factor: float) -> None:
        """Add `factor` times a block, of at most `BLOCK` numbers, that begins at `start`."""
        scaled = self._scratch[: block.size]
        scaled[...] = block
        scaled *= factor
        here = self.numbers[start : start + block.size]
        here += scaled
