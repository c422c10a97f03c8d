"""The beginning of a round: an algorithm becomes what adds its updates up."""

from __future__ import annotations

from typing import assert_never

from coordinator.aggregation.aggregation import Aggregation
from coordinator.aggregation.aggregator import Aggregator, ServerState
from coordinator.aggregation.cache import Cache
from coordinator.aggregation.calibrated import Calibrated, Memorised
from coordinator.aggregation.groups import Room
from coordinator.aggregation.mean import NormalisedMean, WeightedMean
from coordinator.aggregation.optimizers import Optimizer
from coordinator.aggregation.robust import Median, TrimmedMean
from coordinator.algorithm import Algorithm
from schemas.layout import Layout


def begin(
    algorithm: Algorithm,
    layout: Layout,
    state: ServerState | None = None,
    cache: Cache | None = None,
    room: Room | None = None,
) -> Aggregation:
    """Begin a round.

    Args:
        algorithm: How its updates become the next version.
        layout: Of the model.
        state: What the version that the round is for was made with; it is written over. None for
            the first, or where no state is kept.
        cache: The last updates of the workers, for a rule that caches.
        room: Memory of a sum that is done, which may be written over.

    Raises:
        ValueError: If the rule caches, and there is no cache.
    """
    state = state or {}
    size = layout.num_floats
    return Aggregation(
        layout,
        _aggregator(algorithm, size, state, cache, room),
        Optimizer(algorithm.stepping, size, state),
        algorithm.clip_norm,
    )


def _aggregator(
    algorithm: Algorithm,
    size: int,
    state: ServerState,
    cache: Cache | None,
    room: Room | None,
) -> Aggregator:
    match algorithm.rule:
        case "mean":
            return WeightedMean(size, algorithm.by_count, room)
        case "nova":
            return NormalisedMean(size, algorithm.by_count, algorithm.max_local_steps, room)
        case "median":
            return Median()
        case "trimmed-mean":
            return TrimmedMean(algorithm.trim)
        case "ca2fl" | "fedvarp" | "mifa":
            if cache is None:
                raise ValueError(f"expected a cache for the rule {algorithm.rule}, came none")
            if algorithm.rule == "mifa":
                return Memorised(size, cache, state, algorithm.population)
            return Calibrated(size, cache, state, algorithm.population, algorithm.by_count)
        case _:
            assert_never(algorithm.rule)
