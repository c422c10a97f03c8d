"""The round policy: one object for synchronous, semi-synchronous and asynchronous rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class RoundPolicy:
    """When a round closes, how many tasks are in flight, and what a late update is worth.

    Attributes:
        rounds: Model versions to make, at least 1.
        goal: Updates that close a round; FedBuff's K.
        quorum: Fewest updates that a deadline may close with, 1 to `goal`.
        concurrency: Tasks in flight. Above `goal` it is over-selection.
        deadline_s: Seconds after which a round closes with what it has.
        lease_s: Seconds a taken task may stay unanswered before another is offered.
        late: "weigh" counts an update of an older version by its staleness; "refuse" does not.
        max_staleness: Versions an update may be behind and still count, when weighed.
        max_extensions: Deadlines a round may miss in a row before the run is paused.
        max_examples: The most examples one update can weigh, 0 for no cap.
        max_norm: The largest L2 norm of an update, 0 for no ceiling.
        max_seconds: Seconds after which the run ends with what it has, 0 for no limit.
        drain_s: Seconds a run that ended still records what comes.
        dispatch: Who gets a task: whoever takes one from the "pool", or, "direct", a worker that
            was drawn.
    """

    rounds: int
    goal: int
    quorum: int
    concurrency: int
    deadline_s: float
    lease_s: float
    late: Literal["weigh", "refuse"] = "weigh"
    max_staleness: int = 20
    max_extensions: int = 3
    max_examples: int = 0
    max_norm: float = 0.0
    max_seconds: float = 0.0
    drain_s: float = 30.0
    dispatch: Literal["pool", "direct"] = "pool"

    def __post_init__(self) -> None:
        if not 1 <= self.quorum <= self.goal:
            raise ValueError(f"expected 1 <= quorum <= goal, came {self.quorum} and {self.goal}")
        if self.goal > self.concurrency:
            raise ValueError(
                f"goal {self.goal} can never be met: only {self.concurrency} tasks are in flight, "
                "and a worker counts once in a version"
            )
        for name in ("deadline_s", "lease_s"):
            if not getattr(self, name) > 0:  # or the clock would be looked at without end
                raise ValueError(f"expected {name} above 0, came {getattr(self, name)}")

    def weight(self, num_examples: int, staleness: int) -> float:
        """What an update weighs: its examples, capped, times 1 / sqrt(1 + staleness).

        McMahan et al. 2017, algorithm 1, for the examples; Nguyen et al. 2022 (FedBuff), section
        5.1, for the staleness.
        """
        cap = self.max_examples or num_examples
        return min(num_examples, cap) / math.sqrt(1 + staleness)
