from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simulation.planning.availability import Availability
from simulation.planning.devices import SETS, Presence
from simulation.planning.draws import Ints

FLAKY = SETS["flaky"].presence
KINDS = {name: devices.presence for name, devices in SETS.items()}
WORKERS = np.arange(300)


def moments(count: int, step_s: float) -> list[float]:
    return [step_s * number for number in range(count)]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("now", [0.0, 1e3, 123_456.7])
def test_one_and_many_agree(name: str, now: float) -> None:
    availability = Availability(KINDS[name], seed=3)
    there = [availability.is_there(worker, now) for worker in WORKERS.tolist()]
    since = [availability.there_since(worker, now) for worker in WORKERS.tolist()]
    come = [availability.there_from(worker, now) for worker in WORKERS.tolist()]
    rare = [availability.is_rare(worker) for worker in WORKERS.tolist()]
    assert availability.are_there(WORKERS, now).tolist() == there
    expected = [math.nan if moment is None else moment for moment in since]
    np.testing.assert_array_equal(availability.there_since_of(WORKERS, now), expected)
    np.testing.assert_array_equal(availability.there_from_of(WORKERS, now), come)
    assert availability.are_rare(WORKERS).tolist() == rare


def test_many_agree_with_one_where_rare_workers_are_given() -> None:
    rare = WORKERS % 3 == 0
    availability = Availability(KINDS["hostile"], 3, rare)
    there = [availability.is_there(worker, 5e4) for worker in WORKERS.tolist()]
    assert availability.are_there(WORKERS, 5e4).tolist() == there


def test_asking_changes_nothing() -> None:
    asked, fresh = Availability(FLAKY, 1), Availability(FLAKY, 1)
    for now in moments(50, 333.0):
        asked.are_there(WORKERS, now)
    assert asked.is_there(5, 4e4) == fresh.is_there(5, 4e4)
    assert asked.there_from(5, 4e4) == fresh.there_from(5, 4e4)


def stretches(availability: Availability, workers: Ints, until: float) -> tuple[float, float]:
    """The mean lengths of stretches there and away."""
    there, away = [], []
    for worker in workers.tolist():
        now = availability.there_from(worker, availability.there_until(worker, 0.0))
        while now < until:
            gone = availability.there_until(worker, now)
            back = availability.there_from(worker, gone)
            there.append(gone - now)
            away.append(back - gone)
            now = back
    return float(np.mean(there)), float(np.mean(away))


def test_stretches_have_their_means_and_are_exponential() -> None:
    there_s, away_s = stretches(Availability(FLAKY, 1), np.arange(400), 4e5)
    assert there_s == pytest.approx(20 * 60, rel=0.05)
    assert away_s == pytest.approx(60 * 60, rel=0.05)


def test_the_lengths_are_memoryless() -> None:
    availability = Availability(FLAKY, 2)
    lengths = []
    for worker in range(3000):
        begun = availability.there_from(worker, 1e6)
        if begun > 1e6:  # or it would be the rest of a stretch that had begun
            lengths.append(availability.there_until(worker, begun) - begun)
    longer = np.array([length for length in lengths if length > 1200.0]) - 1200.0
    assert np.mean(lengths) == pytest.approx(1200.0, rel=0.08)
    assert np.mean(longer) == pytest.approx(1200.0, rel=0.12)
    assert np.std(lengths) == pytest.approx(1200.0, rel=0.12)


def test_the_share_that_is_there_is_the_presence_s() -> None:
    workers = np.arange(4000)
    for now in (0.0, 5e5):
        share = Availability(FLAKY, 1).are_there(workers, now).mean()
        assert share == pytest.approx(0.25, abs=0.03)


def test_a_worker_is_there_between_since_and_until() -> None:
    availability = Availability(FLAKY, 4)
    for worker in range(200):
        now = availability.there_from(worker, 1e5)
        since, until = availability.there_since(worker, now), availability.there_until(worker, now)
        assert since is not None
        assert since <= now < until
        assert availability.is_there(worker, (now + until) / 2)
        assert not availability.is_there(worker, until)
        assert not availability.is_there(worker, math.nextafter(since, -math.inf))


def test_phones_are_there_by_the_hour_of_their_zone() -> None:
    """Over the whole population it is even; of one worker over many days it swings 4 to 1."""
    presence = KINDS["phones"]
    availability, workers = Availability(presence, 1), np.arange(1500)
    day = [
        np.mean(
            [availability.are_there(workers, day * 86400.0 + hour * 3600) for day in range(6)], 0
        )
        for hour in range(24)
    ]
    by_zone = {
        zone: [
            shares[np.array(availability.zone_of_many(workers)) == zone].mean() for shares in day
        ]
        for zone in (0, 8, 16)
    }
    for shares in by_zone.values():
        assert max(shares) > 2.5 * min(shares)
    assert np.mean(day) == pytest.approx(0.3, abs=0.02)


def test_rare_workers_are_there_as_much_more_rarely_as_is_said() -> None:
    rare = np.arange(4000) < 2000
    presence = Presence(share=0.5, there_s=600.0, rare_duty=0.1)
    availability = Availability(presence, 1, rare)
    shares = [availability.are_there(np.arange(4000), now) for now in moments(20, 2e4)]
    assert np.mean(shares, 0)[:2000].mean() == pytest.approx(0.05, rel=0.1)
    assert np.mean(shares, 0)[2000:].mean() == pytest.approx(0.5, rel=0.05)


def test_rare_workers_may_be_the_only_ones_that_are_ever_away() -> None:
    rare = np.arange(1000) < 500
    availability = Availability(Presence(share=1.0, rare_duty=0.2), 1, rare)
    there = availability.are_there(np.arange(1000), 3e4)
    assert there[500:].all()
    assert there[:500].mean() == pytest.approx(0.2, abs=0.06)


def test_who_leaves_for_good_never_comes_back() -> None:
    presence = replace(FLAKY, leaving_share=0.1, leaving_s=3600.0)
    availability, workers = Availability(presence, 1), np.arange(3000)
    leave_at = availability.many_leave_at(workers)
    assert np.isfinite(leave_at).mean() == pytest.approx(0.1, abs=0.02)
    assert leave_at[np.isfinite(leave_at)].mean() == pytest.approx(3600.0, rel=0.15)
    gone = workers[leave_at < 1e5]
    assert not availability.are_there(gone, 1e5).any()
    assert np.isinf(availability.there_from_of(gone, 1e5)).all()


def test_ideal_devices_are_always_there() -> None:
    availability = Availability(KINDS["ideal"], 1)
    assert availability.always
    assert availability.there_until(3, 1e9) == math.inf
