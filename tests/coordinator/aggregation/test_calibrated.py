"""The rules that cache, against the papers' algorithms written out, round after round."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.aggregation.aggregator import ServerState
from coordinator.aggregation.cache import Cache, ShelfInMemory
from coordinator.algorithm import Algorithm
from schemas.codecs.numbers import BLOCK
from schemas.layout import Layout
from schemas.tensors import layout_of
from tests.coordinator.aggregation.rounds import LAYOUT, Numbers, Sent, make, numbers_of, rounds

WORKERS = 6  # that `rounds` draws from
HALF = 1e-3
"""What rounding to float16 may cost, of the largest number of an update."""


class Federation:
    """Rounds one after another, with what each hands to the next."""

    def __init__(self, algorithm: Algorithm, layout: Layout = LAYOUT) -> None:
        self.algorithm = algorithm
        self.layout = layout
        self.cache = Cache(ShelfInMemory(layout.num_floats))
        self.state: ServerState = {}

    def step(self, sent: list[Sent]) -> Numbers:
        made = make(self.algorithm, sent, b"", self.state, self.cache, self.layout)
        self.state = made.state
        self.cache.free(self.cache.replace(made.cached))
        return numbers_of(made).astype(np.float64)


def several(most: int = 4) -> st.SearchStrategy[list[list[Sent]]]:
    """Rounds of a federation; versions grow, so that what comes later is newer."""
    drawn = st.lists(rounds(most=6), min_size=1, max_size=most)
    return drawn.map(
        lambda all_sent: [
            [replace(one, base=one.base + 4 * number) for one in sent]
            for number, sent in enumerate(all_sent)
        ]
    )


def last_of_each(sent: list[Sent]) -> dict[int, Sent]:
    """The update of each worker that is to be cached: the one of the newest version."""
    return {one.worker: one for one in sorted(sent, key=lambda one: one.base)}


def mean_of(cached: dict[int, Sent]) -> Numbers:
    """The mean of what is cached, by examples; 0 of nothing."""
    total = np.zeros(5)
    for one in cached.values():
        total += one.examples * one.u
    return total / max(1.0, sum(one.examples for one in cached.values()))


def plain(all_sent: list[list[Sent]]) -> list[list[Sent]]:
    """As the papers have them: all of one weight."""
    return [[replace(one, examples=1.0, decay=1.0) for one in sent] for sent in all_sent]


@pytest.mark.parametrize("rule", ["ca2fl", "fedvarp"])
@given(all_sent=several().map(plain))
def test_ca2fl_and_fedvarp_are_those_of_the_papers(rule: str, all_sent: list[list[Sent]]) -> None:
    federation = Federation(Algorithm(rule=rule, population=WORKERS))  # type: ignore[arg-type] # one of two
    cached = {worker: np.zeros(5) for worker in range(WORKERS)}
    for sent in all_sent:
        mean = sum(cached.values()) / WORKERS
        expected = mean + sum(one.u - cached[one.worker] for one in sent) / len(sent)
        assert federation.step(sent) == pytest.approx(expected, rel=HALF, abs=30 * HALF)
        cached |= {worker: one.u for worker, one in last_of_each(sent).items()}


@given(several().map(plain))
def test_mifa_is_that_of_the_paper(all_sent: list[list[Sent]]) -> None:
    federation = Federation(Algorithm(rule="mifa", population=WORKERS))
    cached = {worker: np.zeros(5) for worker in range(WORKERS)}
    for sent in all_sent:
        cached |= {worker: one.u for worker, one in last_of_each(sent).items()}
        expected = sum(cached.values()) / WORKERS
        assert federation.step(sent) == pytest.approx(expected, rel=HALF, abs=10 * HALF)


@given(several())
def test_with_weights_both_means_are_weighted(all_sent: list[list[Sent]]) -> None:
    federation = Federation(Algorithm(rule="ca2fl"))
    cached: dict[int, Sent] = {}
    for sent in all_sent:
        mean = mean_of(cached)
        corrected = [
            one.weight * (one.u - (cached[one.worker].u if one.worker in cached else mean))
            for one in sent
        ]
        expected = mean + sum(corrected) / sum(one.weight for one in sent)
        assert federation.step(sent) == pytest.approx(expected, rel=HALF, abs=30 * HALF)
        cached |= last_of_each(sent)


@given(several())
def test_of_an_unknown_population_mifa_is_the_mean_of_those_heard_of(
    all_sent: list[list[Sent]],
) -> None:
    federation = Federation(Algorithm(rule="mifa"))
    cached: dict[int, Sent] = {}
    for sent in all_sent:
        cached |= last_of_each(sent)
        expected = mean_of(cached)
        assert federation.step(sent) == pytest.approx(expected, rel=HALF, abs=10 * HALF)


@given(several(), st.booleans())
def test_divided_by_count_staleness_shortens_the_correction_alone(
    all_sent: list[list[Sent]], known: bool
) -> None:
    algorithm = Algorithm(rule="ca2fl", by_count=True, population=WORKERS if known else 0)
    federation = Federation(algorithm)
    cached: dict[int, Sent] = {}
    for sent in all_sent:
        mean = mean_of(cached) * (len(cached) / WORKERS if known else 1.0)
        of_the_unknown = np.zeros(5) if known else mean
        corrected = [
            one.weight
            * (one.u - (cached[one.worker].u if one.worker in cached else of_the_unknown))
            for one in sent
        ]
        expected = mean + sum(corrected) / sum(one.examples for one in sent)
        assert federation.step(sent) == pytest.approx(expected, rel=HALF, abs=30 * HALF)
        cached |= last_of_each(sent)


@pytest.mark.parametrize("rule", ["ca2fl", "mifa", "fedvarp"])
@given(all_sent=several(), order=st.randoms(use_true_random=False))
def test_another_order_gives_the_same_numbers_up_to_rounding(
    rule: str, all_sent: list[list[Sent]], order: random.Random
) -> None:
    algorithm = Algorithm(rule=rule)  # type: ignore[arg-type] # one of three
    one, other = Federation(algorithm), Federation(algorithm)
    for sent in all_sent:
        steps = one.step(sent), other.step(order.sample(sent, len(sent)))
        largest = max(1.0, float(np.max(np.abs(steps[0]))))
        assert np.max(np.abs(steps[0] - steps[1])) <= 1e-6 * largest


def test_the_first_rounds_of_an_unknown_population_are_no_longer_than_the_mean() -> None:
    federation = Federation(Algorithm(rule="ca2fl"))
    for number in range(3):
        sent = [Sent((1.0,) * 5, 10 * number + worker, number) for worker in range(4)]
        assert federation.step(sent) == pytest.approx(1.0)


def test_who_stays_away_is_not_forgotten() -> None:
    """One half of the workers wants +1, the other -1 and comes once only."""
    federation, mean = Federation(Algorithm(rule="ca2fl")), Federation(Algorithm())
    here = [Sent((1.0,) * 5, worker) for worker in range(3)]
    away = [Sent((-1.0,) * 5, 3 + worker) for worker in range(3)]
    for one in (federation, mean):
        one.step(here + away)
    later = [replace(one, base=1) for one in here]
    assert mean.step(later) == pytest.approx(1.0)
    assert federation.step(later) == pytest.approx(0.0, abs=1e-6)


def test_an_older_update_that_comes_later_is_counted_but_not_cached() -> None:
    federation = Federation(Algorithm(rule="ca2fl"))
    federation.step([Sent((2.0,) * 5, worker=1, base=5)])
    federation.step([Sent((9.0,) * 5, worker=1, base=3)])
    assert federation.cache.in_force["worker-1"].base_version == 5
    assert federation.step([Sent((2.0,) * 5, worker=1, base=6)]) == pytest.approx(2.0)


@pytest.mark.parametrize("rule", ["ca2fl", "mifa"])
def test_blocks_and_dtypes_are_all_cached(rule: str) -> None:
    size = BLOCK + 3
    layout = layout_of({"w": np.zeros(size, np.float32), "x": np.zeros(5, np.float64)})
    federation = Federation(Algorithm(rule=rule), layout)  # type: ignore[arg-type] # one of two
    numbers = np.linspace(-3, 3, size + 5)
    made = None
    for number in range(3):
        sent = [Sent(tuple(numbers * (number + 1)), worker=0, base=number)]
        made = make(federation.algorithm, sent, b"", federation.state, federation.cache, layout)
        federation.state = made.state
        federation.cache.free(federation.cache.replace(made.cached))
    assert made is not None
    found = np.concatenate(
        [np.frombuffer(made.model, "<f8", 5), np.frombuffer(made.model, "<f4", size, 40)]
    )
    assert found == pytest.approx(3 * numbers, rel=HALF, abs=1e-2)


@given(st.floats(1e-30, 1e18), st.integers(0, 2**32 - 1))
def test_updates_of_any_size_are_cached_to_a_thousandth_of_their_largest_number(
    size: float, seed: int
) -> None:
    numbers = np.random.default_rng(seed).normal(size=5).astype(np.float32) * np.float32(size)
    federation = Federation(Algorithm(rule="mifa"))
    made = federation.step([Sent(tuple(numbers.tolist()))])
    assert np.max(np.abs(made - numbers)) <= HALF * np.max(np.abs(numbers))


def test_an_update_of_zeros_is_cached() -> None:
    federation = Federation(Algorithm(rule="ca2fl"))
    for base in range(2):
        assert federation.step([Sent((0.0,) * 5, base=base)]).tolist() == [0.0] * 5
