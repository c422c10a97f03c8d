from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simulation.planning.crowd import MIDDLING_EXAMPLES, Crowd
from simulation.planning.devices import SETS, Compute, Devices, Network, Presence

N = 4000


def durations(devices: Devices, number: int = 0, transfer_bytes: int = 0) -> list[float]:
    crowd = Crowd(devices, N, 1, transfer_bytes)
    return [crowd.task_s(worker, number) for worker in range(N)]


def test_ideal_tasks_all_take_the_same_time() -> None:
    assert set(durations(SETS["ideal"])) == {60.0}


def test_fedbuff_tasks_are_half_normal() -> None:
    lengths = np.array(durations(SETS["fedbuff"]))
    assert lengths.mean() == pytest.approx(60.0 * math.sqrt(2 / math.pi), rel=0.03)
    assert (lengths**2).mean() == pytest.approx(60.0**2, rel=0.05)


def test_phones_differ_as_phone_models_do_and_stay_as_fast_as_they_are() -> None:
    devices = replace(SETS["phones"], examples_sigma=0.0)
    first, second = np.log(durations(devices, 0)), np.log(durations(devices, 1))
    assert np.exp(np.median(first)) == pytest.approx(60.0, rel=0.06)
    assert first.std() == pytest.approx(math.hypot(0.93, 0.3), rel=0.03)
    assert (first - second).std() == pytest.approx(0.3 * math.sqrt(2), rel=0.05)


def test_who_has_more_examples_takes_longer() -> None:
    compute = Compute(10.0, "constant", size_power=0.5)
    crowd = Crowd(Devices("x", compute), 3, 1, examples=np.array([40, 10, 70]))
    assert [crowd.task_s(worker, 0) for worker in range(3)] == pytest.approx(
        [10.0, 5.0, 10 * math.sqrt(70 / 40)]
    )
    assert crowd.examples_of(2) == 70


def test_examples_are_drawn_where_no_data_say_them() -> None:
    crowd = Crowd(SETS["phones"], N, 1)
    counts = np.array([crowd.examples_of(worker) for worker in range(N)])
    assert counts.min() >= 1
    assert np.median(counts) == pytest.approx(MIDDLING_EXAMPLES, rel=0.06)
    assert Crowd(SETS["ideal"], N, 1).examples_of(17) == MIDDLING_EXAMPLES


def test_the_model_and_the_update_take_their_time_on_the_wire() -> None:
    devices = Devices("x", Compute(1.0, "constant"), Network(bits_per_s=8e6))
    assert set(durations(devices, transfer_bytes=3_000_000)) == {4.0}


def test_a_task_is_lost_by_its_worker_and_number_alone() -> None:
    crowd = Crowd(replace(SETS["fedbuff"], loss=0.08), N, 1)
    early = [crowd.trip(worker, 3, 10.0).outcome for worker in range(N)]
    late = [crowd.trip(worker, 3, 9e5).outcome for worker in range(N)]
    assert early == late
    assert early.count("dropped") / N == pytest.approx(0.08, abs=0.012)


def test_an_update_that_is_finished_while_its_worker_is_away_comes_when_it_is_back() -> None:
    crowd = Crowd(replace(SETS["flaky"], loss=0.0), N, 1)
    waited = 0
    for worker in range(300):
        trip = crowd.trip(worker, 0, 5e4)
        done_at = 5e4 + crowd.task_s(worker, 0)
        assert trip.outcome == "arrives"
        assert trip.ends_at == crowd.availability.there_from(worker, done_at)
        waited += trip.ends_at > done_at
    assert waited > 100


def test_where_that_is_how_devices_are_a_worker_that_goes_away_drops_its_task() -> None:
    presence = Presence(share=0.5, there_s=60.0, when_away="lost")
    crowd = Crowd(replace(SETS["fedbuff"], presence=presence), N, 1)
    outcomes = set()
    for worker in range(200):
        now = crowd.availability.there_from(worker, 1e4)
        trip = crowd.trip(worker, 0, now)
        until = crowd.availability.there_until(worker, now)
        done_at = now + crowd.task_s(worker, 0)
        assert trip.ends_at == min(until, done_at)
        assert trip.outcome == ("arrives" if done_at <= until else "dropped")
        outcomes.add(trip.outcome)
    assert outcomes == {"arrives", "dropped"}


def test_who_has_left_for_good_never_answers() -> None:
    presence = Presence(share=0.25, there_s=1200.0, leaving_share=1.0, leaving_s=10.0)
    crowd = Crowd(replace(SETS["ideal"], presence=presence), 10, 1)
    assert {crowd.trip(worker, 0, 1e5).outcome for worker in range(10)} == {"left"}
