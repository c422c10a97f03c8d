"""An open round's updates on their way to the next version: clip, rule, optimiser, model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from coordinator.aggregation.aggregator import Aggregator, ServerState
from coordinator.aggregation.blocks import Doubles
from coordinator.aggregation.cache import CachedUpdate
from coordinator.aggregation.checks import StepNorm, l2_norm
from coordinator.aggregation.counted import Counted, Updates
from coordinator.aggregation.groups import Room
from coordinator.aggregation.optimizers import Optimizer
from schemas.buffer import Buffer
from schemas.codecs.numbers import BLOCK, Numbers, spans
from schemas.layout import FLOATS, Layout
from schemas.tensors import Array, add_to, arrays_of, as_bytes, segment_view, update_maxed


@dataclass(frozen=True, slots=True)
class Handed:
    """What a version hands to the next.

    Attributes:
        state: What the round of that version needs of this one; empty for rules without a state.
        cached: The updates that are new in the cache; their numbers are on the shelf.
    """

    state: ServerState
    cached: tuple[CachedUpdate, ...] = ()


@dataclass(frozen=True, slots=True)
class Made(Handed):
    """What a round has become, in memory.

    Attributes:
        model: The next version's flat buffer.
    """

    model: Buffer = b""


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
        self._largest: dict[str, Array] = {}
        self._made = False
        self.total_weight = 0.0
        self.count = 0

    @property
    def room(self) -> Room | None:
        """Memory that the next round's sum may have, after the last of the `blocks`."""
        return self._aggregator.room

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
        """The next version, in memory. See `blocks`.

        Raises:
            ValueError: If it, or `blocks`, was called before.
        """
        model = bytearray()
        for block in self.blocks(base, updates):
            model += block
        handed = self.handed()
        return Made(handed.state, handed.cached, model)

    def blocks(
        self, base: Buffer, updates: Updates, norm: StepNorm | None = None
    ) -> Iterator[memoryview]:
        """The next version from the one that the round is for; that one if nothing was added.

        Once: it uses the sum up. No model is in memory for it.

        Args:
            base: That version's flat buffer; it stays as it is.
            updates: Those that were added, in that order; read only if `reads_again`.
            norm: Takes how far every number goes.

        Yields:
            The bytes of its flat buffer, one block after another; valid until the next.

        Raises:
            ValueError: If it was called before.
        """
        if self._made:
            raise ValueError("expected one call, came another: the sum is used up")
        self._made = True
        if self.count:
            self._aggregator.close(updates)
        change = np.empty(min(BLOCK, self._layout.num_floats))
        place = 0
        for segment in self._layout.segments:
            if segment.dtype not in FLOATS:
                yield from self._raised(base, segment.dtype)
                continue
            numbers = segment_view(base, segment)
            for start, stop in spans(segment.count):
                block = numbers[start:stop]
                if self.count:
                    block = self._stepped(block, place + start, change[: stop - start], norm)
                yield as_bytes(block)
            place += segment.count

    def handed(self) -> Handed:
        """What the next version hands on, after the last of its `blocks`."""
        state = {**self._optimizer.state(), **self._aggregator.state()}
        return Handed(state, tuple(self._aggregator.newer))

    def _stepped(self, before: Array, start: int, change: Doubles, norm: StepNorm | None) -> Array:
        """A block of floats, a step further."""
        self._aggregator.step(start, change)
        self._optimizer.turn(start, change)
        after = add_to(before, change.astype(np.float32))
        if norm is not None:
            norm.add(before, after)
        return after

    def _raised(self, base: Buffer, dtype: str) -> Iterator[memoryview]:
        """The arrays of a dtype that is not averaged: the base's, or the largest that came."""
        for name, values in arrays_of(base, self._layout, dtype):
            numbers, largest = values.reshape(-1), self._largest.get(name)
            for start, stop in spans(numbers.size):
                block = numbers[start:stop]
                if largest is not None:
                    block = np.maximum(block, largest.reshape(-1)[start:stop])
                yield as_bytes(block)
