"""Rules that keep the last update of every worker, so that the absent are not forgotten.

    h_j  the cached update of worker j     K  updates of the round     N  workers
    h    = sum(h_j) / N

    ca2fl, fedvarp   step = h + sum(u_k - h_k) / K     then h_k = u_k
    mifa             h_k = u_k                         then step = h

CA2FL: Wang et al. 2024, algorithm 2, in the terms of updates. FedVARP: Jhunjhunwala et al. 2022,
algorithm 1: the same for rounds that nobody is late for. MIFA: Gu et al. 2021, algorithm 1.

With weights, the mean over workers is by what their examples weigh, that over updates by their
weights; with equal examples and no staleness it is what the papers say. Of workers never heard of:

- `population` N: their cached update is 0, as in the papers. The mean is over N.
- `population` 0 (it is not known): the mean is over those heard of, and a worker's first update is
  compared with that mean. So the first rounds are not longer steps than later ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from coordinator.aggregation.aggregator import ServerState, Weights
from coordinator.aggregation.blocks import Doubles, RunningSum
from coordinator.aggregation.cache import Cache, CachedUpdate, as_halves, scale_of
from coordinator.aggregation.counted import Counted, Updates
from coordinator.aggregation.groups import Room
from schemas.codecs.numbers import BLOCK, Numbers, spans

TOTAL = "cached_total"
"""The name in the state of the sum of the cached updates, each times what its examples weigh."""


class _Cached:
    """What the rules have in common: which updates are to be cached, and the sum of the cached.

    Args:
        size: Numbers of an update.
        cache: The last updates of the rounds before. It is read, and free slots are written.
        state: Of the version before; its sum is written over. Empty if none are cached.
        population: Workers that there are, 0 if unknown.

    Attributes:
        newer: After `close`, the updates that the next round finds cached, but for their slots'
            numbers, which `step` writes.
    """

    reads_again = True

    def __init__(self, size: int, cache: Cache, state: ServerState, population: int = 0) -> None:
        self.newer: Sequence[CachedUpdate] = ()
        self._cache = cache
        self._population = population
        self._shrink: list[float] = []
        self._last: dict[str, tuple[int, CachedUpdate]] = {}
        self._places: list[int] = []
        self._updates: Updates
        self._total = RunningSum(size, state.get(TOTAL))
        self._scratch = np.empty(min(BLOCK, size))
        self._halves = np.empty(min(BLOCK, size), np.float16)

    @property
    def room(self) -> Room | None:
        """See `Aggregator.room`: what is summed is handed on as the state."""
        return None

    def add(self, update: Counted, numbers: Numbers, shrink: float) -> None:
        """See `Aggregator.add`."""
        last = self._last.get(update.worker_id)
        # By version and not by arrival: in any order the same one is kept.
        if last is None or last[1].base_version < update.base_version:
            scale = scale_of(numbers, shrink)
            cached = CachedUpdate(update.worker_id, update.base_version, -1, scale, update.examples)
            self._last[update.worker_id] = len(self._shrink), cached
        self._shrink.append(shrink)

    def close(self, updates: Updates) -> None:
        """See `Aggregator.close`."""
        self._updates = updates
        newer = []
        for worker_id in sorted(self._last):
            index, cached = self._last[worker_id]
            before = self._cache.in_force.get(worker_id)
            if before is not None and before.base_version > cached.base_version:
                continue  # an update that was under way for longer came after it
            newer.append(replace(cached, slot=self._cache.take_slot()))
            self._places.append(index)
        self.newer = newer

    def state(self) -> ServerState:
        """See `Aggregator.state`."""
        return {TOTAL: self._total.numbers}

    def _replace(self, start: int, count: int) -> None:
        """Write the newer updates' numbers from `start` on, and bring the sum to the new state."""
        stop = start + count
        for index, cached in zip(self._places, self.newer, strict=True):
            before = self._cache.in_force.get(cached.worker_id)
            if before is not None:
                halves = self._cache.shelf.read(before.slot, start, stop)
                self._total.add_block(start, halves, -before.examples * before.scale)
            block = self._updates.read(index, start, stop)
            factor = self._shrink[index] / cached.scale
            halves = as_halves(block, factor, self._scratch, self._halves)
            self._cache.shelf.write(cached.slot, start, halves)
            self._total.add_block(start, halves, cached.examples * cached.scale)

    def _divisor(self, cached: Iterable[CachedUpdate]) -> float:
        """What the sum of the cached is divided by to be a mean over all workers."""
        examples = [one.examples for one in cached]
        # Exact, and so the same in whatever order the store gives them.
        return math.fsum(examples) * max(1.0, self._population / max(1, len(examples)))


class Calibrated(_Cached):
    """CA2FL, and FedVARP where no update is stale: the mean, corrected by what is cached."""

    def __init__(
        self,
        size: int,
        cache: Cache,
        state: ServerState,
        population: int = 0,
        by_count: bool = False,
    ) -> None:
        super().__init__(size, cache, state, population)
        self._sum = RunningSum(size)
        self._weights = Weights(by_count)
        self._first = 0.0
        self._share = 0.0

    def add(self, update: Counted, numbers: Numbers, shrink: float) -> None:
        """See `Aggregator.add`."""
        super().add(update, numbers, shrink)
        self._weights.add(update)
        self._sum.add(numbers, update.weight * shrink)
        before = self._cache.in_force.get(update.worker_id)
        if before is None:
            self._first += update.weight
            return
        for start, stop in spans(numbers.size):
            halves = self._cache.shelf.read(before.slot, start, stop)
            self._sum.add_block(start, halves, -update.weight * before.scale)

    def close(self, updates: Updates) -> None:
        """See `Aggregator.close`."""
        super().close(updates)
        in_force = self._cache.in_force
        if in_force:
            # A first update is compared with the mean, unless the papers' 0 is what is meant.
            compared = 0.0 if self._population else self._first / self._weights.divisor
            self._share = (1.0 - compared) / self._divisor(in_force.values())

    def step(self, start: int, out: Doubles) -> None:
        """See `Aggregator.step`."""
        out[...] = self._sum.numbers[start : start + out.size]
        out /= self._weights.divisor
        mean = self._scratch[: out.size]
        mean[...] = self._total.numbers[start : start + out.size]
        mean *= self._share
        out += mean
        self._replace(start, out.size)


class Memorised(_Cached):
    """MIFA: the mean of the last updates of all workers, those of this round among them."""

    _mean_of = 1.0

    def close(self, updates: Updates) -> None:
        """See `Aggregator.close`."""
        super().close(updates)
        newer = {cached.worker_id: cached for cached in self.newer}
        self._mean_of = self._divisor({**self._cache.in_force, **newer}.values())

    def step(self, start: int, out: Doubles) -> None:
        """See `Aggregator.step`."""
        self._replace(start, out.size)
        out[...] = self._total.numbers[start : start + out.size]
        out /= self._mean_of
