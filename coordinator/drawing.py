"""Drawing workers at random from the registry, without a look at all of them.

A row is drawn uniformly and dropped if its worker may not be given a task, which leaves those that
may equally likely. After so many tries in vain all rows are looked at once. So what a draw costs
depends on the share of eligible workers and not on the population, but for that one look.

Of `candidates` workers drawn so, the one that was given the fewest tasks is taken, or with
`by = "loss"` the one that last reported the highest loss (power of choice: Cho et al. 2020,
algorithm 1, with the losses that are at hand).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coordinator.eligibility import NOTHING, Required
from coordinator.registry import Mask, Registry
from schemas.chance import Chance, Rows

SINGLE_TRIES = 8  # one by one, which is quicker while most workers are eligible
BLOCKS = (64, 512, 4096)  # then so many at once

CANDIDATES_MAX = 64

By = Literal["uniform", "loss"]
Also = Callable[[Rows], Mask]


@dataclass(frozen=True, slots=True)
class Terms:
    """Who may be drawn.

    Attributes:
        version: What the task is for; who has had its try at it is out.
        now: The coordinator's time.
        seen_since: Only who was heard of since then and is not leaving; -inf for anyone.
        also: A further condition on rows, None for none.
    """

    version: int
    now: float
    seen_since: float = -math.inf
    required: Required = NOTHING
    also: Also | None = None


def draw(
    registry: Registry,
    count: int,
    terms: Terms,
    chance: Chance,
    candidates: int = 2,
    by: By = "uniform",
) -> list[int]:
    """The rows of workers to give a task each, all different.

    They are fewer than `count` if not so many are eligible.

    Args:
        registry: Is not changed: who was drawn is busy once `Registry.begin_task` says so.
        count: How many are wanted.
        terms: Who may be drawn.
        chance: Fresh for this draw.
        candidates: Of so many drawn uniformly, 1 to `CANDIDATES_MAX`, one is taken; 1 takes each as
            it comes.
        by: What decides between them.
    """
    drawing = _Drawing(registry, terms, chance)
    better = _by_loss if by == "loss" else _by_tasks
    drawn: list[int] = []
    while len(drawn) < count:
        found = drawing.candidates(candidates)
        if not found:
            break
        row = found[0] if len(found) == 1 else better(registry, found)
        drawing.take(row)
        drawn.append(row)
    return drawn


def eligible(registry: Registry, terms: Terms) -> Rows:
    """All rows that could be drawn, in ascending order; looks at all of them."""
    everyone = slice(0, registry.end)
    mask = registry.all_free(everyone, terms.version, terms.now, terms.seen_since)
    if not _unconditional(registry, terms):
        mask &= registry.all_meet(everyone, terms.required, terms.now)
    rows: Rows = np.flatnonzero(mask)
    return rows if terms.also is None else rows[terms.also(rows)]


def draw_evaluators(
    registry: Registry, count: int, terms: Terms, chance: Chance, but: Container[int]
) -> list[int]:
    """The rows of workers to be asked to evaluate, uniformly drawn, all different.

    It looks at all rows: this is asked once for an evaluation, and its cohort is a small share.

    Args:
        registry: Is not changed.
        count: How many are wanted; fewer are drawn if not so many may be.
        terms: Who may be; the version is of no matter.
        chance: Fresh for this draw.
        but: Rows that are out.
    """
    mask = registry.all_idle_evaluators(terms.now, terms.seen_since)
    if not _unconditional(registry, terms):
        mask &= registry.all_meet(slice(0, registry.end), terms.required, terms.now)
    rows = [row for row in np.flatnonzero(mask).tolist() if row not in but]
    for place in range(min(count, len(rows))):  # Fisher and Yates, as far as is wanted
        other = place + chance.below(len(rows) - place)
        rows[place], rows[other] = rows[other], rows[place]
    return rows[:count]


def _unconditional(registry: Registry, terms: Terms) -> bool:
    return terms.required == NOTHING and not registry.any_hours


def _by_tasks(registry: Registry, found: list[int]) -> int:
    return min(found, key=lambda row: int(registry.drawn[row]))  # of equals, the first drawn


def _by_loss(registry: Registry, found: list[int]) -> int:
    """Who never reported a loss comes first: nothing is known of it."""
    losses = ((row, float(registry.loss[row])) for row in found)
    return max(losses, key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1])[0]


class _Drawing:
    """One draw of several workers: by trying, and once that was in vain, from a list of all."""

    def __init__(self, registry: Registry, terms: Terms, chance: Chance) -> None:
        self._registry = registry
        self._terms = terms
        self._chance = chance
        self._singly = terms.also is None and _unconditional(registry, terms)
        self._taken: set[int] = set()
        self._ahead: list[int] = []  # eligible rows of a block, last first, not looked at yet
        self._all: list[int] | None = None

    def candidates(self, count: int) -> list[int]:
        """So many different eligible workers that were not taken, or all that there are."""
        if self._all is None:
            found = self._tried(count)
            if len(found) == count:
                return found
            rows = eligible(self._registry, self._terms).tolist()
            self._all = [row for row in rows if row not in self._taken]
        return self._listed(count)

    def take(self, row: int) -> None:
        """A worker is drawn, and no candidate any more."""
        self._taken.add(row)
        if self._all is not None:  # `_listed` has put the candidates last
            place = self._all.index(row, -min(len(self._all), CANDIDATES_MAX))
            self._all[place] = self._all[-1]
            self._all.pop()

    def _tried(self, count: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            row = self._next(found)
            if row < 0:
                break
            found.append(row)
        return found

    def _next(self, found: list[int]) -> int:
        """An eligible row that is neither taken nor found, -1 if all tries were in vain."""
        registry, terms, end = self._registry, self._terms, self._registry.end
        if not end:
            return -1
        for _ in range(SINGLE_TRIES if self._singly and not self._ahead else 0):
            row = self._chance.below(end)
            if (
                registry.free(row, terms.version, terms.now, terms.seen_since)
                and row not in self._taken
                and row not in found
            ):
                return row
        for size in (0, *BLOCKS):
            if size:
                self._ahead = self._block(size)
            while self._ahead:
                row = self._ahead.pop()
                if row not in self._taken and row not in found:
                    return row
            if size > end:
                break  # the list is shorter
        return -1

    def _block(self, size: int) -> list[int]:
        registry, terms = self._registry, self._terms
        rows = self._chance.block(size, registry.end)
        rows = rows[registry.all_free(rows, terms.version, terms.now, terms.seen_since)]
        if not _unconditional(registry, terms):
            rows = rows[registry.all_meet(rows, terms.required, terms.now)]
        if terms.also is not None:
            rows = rows[terms.also(rows)]
        ahead: list[int] = rows[::-1].tolist()
        return ahead

    def _listed(self, count: int) -> list[int]:
        """Candidates from the list of all, which are then its last."""
        rows = self._all
        assert rows is not None
        most = min(count, len(rows))
        for drawn in range(most):
            last = len(rows) - 1 - drawn
            place = self._chance.below(last + 1)
            rows[place], rows[last] = rows[last], rows[place]
        return rows[len(rows) - most :][::-1]
