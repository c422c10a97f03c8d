"""Several seeds of one policy as one result. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simulation.planning.report import Report, mean_of


@dataclass(frozen=True, slots=True)
class Summary:
    """A policy's reports, one for each seed, and their means.

    Attributes:
        first: The report of the first seed: its curve and histograms are shown.
        time_to_target_s: None unless every seed reached the target.
    """

    reports: Sequence[Report]
    time_to_target_s: float | None
    accuracy: float | None
    mean_staleness: float
    versions: float
    updates: float
    round_s: float
    updates_per_s: float
    jain: float

    @property
    def first(self) -> Report:
        """The report of the first seed."""
        return self.reports[0]

    def as_json(self) -> dict[str, Any]:
        """The first report; with more seeds their means above it, and all of them as `seeds`."""
        if len(self.reports) == 1:
            return self.first.as_json()
        means = {
            "time_to_target_s": self.time_to_target_s,
            "mean_staleness": self.mean_staleness,
            "versions": self.versions,
            "updates": self.updates,
            "accuracy": self.accuracy,
            "updates_per_s": self.updates_per_s,
            "mean_round_s": self.round_s,
            "jain": self.jain,
        }
        return {**means, "seeds": [report.as_json() for report in self.reports]}


def summary_of(reports: Sequence[Report]) -> Summary:
    """The means of at least one report."""

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return Summary(
        reports=tuple(reports),
        time_to_target_s=mean_of([report.time_to_target_s for report in reports]),
        accuracy=mean_of([report.accuracy for report in reports]),
        mean_staleness=mean([report.staleness.mean for report in reports]),
        versions=mean([report.versions for report in reports]),
        updates=mean([report.updates for report in reports]),
        round_s=mean([report.round_s.mean for report in reports]),
        updates_per_s=mean([report.updates_per_s for report in reports]),
        jain=mean([report.jain for report in reports]),
    )
