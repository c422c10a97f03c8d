"""When a worker is there, as a pure function of (seed, worker, time).

No list of comings and goings is kept, so a population costs nothing while nothing is asked of it.
How: at the points of a Poisson process each worker draws anew whether it is there, with probability
`share`. That is the uniformised form of a Markov chain of two states: stretches there and away are
exponential, with the means there_s and there_s * (1 - share) / share. The points of a worker in one
slot of time, their number and places, are hashes of (worker, slot), so the last point before any
moment is found in a slot or two.

Law: `are_there(w, t)[i] == is_there(w[i], t)`, and likewise of the other pairs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulation.planning.devices import Presence
from simulation.planning.draws import Floats, Ints, Stream

Mask = NDArray[np.bool_]

POINTS_MAX = 8
"""In a slot; with one on average, more come once in a million slots."""

_STEPS_MAX = 100_000  # points looked at before a worker counts as away for ever
_SLOTS_CACHED = 16 * 1024
_DAY_S = 86400.0
_DAY_STEPS = 144
_ZONES = 24
_MEAN_POINTS = 1.0


class Availability:
    """When the workers are there.

    Args:
        presence: What they are like.
        seed: Of the experiment.
        rare: Which workers are there more rarely, `(workers,) bool`; None: drawn.
    """

    def __init__(self, presence: Presence, seed: int, rare: Mask | None = None) -> None:
        has_rare = presence.rare_duty < 1.0 and (rare is not None or presence.rare_share > 0.0)
        self.always = presence.share >= 1.0 and not presence.leaving_share and not has_rare
        self._presence = presence
        self._rare = rare
        self._has_rare = has_rare
        # Who is there always draws anew as often as others do: nothing else is said of it.
        self._slot_s = presence.there_s * (1.0 - presence.share if presence.share < 1.0 else 1.0)
        self._counts = Stream(seed, "how often presence is drawn")
        self._places = Stream(seed, "when presence is drawn")
        self._draws = Stream(seed, "presence")
        self._zones = Stream(seed, "time zone")
        self._leaving = Stream(seed, "who leaves for good")
        self._leaving_at = Stream(seed, "when they leave")
        self._who_is_rare = Stream(seed, "who is rarely there")
        self._below = _poisson_table(_MEAN_POINTS)
        self._below_many = np.array(self._below)
        self._day = _day_table(presence)
        # Asked again and again for the same few slots; a bounded cache of a pure function.
        self._points = lru_cache(maxsize=_SLOTS_CACHED)(self._draw_points)
        self._day_many = np.array(self._day)

    # one worker

    def is_there(self, worker: int, now: float) -> bool:
        """Whether a worker is there."""
        if self.always:
            return True
        if now >= self.leaves_at(worker):
            return False
        place, number = self._last(worker, now)
        return self._drawn_there(worker, place, number)

    def there_since(self, worker: int, now: float) -> float | None:
        """When it came, -inf if it was always there; None if it is away."""
        if self.always:
            return -math.inf
        if now >= self.leaves_at(worker):
            return None
        since = None
        for place, number in self._back(worker, now):
            if not self._drawn_there(worker, place, number):
                return since
            since = place
        return -math.inf

    def there_from(self, worker: int, now: float) -> float:
        """When it is there next, `now` if it is; inf if never."""
        if self.is_there(worker, now):
            return now
        leaves_at = self.leaves_at(worker)
        for place, number in self._forward(worker, now):
            if place >= leaves_at:
                return math.inf
            if self._drawn_there(worker, place, number):
                return place
        return math.inf

    def there_until(self, worker: int, now: float) -> float:
        """When a worker that is there goes away; inf if never."""
        if self.always:
            return math.inf
        leaves_at = self.leaves_at(worker)
        for place, number in self._forward(worker, now):
            if place >= leaves_at or not self._drawn_there(worker, place, number):
                return min(place, leaves_at)
        return leaves_at

    def leaves_at(self, worker: int) -> float:
        """When a worker leaves for good, inf if it does not."""
        presence = self._presence
        if not presence.leaving_share or self._leaving.uniform(worker) >= presence.leaving_share:
            return math.inf
        return presence.leaving_s * self._leaving_at.exponential(worker)

    def is_rare(self, worker: int) -> bool:
        """Whether a worker is there more rarely."""
        if not self._has_rare:
            return False
        if self._rare is not None:
            return bool(self._rare[worker])
        return self._who_is_rare.uniform(worker) < self._presence.rare_share

    def _drawn_there(self, worker: int, place: float, number: int) -> bool:
        share = self._presence.share
        if self._presence.swing:
            share = self._day[self._step_of_day(worker, place)]
        if self.is_rare(worker):
            share *= self._presence.rare_duty
        return self._draws.uniform(worker, number) < share

    def _step_of_day(self, worker: int, place: float) -> int:
        zone = self._zones.bits(worker) % _ZONES
        return (
            math.floor(place / _DAY_S * _DAY_STEPS) + zone * (_DAY_STEPS // _ZONES)
        ) % _DAY_STEPS

    def _draw_points(self, worker: int, slot: int) -> list[tuple[float, int]]:
        """The points in a slot: when, and the number of each; in order."""
        drawn = self._counts.uniform(worker, slot)
        count = bisect_right(self._below, drawn)
        first = slot * POINTS_MAX
        uniform = self._places.uniform
        return sorted(
            ((slot + uniform(worker, number)) * self._slot_s, number)
            for number in range(first, first + count)
        )

    def _last(self, worker: int, now: float) -> tuple[float, int]:
        return next(self._back(worker, now))

    def _back(self, worker: int, now: float) -> Iterator[tuple[float, int]]:
        first = math.floor(now / self._slot_s)
        for slot in range(first, first - _STEPS_MAX, -1):
            for place, number in reversed(self._points(worker, slot)):
                if place <= now:
                    yield place, number

    def _forward(self, worker: int, now: float) -> Iterator[tuple[float, int]]:
        first = math.floor(now / self._slot_s)
        for slot in range(first, first + _STEPS_MAX):
            for place, number in self._points(worker, slot):
                if place > now:
                    yield place, number

    # many workers

    def are_there(self, workers: Ints, now: float) -> Mask:
        """`is_there` of many."""
        if self.always:
            return np.ones(workers.size, bool)
        return self._last_of_many(workers, np.full(workers.size, now))[1] & (
            self.many_leave_at(workers) > now
        )

    def there_since_of(self, workers: Ints, now: float) -> Floats:
        """`there_since` of many; nan where it is None."""
        since = np.full(workers.size, -math.inf)
        if self.always:
            return since
        place, there = self._last_of_many(workers, np.full(workers.size, now))
        there &= self.many_leave_at(workers) > now
        since[~there] = math.nan
        left = np.flatnonzero(there)
        since[left] = place[left]
        for _ in range(_STEPS_MAX):
            if not left.size:
                break
            before = np.nextafter(since[left], -math.inf)
            place, there = self._last_of_many(workers[left], before)
            left = left[there]
            since[left] = place[there]
        return since

    def there_from_of(self, workers: Ints, now: float) -> Floats:
        """`there_from` of many."""
        found = np.full(workers.size, now)
        if self.always:
            return found
        leave_at = self.many_leave_at(workers)
        left = np.flatnonzero(~self.are_there(workers, now))
        found[left] = math.inf
        left = left[leave_at[left] > now]
        first = math.floor(now / self._slot_s)
        for slot in range(first, first + _STEPS_MAX):
            if not left.size:
                break
            slots = np.full(left.size, slot)
            places, there = self._points_of_many(workers[left], slots, missing=math.inf)
            places[(places <= now) | ~there] = math.inf
            found[left] = places.min(axis=1)
            found[left[found[left] >= leave_at[left]]] = math.inf
            gone = leave_at[left] <= (slot + 1) * self._slot_s
            left = left[np.isinf(found[left]) & ~gone]
        return found

    def zone_of_many(self, workers: Ints) -> Ints:
        """The time zone of each worker, 0 to 23: how many hours its day is ahead."""
        return (self._zones.many_bits(workers) % np.uint64(_ZONES)).astype(np.int64)

    def are_rare(self, workers: Ints) -> Mask:
        """`is_rare` of many."""
        if not self._has_rare:
            return np.zeros(workers.size, bool)
        if self._rare is not None:
            return self._rare[workers]
        return self._who_is_rare.uniforms(workers) < self._presence.rare_share

    def many_leave_at(self, workers: Ints) -> Floats:
        """`leaves_at` of many."""
        presence = self._presence
        leave_at = np.full(workers.size, math.inf)
        if presence.leaving_share:
            gone = np.flatnonzero(self._leaving.uniforms(workers) < presence.leaving_share)
            for place in gone:
                leave_at[place] = self.leaves_at(int(workers[place]))
        return leave_at

    def _last_of_many(self, workers: Ints, moments: Floats) -> tuple[Floats, Mask]:
        """The last point up to a moment, of each worker, and whether it draws "there"."""
        found = np.full(workers.size, -math.inf)
        is_there = np.zeros(workers.size, bool)
        slots = np.floor(moments / self._slot_s).astype(np.int64)
        left = np.arange(workers.size)
        while left.size:
            places, there = self._points_of_many(workers[left], slots[left], missing=-math.inf)
            places[places > moments[left, None]] = -math.inf
            best = places.argmax(axis=1)
            rows = np.arange(left.size)
            found[left], is_there[left] = places[rows, best], there[rows, best]
            left = left[np.isinf(found[left])]
            slots[left] -= 1
        return found, is_there

    def _points_of_many(self, workers: Ints, slots: Ints, missing: float) -> tuple[Floats, Mask]:
        """The points of each worker in its slot, `(workers, points)`, and what each draws."""
        drawn = self._counts.uniforms(workers, slots)
        counts = (drawn[:, None] >= self._below_many).sum(axis=1)
        width = max(int(counts.max(initial=0)), 1)
        column, each = np.arange(width), workers[:, None]
        numbers = slots[:, None] * POINTS_MAX + column
        places = (slots[:, None] + self._places.uniforms(each, numbers)) * self._slot_s
        there = self._draws.uniforms(each, numbers) < self._shares_of_many(workers, places)
        places[column >= counts[:, None]] = missing
        return places, there

    def _shares_of_many(self, workers: Ints, places: Floats) -> Floats:
        shares = np.full(places.shape, self._presence.share)
        if self._presence.swing:
            zones = self.zone_of_many(workers)
            steps = np.floor(places / _DAY_S * _DAY_STEPS).astype(np.int64)
            steps = (steps + zones[:, None] * (_DAY_STEPS // _ZONES)) % _DAY_STEPS
            shares = self._day_many[steps]
        if self._has_rare:
            shares[self.are_rare(workers)] *= self._presence.rare_duty
        return shares


def _poisson_table(mean: float) -> tuple[float, ...]:
    """What a uniform draw must reach for 1, 2, ... points."""
    term = total = math.exp(-mean)
    table = []
    for count in range(1, POINTS_MAX + 1):
        table.append(total)
        term *= mean / count
        total += term
    return tuple(table)


def _day_table(presence: Presence) -> list[float]:
    """The share that is there in each step of a day."""
    angles = [2 * math.pi * step / _DAY_STEPS for step in range(_DAY_STEPS)]
    return [presence.share * (1.0 + presence.swing * math.sin(angle)) for angle in angles]
