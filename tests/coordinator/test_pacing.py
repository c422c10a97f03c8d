import heapq
from collections import Counter
from dataclasses import dataclass, field

import pytest

from coordinator.pacing import JITTER, LEAST_S, MOST_S, TURN_PRESENCES, Crowd, away_s
from schemas.chance import Chance, key_of

PRESENCE_S = 30.0


def told(target: int, connected: int, population: int, number: int = 0) -> float:
    chance = Chance(key_of("pace"), number)
    return away_s(target, Crowd(connected, population), PRESENCE_S, chance)


def test_without_a_target_everyone_stays() -> None:
    assert {told(0, 1000, 5000, n) for n in range(100)} == {0.0}


def test_up_to_the_target_everyone_stays() -> None:
    assert {told(50, 50, 5000, n) for n in range(100)} == {0.0}
    assert {told(50, 3, 3, n) for n in range(100)} == {0.0}


def test_above_it_those_too_many_are_sent_away_by_chance() -> None:
    gone = sum(told(50, 200, 5000, n) > 0 for n in range(4000))
    assert gone / 4000 == pytest.approx(0.75, abs=0.03)


def test_how_long_depends_on_the_population_with_chance_to_both_sides() -> None:
    waits = [wait for n in range(4000) if (wait := told(50, 200, 500, n)) > 0]
    mean_s = TURN_PRESENCES * PRESENCE_S * 9
    assert sum(waits) / len(waits) == pytest.approx(mean_s, rel=0.02)
    assert min(waits) >= mean_s * (1 - JITTER)
    assert max(waits) <= mean_s * (1 + JITTER)
    assert len(set(waits)) > 2500


def test_nobody_is_sent_away_for_less_than_a_second_or_more_than_a_day() -> None:
    quick = [away_s(50, Crowd(100, 100), 0.01, Chance(key_of("pace"), n)) for n in range(200)]
    assert set(quick) == {0.0, LEAST_S}
    many = [wait for n in range(200) if (wait := told(10, 10_000, 10**9, n)) > 0]
    assert set(many) == {MOST_S}


@dataclass
class Fleet:
    """Workers that do what they are told, in virtual time."""

    target: int
    workers: int
    connected: set[int] = field(default_factory=set)
    events: list[tuple[float, int]] = field(default_factory=list)
    returned: Counter[int] = field(default_factory=Counter)

    def run(self, until_s: float) -> list[int]:
        """How many were connected, each presence interval; all come in the first second."""
        self.events = [(worker / self.workers, worker) for worker in range(self.workers)]
        counts, look_at = [], PRESENCE_S
        while self.events[0][0] < until_s:
            now, worker = heapq.heappop(self.events)
            while look_at <= now:
                counts.append(len(self.connected))
                look_at += PRESENCE_S
            if worker not in self.connected:
                self.returned[int(now // PRESENCE_S)] += 1
            self.connected.add(worker)
            chance = Chance(key_of("fleet", worker), int(now * 1000))
            crowd = Crowd(len(self.connected), self.workers)
            wait_s = away_s(self.target, crowd, PRESENCE_S, chance)
            if wait_s:
                self.connected.discard(worker)
            heapq.heappush(self.events, (now + (wait_s or PRESENCE_S), worker))
        return counts


@pytest.mark.parametrize("workers", [30, 100, 400, 2000])
def test_about_the_target_are_connected_whatever_the_population(workers: int) -> None:
    fleet = Fleet(target=100, workers=workers)
    counts = fleet.run(600 * PRESENCE_S)[300:]
    mean = sum(counts) / len(counts)
    if workers <= 100:
        assert counts == [workers] * len(counts)
    else:
        assert mean == pytest.approx(105, rel=0.1)
        assert min(counts) >= 85


def test_those_who_came_together_do_not_come_back_together() -> None:
    fleet = Fleet(target=100, workers=2000)
    fleet.run(600 * PRESENCE_S)
    steady = [fleet.returned[n] for n in range(200, 600)]
    assert fleet.returned[0] == 2000
    assert max(steady) <= 4 * max(1, sum(steady) / len(steady))
