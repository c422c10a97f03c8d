"""The weighted mean of updates as a running sum: memory O(parameters), whatever their number.

McMahan et al. 2017, algorithm 1, in its update form: w' = w + sum(n_k · u_k) / sum(n_k).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coordinator.aggregation.checks import BLOCK
from schemas.buffer import Buffer
from schemas.layout import Layout
from schemas.tensors import apply_update, unflatten, update_floats, update_maxed


class WeightedMean:
    """The running sum of one round.

    Laws: the same updates and weights in the same order give the same bytes; in another order the
    same numbers up to rounding; the mean lies between the smallest and the largest update.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._sum = np.zeros(layout.num_floats, np.float32)
        self._scratch = np.empty(min(BLOCK, layout.num_floats), np.float32)
        self._maxed: dict[str, NDArray[Any]] = {}
        self.total_weight = 0.0
        self.count = 0

    def add(self, payload: Buffer, weight: float) -> None:
        """Add a checked payload; `weight` > 0."""
        floats = update_floats(payload, self._layout)
        for start in range(0, floats.size, BLOCK):
            block = floats[start : start + BLOCK]
            scaled = np.multiply(block, np.float32(weight), out=self._scratch[: block.size])
            self._sum[start : start + BLOCK] += scaled
        for name, values in update_maxed(payload, self._layout).items():
            best = self._maxed.get(name)
            self._maxed[name] = values.copy() if best is None else np.maximum(best, values)
        self.total_weight += weight
        self.count += 1

    def result(self, base: Buffer) -> bytearray:
        """The next version's flat buffer from the base's; the base itself if nothing was added."""
        if not self.count:
            return bytearray(base)
        np.divide(self._sum, np.float32(self.total_weight), out=self._sum)
        model = apply_update(base, self._sum, self._layout)
        views = unflatten(model, self._layout)
        for name, values in self._maxed.items():
            views[name][...] = np.maximum(views[name], values)
        self._sum = np.zeros(0, np.float32)  # used up: a second call would divide twice
        return model
