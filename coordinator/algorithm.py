"""What an algorithm is made of, as one value. `coordinator.aggregation` carries it out. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Rule = Literal["mean", "nova", "median", "trimmed-mean", "ca2fl", "mifa", "fedvarp"]
OptimizerName = Literal["none", "momentum", "adagrad", "adam", "yogi"]


@dataclass(frozen=True, slots=True)
class Stepping:
    """Which optimiser, and how far it goes.

    Attributes:
        lr: What the step is multiplied by, above 0.
        beta1: How much of the momentum stays, 0 to below 1.
        beta2: How much of the second moment stays, 0 to below 1.
        tau: How adaptive it is: the smaller the more; above 0.
    """

    name: OptimizerName = "none"
    lr: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3


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
        prox_mu: How strongly workers hold their training near the model they begin with.
        max_local_steps: The most local steps that one update counts with, 0 for no cap.
    """

    rule: Rule = "mean"
    by_count: bool = False
    trim: float = 0.1
    clip_norm: float = 0.0
    population: int = 0
    stepping: Stepping = field(default_factory=Stepping)
    prox_mu: float = 0.0
    max_local_steps: int = 0

    @property
    def caches(self) -> bool:
        """Whether the last update of each worker is kept."""
        return self.rule in ("ca2fl", "mifa", "fedvarp")

    @property
    def needs_local_steps(self) -> bool:
        """Whether an update that does not say its local steps is of no use."""
        return self.rule == "nova"
