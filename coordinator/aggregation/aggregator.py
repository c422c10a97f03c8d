"""What every rule of aggregation is: updates go in one by one, one step of the model comes out.

    add, add, add …  ──▶  close  ──▶  step, step, step …  (block after block, each number once)

Rules of the file:

- Updates are differences (trained minus received), so a step is added to the model.
- A rule that is linear streams: what it keeps is as large as the model, however many updates come.
  One that needs all updates at once (`reads_again`) reads them at the close, in blocks, from where
  they are kept anyway.
- The same updates in the same order give the same bytes, on one machine; in another order the same
  numbers but for 10^-6 of the largest.
- Nothing here has a state of its own between rounds: what a round hands to the next is in `state`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from coordinator.aggregation.blocks import Doubles
from coordinator.aggregation.cache import CachedUpdate
from coordinator.aggregation.counted import Counted, Updates
from coordinator.aggregation.groups import Room
from schemas.codecs.numbers import Numbers
from schemas.tensors import Array

ServerState = Mapping[str, Array]
"""Named arrays that a version is made with and that its successor needs, each `(num_floats,)`."""


class Aggregator(Protocol):
    """The updates of one round, on their way to one step.

    Attributes:
        reads_again: Whether `close` needs the updates once more.
        newer: After `close`, the updates that the next round finds cached; of most rules none.
    """

    reads_again: bool
    newer: Sequence[CachedUpdate]

    @property
    def room(self) -> Room | None:
        """Memory that the sum of the next round may have, after the last `step`."""
        ...

    def add(self, update: Counted, numbers: Numbers, shrink: float) -> None:
        """Take one more update.

        Args:
            update: Its weights and where it is from.
            numbers: Its numbers, checked; they are not kept.
            shrink: What they are to be multiplied by, above 0 and at most 1.
        """
        ...

    def close(self, updates: Updates) -> None:
        """No more comes, and something has come.

        Args:
            updates: Those that were added, in that order; read only if `reads_again`.
        """
        ...

    def step(self, start: int, out: Doubles) -> None:
        """Write the step's numbers from `start` on into `out`, at most `BLOCK` of them."""
        ...

    def state(self) -> ServerState:
        """What the next round needs, after the last `step`; of most rules nothing."""
        ...


class Stateless:
    """What rules have in common that hand nothing to the next round."""

    newer: Sequence[CachedUpdate] = ()

    @property
    def room(self) -> Room | None:
        """See `Aggregator.room`."""
        return None

    def close(self, updates: Updates) -> None:
        """See `Aggregator.close`."""

    def state(self) -> ServerState:
        """See `Aggregator.state`."""
        return {}


class Weights:
    """What a sum of updates is divided by.

    Args:
        by_count: Divide by what the examples weigh, so that stale updates make the step shorter
            (Nguyen et al. 2022 divide by K); else by the weights, and the step keeps its length.
    """

    def __init__(self, by_count: bool) -> None:
        self._by_count = by_count
        self._weights = 0.0
        self._examples = 0.0

    def add(self, update: Counted) -> None:
        """Take in one more update."""
        self._weights += update.weight
        self._examples += update.examples

    @property
    def divisor(self) -> float:
        """What to divide by; above 0 once there was an update."""
        return self._examples if self._by_count else self._weights
