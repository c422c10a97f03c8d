"""Who takes the next task from the pool: whoever has been ready for longest. Pure.

A broker gives each message of a queue to the consumer that has waited for longest. A worker is such
a consumer while it is there, free, and allowed a task; one that goes away and comes back waits
again from the start. So whoever is fast, or there most, is served most: the bias of a shared queue.

A small population is watched whole: each worker that is there waits in the room, each that is away
is due when it comes. Of a large one only blocks drawn at random are looked at when the room is
empty, so that a task costs the same whatever the population.

    away ── comes ──▶ room ── longest ready ──▶ takes a task
                       │ had its try at this version
                       ▼
                     aside ── next version ──▶ room
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from simulation.planning.availability import Availability
from simulation.planning.draws import Ints, Stream
from simulation.planning.roster import Roster

BLOCK = 4096
"""Workers looked at together, and the largest population that is watched whole."""

BLOCKS_MAX = 16
"""Looked at before it is believed that nobody is ready."""

_Waiting = tuple[float, int, int]


class Pool:
    """The consumers of the pool's queue.

    Args:
        availability: When the workers are there.
        roster: What they are doing; the pool marks whom it watches.
        seed: Of the experiment.
    """

    def __init__(self, availability: Availability, roster: Roster, seed: int) -> None:
        self._availability = availability
        self._roster = roster
        self._whole = roster.workers <= BLOCK
        self._room: list[_Waiting] = []
        self._aside: list[_Waiting] = []
        self._away: list[tuple[float, int]] = []
        self._version = -1
        self._blocks = 0
        self._rest_until = -math.inf
        self._order = Stream(seed, "order of workers that are ready together")
        self._looks = Stream(seed, "blocks of workers looked at")

    def take(self, version: int, now: float) -> int | None:
        """The worker that takes a task of a version now; None if nobody is ready."""
        if version != self._version:
            self._version = version
            for waiting in self._aside:
                heapq.heappush(self._room, waiting)
            self._aside.clear()
        self._let_in(now)
        while self._room or self._fill(now):
            waiting = heapq.heappop(self._room)
            worker = waiting[2]
            if self._roster.tried[worker] >= version:
                self._aside.append(waiting)
            elif self._is_ready(waiting, now):
                self._roster.watched[worker] = False
                return worker
        return None

    def free(self, worker: int, now: float) -> None:
        """A worker has nothing in hand any more; from `now` on, which may be later, it is ready."""
        if self._whole and not self._roster.watched[worker]:
            self._watch(worker, now)

    def next_at(self) -> float:
        """When the next worker that is awaited comes, inf if nobody is."""
        return self._away[0][0] if self._away else self._rest_until if not self._whole else math.inf

    def _is_ready(self, waiting: _Waiting, now: float) -> bool:
        """Whether a worker has been there since it entered the room; if not it is put right."""
        since, _, worker = waiting
        if self._roster.busy[worker] or self._roster.rests_until[worker] > now:
            self._roster.watched[worker] = False
            if self._whole and not self._roster.busy[worker]:
                self._watch(worker, float(self._roster.rests_until[worker]))
            return False
        came = self._availability.there_since(worker, now)
        if came is None:
            self._roster.watched[worker] = False
            if self._whole:
                self._watch(worker, now)
            return False
        if came > since:
            self._enter(worker, came)
            return False
        return True

    def _watch(self, worker: int, now: float) -> None:
        """Let a worker in as soon as it is there, from `now` on."""
        self._roster.watched[worker] = True
        there_from = self._availability.there_from(worker, now)
        if there_from < math.inf:
            heapq.heappush(self._away, (there_from, worker))

    def _enter(self, worker: int, since: float) -> None:
        heapq.heappush(self._room, (since, self._order.bits(worker), worker))

    def _let_in(self, now: float) -> None:
        while self._away and self._away[0][0] <= now:
            there_from, worker = heapq.heappop(self._away)
            self._enter(worker, there_from)

    def _fill(self, now: float) -> bool:
        """Look at more workers; whether any of them is ready."""
        if self._whole:
            if self._blocks:
                return False  # all of them are watched already
            self._look_at(np.arange(self._roster.workers), now, wait=True)
            return bool(self._room)
        if now < self._rest_until:
            return False
        for number in range(BLOCKS_MAX):
            bits = self._looks.many_bits(np.arange(BLOCK), self._blocks)
            block = np.unique(bits % np.uint64(self._roster.workers)).astype(np.int64)
            last = number == BLOCKS_MAX - 1
            self._look_at(block, now, wait=last and not self._away)
            if self._room:
                return True
        self._rest_until = self._away[0][0] if self._away else math.inf
        return False

    def _look_at(self, workers: Ints, now: float, *, wait: bool) -> None:
        """Let those in that are there and free; `wait` for the others, too."""
        self._blocks += 1
        roster = self._roster
        free = workers[~(roster.busy[workers] | roster.watched[workers])]
        since = self._availability.there_since_of(free, now)
        there = ~np.isnan(since)
        for worker, came in zip(free[there].tolist(), since[there].tolist(), strict=True):
            roster.watched[worker] = True
            self._enter(worker, came)
        if wait:
            away = free[~there]
            for worker, comes in zip(
                away.tolist(), self._availability.there_from_of(away, now).tolist(), strict=True
            ):
                if comes < math.inf:
                    roster.watched[worker] = True
                    heapq.heappush(self._away, (comes, worker))
