from __future__ import annotations

import math

import numpy as np
import pytest

from simulation.planning.availability import Availability
from simulation.planning.devices import SETS, Presence
from simulation.planning.pool import BLOCK, Pool
from simulation.planning.roster import Roster

ALWAYS, FLAKY = SETS["ideal"].presence, SETS["flaky"].presence


class Hall:
    """A pool, and workers that take a task and give it back."""

    def __init__(self, presence: Presence, workers: int, seed: int = 1) -> None:
        self.availability = Availability(presence, seed)
        self.roster = Roster(workers)
        self.pool = Pool(self.availability, self.roster, seed)

    def take(self, version: int = 0, now: float = 0.0) -> int | None:
        worker = self.pool.take(version, now)
        if worker is not None:
            assert not self.roster.busy[worker]
            assert self.roster.tried[worker] < version
            assert self.availability.is_there(worker, now)
            self.roster.busy[worker] = True
            self.roster.tried[worker] = version
        return worker

    def finish(self, worker: int, now: float) -> None:
        self.roster.busy[worker] = False
        self.pool.free(worker, now)


@pytest.mark.parametrize("workers", [50, 2 * BLOCK])
def test_each_takes_one_task_and_then_nobody_is_left(workers: int) -> None:
    hall = Hall(ALWAYS, workers)
    taken = [hall.take() for _ in range(50)]
    assert len(set(taken)) == 50
    if workers == 50:
        assert hall.take() is None
        assert hall.pool.next_at() == math.inf


def test_a_worker_has_one_try_at_each_version() -> None:
    hall = Hall(ALWAYS, 3)
    for _ in range(3):
        worker = hall.take(version=0)
        assert worker is not None
        hall.finish(worker, 1.0)
    assert hall.take(version=0, now=2.0) is None
    assert {hall.take(version=1, now=2.0) for _ in range(3)} == {0, 1, 2}


def test_who_has_waited_longest_is_served_first() -> None:
    hall = Hall(ALWAYS, 4)
    order = [hall.take() for _ in range(4)]
    for place, worker in enumerate(reversed(order)):
        assert worker is not None
        hall.finish(worker, 10.0 + place)
    assert [hall.take(1, 20.0) for _ in range(4)] == order[::-1]


def test_who_went_away_meanwhile_waits_again_from_the_start() -> None:
    hall = Hall(FLAKY, 200)
    first = hall.pool.take(0, 0.0)
    assert first is not None
    hall.pool.free(first, 0.0)
    later = hall.availability.there_until(first, 0.0)
    back = hall.availability.there_from(first, later)
    served = []
    while (worker := hall.take(0, back)) is not None:
        served.append(worker)
    assert served[-1] == first  # it came a moment ago


@pytest.mark.parametrize("now", [0.0, 7e4])
def test_a_small_population_is_known_whole(now: float) -> None:
    hall = Hall(FLAKY, 300)
    assert hall.take() is not None
    served = {worker for worker in range(300) if hall.roster.busy[worker]}
    while (worker := hall.take(0, now)) is not None:
        served.add(worker)
    there = {worker for worker in range(300) if hall.availability.is_there(worker, now)}
    assert there <= served
    assert len(served) <= len(there) + 1


def test_when_nobody_is_ready_it_is_known_who_comes_next() -> None:
    hall = Hall(FLAKY, 40)
    while hall.take() is not None:
        pass
    comes = hall.pool.next_at()
    away = [worker for worker in range(40) if not hall.roster.busy[worker]]
    assert comes == min(hall.availability.there_from(worker, 0.0) for worker in away)
    assert hall.take(0, comes) is not None
    assert hall.take(0, comes) is None


def test_in_a_large_population_somebody_comes_too() -> None:
    presence = Presence(share=2e-3, there_s=600.0)
    hall = Hall(presence, 3 * BLOCK)
    now, served = 0.0, 0
    while served < 40:
        if hall.take(0, now) is None:
            comes = hall.pool.next_at()
            assert now < comes < math.inf
            now = comes
        else:
            served += 1


def test_in_a_large_population_all_are_reached() -> None:
    workers = 2 * BLOCK
    hall = Hall(ALWAYS, workers)
    for version in range(40):
        taken = [hall.take(version, float(version)) for _ in range(1000)]
        for worker in taken:
            assert worker is not None
            hall.finish(worker, float(version))
    assert (hall.roster.tried >= 0).mean() > 0.95


def test_a_shared_queue_serves_those_most_who_are_there_most() -> None:
    rare_first = Presence(share=0.5, there_s=600.0, rare_share=0.5, rare_duty=0.2)
    hall = Hall(rare_first, 400)
    rare = hall.availability.are_rare(np.arange(400))
    served = [0, 0]
    for version in range(300):
        worker = hall.take(version, 900.0 * version)
        if worker is not None:
            served[int(rare[worker])] += 1
            hall.finish(worker, 900.0 * version + 60.0)
    often, seldom = served
    # There five times as rarely, and behind those that stay long: served more rarely than that.
    assert often > 5 * seldom
