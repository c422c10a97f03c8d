"""What each algorithm of the worlds makes of unit vectors, written out once more.

It is computed from the ledger alone, all of a run's rounds each time, and shares nothing with
`coordinator.aggregation`: what a version was handed on by the one before it, and what survived of
that, shows here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

Name = Literal["mean", "momentum", "ca2fl"]
Numbers = NDArray[np.float64]

SETTINGS: dict[Name, dict[str, object]] = {
    "mean": {},
    "momentum": {"algorithm.optimizer": "momentum", "algorithm.beta1": 0.5},
    "ca2fl": {"algorithm.rule": "ca2fl"},
}
"""What has a coordinator carry it out."""

BETA = 0.5


@dataclass(frozen=True, slots=True)
class UnitUpdate:
    """A counted update that is one in a slot of its own, and nothing elsewhere."""

    round_version: int
    base_version: int
    worker_id: str
    slot: int
    weight: float


def change_of(name: Name, counted: Sequence[UnitUpdate], round_version: int, slots: int) -> Numbers:
    """What the round of a version adds to it.

    Args:
        name: The algorithm.
        counted: The counted updates of this round and of all before, in any order.
        round_version: The version.
        slots: Of the model.
    """
    match name:
        case "mean":
            return _mean(counted, round_version, slots)
        case "momentum":
            velocity = np.zeros(slots)
            for version in range(round_version + 1):
                velocity = BETA * velocity + _mean(counted, version, slots)
            return (1 - BETA) * velocity
        case "ca2fl":
            return _calibrated(counted, round_version, slots)
        case _:
            assert_never(name)


def _mean(counted: Sequence[UnitUpdate], round_version: int, slots: int) -> Numbers:
    change, total = np.zeros(slots), 0.0
    for update in counted:
        if update.round_version == round_version:
            change[update.slot] = update.weight
            total += update.weight
    return change / total if total else change


def _calibrated(counted: Sequence[UnitUpdate], round_version: int, slots: int) -> Numbers:
    """H + sum(w (u - h_k)) / sum(w), where who is new is compared with h itself."""
    last: dict[str, UnitUpdate] = {}
    for update in counted:
        known = last.get(update.worker_id)
        newer = known is None or known.base_version < update.base_version
        if update.round_version < round_version and newer:
            last[update.worker_id] = update
    mean = np.zeros(slots)
    for update in last.values():
        mean[update.slot] += 1 / len(last)
    corrected, total = np.zeros(slots), 0.0
    for update in counted:
        if update.round_version != round_version:
            continue
        total += update.weight
        corrected[update.slot] += update.weight
        if update.worker_id in last:
            corrected[last[update.worker_id].slot] -= update.weight
        else:
            corrected -= update.weight * mean
    return mean + corrected / total if total else np.zeros(slots)
