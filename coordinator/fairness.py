"""How evenly workers take part: a histogram, and Jain's index.

The index is (sum of x)² / (n · sum of x²) over n workers of x counted updates each (Jain, Chiu and
Hawe 1984): 1 if all took part equally often, k/n if k of them did so and the others never. It says
nothing of whether those who took part were the right ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BINS = 33  # a count has at most 32 bits


@dataclass(slots=True)
class Participation:
    """Counted updates per worker, as sums and a histogram; each change costs the same.

    Attributes:
        workers: All that are known, also those that were never counted.
        updates: Sum of their counted updates.
        squares: Sum of the squares.
        bins: How many workers have 0, 1, 2 to 3, 4 to 7 … counted updates.
    """

    workers: int = 0
    updates: int = 0
    squares: int = 0
    bins: list[int] = field(default_factory=lambda: [0] * BINS)

    @classmethod
    def of(cls, workers_by_count: Mapping[int, int]) -> Participation:
        """From how many workers have each number of counted updates."""
        made = cls()
        for count, workers in workers_by_count.items():
            made.add(count, workers)
        return made

    def add(self, count: int, workers: int = 1) -> None:
        """So many more workers with so many updates each; fewer, if `workers` is negative."""
        self.workers += workers
        self.updates += count * workers
        self.squares += count * count * workers
        self.bins[count.bit_length()] += workers

    def raise_from(self, count: int) -> None:
        """A worker that had so many counted updates has one more."""
        self.updates += 1
        self.squares += 2 * count + 1
        before, after = count.bit_length(), (count + 1).bit_length()
        if before != after:
            self.bins[before] -= 1
            self.bins[after] += 1

    @property
    def jain(self) -> float:
        """Jain's index, 1/workers to 1; 1 while nothing was counted, which is no injustice."""
        if not self.updates:
            return 1.0
        return self.updates**2 / (self.workers * self.squares)

    def histogram(self) -> list[dict[str, int]]:
        """The bins that hold somebody: workers with `from` to `to` counted updates."""
        spans = ((0, 0), *((1 << n, (2 << n) - 1) for n in range(BINS - 1)))
        return [
            {"from": low, "to": high, "workers": workers}
            for (low, high), workers in zip(spans, self.bins, strict=True)
            if workers
        ]

    def record(self) -> dict[str, Any]:
        """The same as values that JSON can say."""
        return {
            "workers": self.workers,
            "updates": self.updates,
            "jain": self.jain,
            "histogram": self.histogram(),
        }


def in_words(record: Mapping[str, Any]) -> str:
    """A record in one line."""
    if not record["workers"]:
        return "no worker was seen yet"
    bins = [
        f"{_times(each['from'], each['to'])}: {each['workers']}" for each in record["histogram"]
    ]
    return f"Jain index {record['jain']:.3f}; workers counted {', '.join(bins)}"


def _times(low: int, high: int) -> str:
    if high <= 1:
        return "once" if high else "never"
    return f"{low} to {high} times"
