"""What an algorithm is made of, as one value; and the beginning of a round with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, assert_never

from coordinator.aggregation.aggregation import Aggregation
from coordinator.aggregation.aggregator import Aggregator, ServerState
from coordinator.aggregation.cache import Cache
from coordinator.aggregation.calibrated import Calibrated, Memorised
from coordinator.aggregation.mean import NormalisedMean, WeightedMean
from coordinator.aggregation.optimizers import Optimizer, Stepping
from coordinator.aggregation.robust import Median, TrimmedMean
from schemas.layout import Layout

Rule = Literal["mean", "nova", "median", "trimmed-mean", "ca2fl", "mifa", "fedvarp"]
CACHED: frozenset[Rule] = frozenset({"ca2fl", "mifa", "fedvarp"})


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How counted updates become the next version; docs/reference/algorithms.md says more.

    Attributes:
        rule: How the updates of a round become one step.
        by_count: Divide by what the examples weigh, so that stale updates make the step shorter.
        trim: The share of the updates that "trimmed-mean" cuts at each end.
        clip_norm: The L2 norm that longer updates are shortened to, 0 for none.
        population: Workers that there are, for the rules that cache; 0 if unknown.
        stepping: What the server does with the step.
    """

    rule: Rule = "mean"
    by_count: bool = False
    trim: float = 0.1
    clip_norm: float = 0.0
    population: int = 0
    stepping: Stepping = field(default_factory=Stepping)

    @property
    def caches(self) -> bool:
        """Whether the last update of each worker is kept."""
        return self.rule in CACHED

    @property
    def needs_local_steps(self) -> bool:
        """Whether an update that does not say its local steps is of no use."""
        return self.rule == "nova"

    def begin(
        self, layout: Layout, state: ServerState | None = None, cache: Cache | None = None
    ) -> Aggregation:
        """Begin a round.

        Args:
            layout: Of the model.
            state: What the version that the round is for was made with; it is written over.
            cache: The last updates of the workers, for a rule that caches.

        Raises:
            ValueError: If the rule caches, and there is no cache.
        """
        state = state or {}
        return Aggregation(
            layout,
            self._aggregator(layout.num_floats, state, cache),
            Optimizer(self.stepping, layout.num_floats, state),
            self.clip_norm,
        )

    def _aggregator(self, size: int, state: ServerState, cache: Cache | None) -> Aggregator:
        match self.rule:
            case "mean":
                return WeightedMean(size, self.by_count)
            case "nova":
                return NormalisedMean(size, self.by_count)
            case "median":
                return Median()
            case "trimmed-mean":
                return TrimmedMean(self.trim)
            case "ca2fl" | "fedvarp" | "mifa":
                if cache is None:
                    raise ValueError(f"expected a cache for the rule {self.rule}, came none")
                if self.rule == "mifa":
                    return Memorised(size, cache, state, self.population)
                return Calibrated(size, cache, state, self.population, self.by_count)
            case _:
                assert_never(self.rule)
