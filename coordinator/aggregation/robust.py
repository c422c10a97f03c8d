"""Rules that a few wrong updates cannot pull far: the coordinate-wise median and trimmed mean.

Yin et al. 2018, algorithm 1, options I and II. Each update has one vote in each coordinate: weights
by examples are what a sender says of itself, so they, and staleness, do not count here.
"""

from __future__ import annotations

import math

import numpy as np

from coordinator.aggregation.aggregator import Stateless
from coordinator.aggregation.blocks import Doubles
from coordinator.aggregation.counted import Counted, Updates
from schemas.codecs.numbers import Numbers, spans

TABLE_FLOATS = 4 * 1024 * 1024
"""Numbers of all updates that are in memory at once: 16 MiB, however many updates there are."""


class TrimmedMean(Stateless):
    """The mean of each coordinate without its largest and its smallest numbers.

    Args:
        trim: The share of the updates that is cut at each end, 0 to below 0.5; rounded up to whole
            updates, but one or two are always left.
    """

    reads_again = True

    def __init__(self, trim: float) -> None:
        self._trim = trim
        self._shrink: list[float] = []
        self._updates: Updates

    def add(self, update: Counted, numbers: Numbers, shrink: float) -> None:
        """See `Aggregator.add`."""
        self._shrink.append(shrink)

    def close(self, updates: Updates) -> None:
        """See `Aggregator.close`."""
        self._updates = updates

    def step(self, start: int, out: Doubles) -> None:
        """See `Aggregator.step`."""
        count = len(self._shrink)
        cut = self._cut(count)
        for begin, end in spans(out.size, max(1, TABLE_FLOATS // count)):
            table = np.empty((count, end - begin), np.float32)
            for index, shrink in enumerate(self._shrink):
                row = self._updates.read(index, start + begin, start + end)
                np.multiply(row, np.float32(shrink), out=table[index])
            table.sort(axis=0)
            np.mean(table[cut : count - cut], axis=0, dtype=np.float64, out=out[begin:end])

    def _cut(self, count: int) -> int:
        # 0.3 of 10 is 3, though in binary it is a little more.
        return min(math.ceil(self._trim * count - 1e-9), (count - 1) // 2)


class Median(TrimmedMean):
    """The median of each coordinate; of an even number the mean of the two in the middle."""

    def __init__(self) -> None:
        super().__init__(trim=0.5)
