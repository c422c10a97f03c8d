"""How long a round waits: as long as is set, or as long as tasks were seen to take. Pure.

    deadline = the adaptive_deadline-quantile of the last WINDOW durations,
               at least deadline_floor, at most deadline

Rules: a duration runs from when a worker has its task (taken from the pool, or offered to it
directly) to when its update came, also if that was too late to count; there is none of a task that
was never answered, so a quantile says nothing of workers that stay away. The ledger has every
duration, so a restart gives the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from coordinator.events import Verdict
from coordinator.policy import RoundPolicy

WINDOW = 100
LEAST = 10  # durations; with fewer the deadline is what is set

TIMED: frozenset[Verdict] = frozenset({"counted", "late", "stale", "replaced", "repeated"})
"""What an update can be that took as long as training takes."""


def remembered(durations: tuple[float, ...], duration_s: float | None) -> tuple[float, ...]:
    """The last durations, with one more if it is known."""
    if duration_s is None:
        return durations
    return (*durations[1 - WINDOW :], duration_s)


def deadline_of(policy: RoundPolicy, durations: Sequence[float]) -> float:
    """How long a round waits that opens now, in seconds.

    Args:
        policy: Of the round.
        durations: The last that were seen, in seconds.
    """
    if not policy.adaptive_deadline or len(durations) < LEAST:
        return policy.deadline_s
    seen = quantile(durations, policy.adaptive_deadline)
    return min(max(seen, policy.deadline_floor_s), policy.deadline_s)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least so large a share of the values, 0 to 1, is not above."""
    place = math.ceil(share * len(values))
    return sorted(values)[max(place, 1) - 1]
