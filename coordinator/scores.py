"""What a cohort's answers say of a model version. Pure.

    answer i: n examples, sum of the metric over them ─▶ m = sum / n

    mean             Σ n·m / Σ n              by examples: what the model does on an average example
    standard error   √(k/(k-1) Σ n²(m - mean)²) / Σ n    of that mean, workers drawn at random
    p10, p50, p90    of m                     by workers: each is one, however many examples it has
    worst decile     mean of the worst tenth of m, rounded up to whole workers

The standard error is that of a ratio of means over k workers (Cochran 1977, section 2.11): the
workers are what was drawn, and a worker's examples are alike, so dividing by the number of examples
would promise far too much. Quantiles are by workers, for they ask whom the model fails.

What is added up (`Sums`) is additive: the sums of two halves of the answers are those of all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker measured.

    Attributes:
        examples: What it counts, at least 1.
        means: Metric to its mean over the worker's examples.
    """

    examples: float
    means: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over answers, of one metric.

    Attributes:
        workers: k.
        examples: Σ n.
        total: Σ n·m.
        squares: Σ n², Σ n²·m and Σ n²·m².
    """

    workers: int = 0
    examples: float = 0.0
    total: float = 0.0
    squares: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, examples: float, mean: float) -> Sums:
        """The sums of one answer."""
        square = examples * examples
        return cls(1, examples, examples * mean, (square, square * mean, square * mean * mean))

    def __add__(self, other: Sums) -> Sums:
        """The sums of both together."""
        a, b = self.squares, other.squares
        return Sums(
            self.workers + other.workers,
            self.examples + other.examples,
            self.total + other.total,
            (a[0] + b[0], a[1] + b[1], a[2] + b[2]),
        )

    @property
    def mean(self) -> float:
        """The mean over all examples, NaN of no answers."""
        return self.total / self.examples if self.examples else math.nan

    @property
    def standard_error(self) -> float | None:
        """How far the mean is likely to be from that of all workers; None of fewer than two."""
        if self.workers < 2:
            return None
        zeroth, first, second = self.squares
        mean = self.mean
        spread = max(0.0, second - 2 * mean * first + mean * mean * zeroth)
        return math.sqrt(self.workers / (self.workers - 1) * spread) / self.examples


@dataclass(frozen=True, slots=True)
class Score:
    """What the answers say of one metric.

    Attributes:
        mean: By examples.
        p10, p50, p90: By workers.
        worst: Mean of the worst tenth of the workers, None where which is worse is not known.
        standard_error: Of the mean, None of a single worker.
    """

    sums: Sums
    mean: float
    p10: float
    p50: float
    p90: float
    worst: float | None
    standard_error: float | None

    def facts(self) -> dict[str, float | int | None]:
        """The score as JSON."""
        return {
            "workers": self.sums.workers,
            "examples": self.sums.examples,
            "mean": self.mean,
            "standard_error": self.standard_error,
            "p10": self.p10,
            "p50": self.p50,
            "p90": self.p90,
            "worst_decile": self.worst,
        }


def score(answers: Sequence[Answer], metric: str, better: Better | None) -> Score | None:
    """What the answers say of a metric.

    Args:
        answers: Of one version; those that lack the metric are left out.
        metric: Its name.
        better: Which values are better, None if that is not known.

    Returns:
        None if no answer has the metric, or numbers are so large that their mean is not finite.
    """
    having = [answer for answer in answers if metric in answer.means]
    sums = sum((Sums.of(a.examples, a.means[metric]) for a in having), Sums())
    if not having or not all(map(math.isfinite, (sums.mean, *sums.squares))):
        return None
    values = sorted(answer.means[metric] for answer in having)
    return Score(
        sums,
        sums.mean,
        quantile(values, 0.1),
        quantile(values, 0.5),
        quantile(values, 0.9),
        None if better is None else worst_decile(values, better),
        sums.standard_error,
    )


def metrics_of(answers: Sequence[Answer]) -> list[str]:
    """The metrics that more than half of the answers have, in alphabetical order.

    No single worker can add to them, whatever names it makes up.
    """
    counts: dict[str, int] = {}
    for answer in answers:
        for name in answer.means:
            counts[name] = counts.get(name, 0) + 1
    return sorted(name for name, count in counts.items() if 2 * count > len(answers))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the sorted values are below, between two of them by their distance.

    Hyndman and Fan 1996, definition 7, which is numpy's.
    """
    place = share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    part = place - below
    return values[below] * (1 - part) + values[above] * part


def worst_decile(values: Sequence[float], better: Better) -> float:
    """The mean of the worst tenth of the sorted values, at least of one."""
    count = -(-len(values) // 10)
    worst = values[-count:] if better == "lower" else values[:count]
    return sum(worst) / count
