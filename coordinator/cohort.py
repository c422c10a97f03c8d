"""Which workers evaluate and never train. Pure.

Who is measured on must not have been trained on, and must not be chosen by how it trains, or the
measurement would say how well the model knows its own workers. So membership is a hash of the
worker's id, fixed before the run begins: it needs no list, holds for workers never seen before, and
is the same after a restart and on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.chance import key_of

_KEYS = 2.0**64


@dataclass(frozen=True, slots=True)
class Cohort:
    """The workers that evaluate.

    Attributes:
        seed: The run's.
        share: Of all workers, 0 to below 0.5; 0 for nobody.
    """

    seed: int = 0
    share: float = 0.0

    def __contains__(self, worker_id: str) -> bool:
        """Whether a worker evaluates, and so never trains.

        The larger of two shares has all workers of the smaller.
        """
        return self.share > 0 and key_of("cohort", self.seed, worker_id) < self.share * _KEYS


NO_COHORT = Cohort()


def cohort_of(kept: Mapping[str, Any]) -> Cohort:
    """The cohort of a run, from the settings that it keeps (`settings.frozen`)."""
    return Cohort(int(kept.get("run.seed", 0)), float(kept.get("evaluation.cohort", 0.0)))
