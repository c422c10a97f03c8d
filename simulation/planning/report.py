"""What a simulation came to, as plain numbers. Pure.

Means that are to hold for a long run leave the beginning out: until five times as many updates have
arrived as tasks are in flight, the pipeline fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coordinator.fairness import Participation
from coordinator.policy import RoundPolicy
from simulation.planning.fleet import Fleet
from simulation.planning.tally import NOT_COUNTED, Measured

WARM_UP = 5
"""So many times the concurrency arrive before the means begin."""

BINS = 24

Ended = Literal["target", "time", "rounds", "stopped"]


@dataclass(frozen=True, slots=True)
class Spread:
    """How numbers are spread; all 0 if there is none."""

    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, numbers: NDArray[Any]) -> Spread:
        """Of some numbers."""
        if not numbers.size:
            return cls()
        p50, p95 = np.percentile(numbers, [50, 95])
        return cls(float(numbers.mean()), float(p50), float(p95), float(numbers.max()))


@dataclass(frozen=True, slots=True)
class Bar:
    """How many there are from `low` up to, but for the last not including, `high`."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """One federation under one policy.

    Attributes:
        label: Of the policy.
        ended: Why it went no further: the target was reached, the time or the rounds were over, or
            somebody stopped it.
        target: The accuracy to reach, None if none was asked for.
        time_to_target_s: Virtual seconds until an evaluation reached it, None if none did.
        accuracy: Of the last evaluation, None if there was none.
        warm: The means leave the beginning out; else there was too little besides.
        updates: That arrived, whatever their verdict.
        updates_per_s: Of virtual time.
        jain: Jain's index of the workers' counted updates: 1 if all have as many.
        taking_part: The share of workers with a counted update.
        by_staleness, by_participation: Histograms: of counted updates by staleness; of workers by
            counted updates.
        curve: The evaluations.
        history: Digest of all that happened.
    """

    label: str
    devices: str
    workers: int
    seed: int
    policy: RoundPolicy
    ended: Ended
    target: float | None
    time_to_target_s: float | None
    accuracy: float | None
    best_accuracy: float | None
    virtual_s: float
    versions: int
    updates: int
    verdicts: dict[str, int]
    tasks: dict[str, int]
    closed: dict[str, int]
    extended: int
    paused: int
    warm: bool
    updates_per_s: float
    staleness: Spread
    round_s: Spread
    jain: float
    taking_part: float
    by_staleness: list[Bar]
    by_participation: list[Bar]
    curve: list[Measured] = field(repr=False)
    history: str = ""

    @property
    def counted(self) -> int:
        """How many updates were counted."""
        return self.verdicts.get("counted", 0)

    def as_json(self) -> dict[str, Any]:
        """All of it as values that JSON can say."""
        known = asdict(self)
        policy = known.pop("policy")
        del known["label"]
        known["curve"] = [
            {"at_s": at.at, "version": at.version, "updates": at.updates, **at.metrics}
            for at in self.curve
        ]
        return {
            "counted": self.counted,
            "mean_staleness": self.staleness.mean,
            **known,
            "policy": policy,
        }


def report_of(fleet: Fleet, label: str, seed: int, target: float | None, ended: Ended) -> Report:
    """The report of a fleet as it stands."""
    tally, policy = fleet.tally, fleet.state.run.policy
    warm_up = WARM_UP * policy.concurrency
    warm = tally.arrived >= 2 * warm_up
    first = warm_up if warm else 0
    arrived_by = np.array(tally.arrived_by)
    version_at = np.array(tally.version_at)
    begun = int(np.searchsorted(arrived_by, first)) if warm else 0
    staleness = np.array(tally.staleness[first:])
    counted = staleness[staleness != NOT_COUNTED]
    since = float(version_at[begun]) if begun < version_at.size else 0.0
    measured = [at for at in tally.measured if "accuracy" in at.metrics]
    accuracies = [at.metrics["accuracy"] for at in measured]
    reached = [at.at for at in measured if target is not None and at.metrics["accuracy"] >= target]
    took_part = fleet.roster.answers
    return Report(
        label=label,
        devices=fleet.crowd.devices.name,
        workers=fleet.crowd.workers,
        seed=seed,
        policy=policy,
        ended=ended,
        target=target,
        time_to_target_s=reached[0] if reached else None,
        accuracy=accuracies[-1] if accuracies else None,
        best_accuracy=max(accuracies, default=None),
        virtual_s=fleet.now,
        versions=fleet.models.version,
        updates=tally.arrived,
        verdicts={str(verdict): count for verdict, count in tally.verdicts.most_common()},
        tasks={
            "taken": tally.taken,
            "answered": tally.arrived,
            "dropped": tally.dropped,
            "left": tally.left,
            "in_flight": fleet.in_flight,
        },
        closed={str(why): count for why, count in tally.closed.most_common()},
        extended=tally.extended,
        paused=tally.paused,
        warm=warm,
        updates_per_s=_rate(tally.arrived - int(arrived_by[begun]), fleet.now - since)
        if begun < arrived_by.size
        else 0.0,
        staleness=Spread.of(counted),
        round_s=Spread.of(np.diff(version_at[begun:])),
        jain=jain_of(took_part),
        taking_part=float((took_part > 0).mean()),
        by_staleness=bars_of(counted),
        by_participation=bars_of(took_part),
        curve=list(tally.measured),
        history=tally.digest,
    )


def jain_of(counts: NDArray[Any]) -> float:
    """Jain's index of the workers' counted updates, see `coordinator.fairness`."""
    values, workers = np.unique(counts, return_counts=True)
    return Participation.of(dict(zip(values.tolist(), workers.tolist(), strict=True))).jain


def bars_of(numbers: NDArray[Any]) -> list[Bar]:
    """A histogram of whole numbers, of at most `BINS` bars of one width."""
    if not numbers.size:
        return []
    width = -(-(int(numbers.max()) + 1) // BINS)
    counts = np.bincount(numbers // width)
    return [
        Bar(width * place, width * (place + 1), int(count)) for place, count in enumerate(counts)
    ]


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean, None if a value is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
