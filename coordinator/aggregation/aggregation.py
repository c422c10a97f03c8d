"""An open round's updates on their way to the next version: clip, rule, optimiser, model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coordinator.aggregation.aggregator import Aggregator, ServerState
from coordinator.aggregation.cache import CachedUpdate
from coordinator.aggregation.checks import l2_norm
from coordinator.aggregation.counted import Counted, Updates
from coordinator.aggregation.optimizers import Optimizer
from schemas.buffer import Buffer
from schemas.codecs.numbers import BLOCK, Numbers, spans
from schemas.layout import FLOATS, Layout
from schemas.tensors import add_to, segment_view, unflatten, update_maxed


@dataclass(frozen=True, slots=True)
class Made:
    """What a round has become.

    Attributes:
        model: The next version's flat buffer.
        state: What the round of that version needs of this one; empty for rules without a state.
        cached: The updates that are new in the cache; their numbers are on the shelf.
    """

    model: bytearray
    state: ServerState
    cached: tuple[CachedUpdate, ...]


class Aggregation:
    """The updates of one round.

    Laws: the same updates and weights in the same order give the same bytes; in another order the
    same numbers up to rounding. Memory is that of the rule, whatever the number of updates.

    Attributes:
        count: How many updates were added.
        total_weight: What they weigh together.
    """

    def __init__(
        self, layout: Layout, aggregator: Aggregator, optimizer: Optimizer, clip_norm: float = 0.0
    ) -> None:
        self._layout = layout
        self._aggregator = aggregator
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._largest: dict[str, NDArray[Any]] = {}
        self._made = False
        self.total_weight = 0.0
        self.count = 0

    @property
    def reads_again(self) -> bool:
        """Whether `result` needs the updates once more."""
        return self._aggregator.reads_again

    def add(self, update: Counted) -> None:
        """Add a checked update."""
        numbers = update.numbers(self._layout)
        self._aggregator.add(update, numbers, self._shrink(numbers))
        for name, values in update_maxed(update.payload, self._layout).items():
            largest = self._largest.get(name)
            if largest is None:
                self._largest[name] = values.copy()
            else:
                np.maximum(largest, values, out=largest)
        self.total_weight += update.weight
        self.count += 1

    def _shrink(self, numbers: Numbers) -> float:
        """What brings an update down to the norm that it may have (Sun et al. 2019)."""
        if not self._clip_norm:
            return 1.0
        norm = l2_norm(numbers)
        return min(1.0, self._clip_norm / norm) if norm else 1.0

    def result(self, base: Buffer, updates: Updates) -> Made:
        """The next version from the one that the round is for; that one if nothing was added.

        Once: it uses the sum up.

        Args:
            base: That version's flat buffer; it stays as it is.
            updates: Those that were added, in that order; read only if `reads_again`.

        Raises:
            ValueError: If it was called before.
        """
        if self._made:
            raise ValueError("expected one call, came another: the sum is used up")
        self._made = True
        model = self._stepped(base, updates) if self.count else bytearray(base)
        views = unflatten(model, self._layout)
        for name, values in self._largest.items():
            np.maximum(views[name], values, out=views[name])
        state = {**self._optimizer.state(), **self._aggregator.state()}
        return Made(model, state, tuple(self._aggregator.newer))

    def _stepped(self, base: Buffer, updates: Updates) -> bytearray:
        self._aggregator.close(updates)
        model = bytearray(base)
        scratch = np.empty(min(BLOCK, self._layout.num_floats))
        place = 0
        for segment in self._layout.segments:
            if segment.dtype not in FLOATS:
                continue
            numbers = segment_view(model, segment)
            for start, stop in spans(segment.count):
                change = scratch[: stop - start]
                self._aggregator.step(place + start, change)
                self._optimizer.turn(place + start, change)
                numbers[start:stop] = add_to(numbers[start:stop], change.astype(np.float32))
            place += segment.count
        return model
