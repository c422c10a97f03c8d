"""The means are those computed by hand, in any order, in little memory."""

from __future__ import annotations

import itertools
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.aggregation.beginning import begin
from coordinator.aggregation.counted import Counted
from coordinator.aggregation.mean import NormalisedMean
from coordinator.algorithm import Algorithm
from schemas.codecs.numbers import BLOCK
from schemas.tensors import layout_of
from tests.coordinator.aggregation.rounds import NUMBERS, Sent, make, numbers_of, rounds, step

MEAN = Algorithm()


@given(rounds())
def test_the_mean_is_that_of_fedavg(sent: list[Sent]) -> None:
    expected = sum(one.weight * one.u for one in sent) / sum(one.weight for one in sent)
    assert step(MEAN, sent) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(rounds())
def test_divided_by_count_it_is_that_of_fedbuff(sent: list[Sent]) -> None:
    equal = [Sent(one.numbers, one.worker, one.base, 1.0, one.decay) for one in sent]
    expected = sum(one.u / one.decay for one in equal) / len(equal)
    assert step(Algorithm(by_count=True), equal) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(rounds())
def test_divided_by_count_examples_still_weigh_and_staleness_shortens(sent: list[Sent]) -> None:
    expected = sum(one.weight * one.u for one in sent) / sum(one.examples for one in sent)
    assert step(Algorithm(by_count=True), sent) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(NUMBERS, st.floats(1, 9))
def test_one_update_a_round_is_fedasync(numbers: tuple[float, ...], decay: float) -> None:
    rules = Algorithm(by_count=True)
    rules = Algorithm(by_count=True, stepping=type(rules.stepping)(lr=0.6))
    expected = 0.6 / decay * np.array(numbers)
    assert step(rules, [Sent(numbers, decay=decay)]) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("by_count", [False, True])
@given(sent=rounds())
def test_nova_is_the_mean_of_normalised_updates_times_the_mean_of_steps(
    by_count: bool, sent: list[Sent]
) -> None:
    total = sum(one.weight for one in sent)
    divisor = sum(one.examples for one in sent) if by_count else total
    effective = sum(one.weight / total * one.steps for one in sent)
    direction = sum(one.weight / divisor * one.u / one.steps for one in sent)
    assert step(Algorithm(rule="nova", by_count=by_count), sent) == pytest.approx(
        effective * direction, rel=1e-6, abs=1e-5
    )


@given(rounds())
def test_with_equal_steps_nova_is_the_mean(sent: list[Sent]) -> None:
    equal = [Sent(one.numbers, one.worker, one.base, one.examples, one.decay, 7) for one in sent]
    expected = step(MEAN, equal)
    assert step(Algorithm(rule="nova"), equal) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_nova_counts_no_more_local_steps_than_the_cap() -> None:
    many = Sent((1.0,) * 5, 9, steps=1e9)
    sent = [Sent((1.0,) * 5, n, steps=10) for n in range(9)]
    capped = [*sent, Sent(many.numbers, many.worker, steps=100)]
    nova = Algorithm(rule="nova", max_local_steps=100)
    assert step(nova, [*sent, many]).tolist() == step(nova, capped).tolist()
    assert np.max(step(nova, [*sent, many])) < 2


def test_nova_takes_no_update_of_unknown_steps() -> None:
    nova = NormalisedMean(1)
    update = Counted(np.ones(1, "<f4").tobytes(), "a", 0, 1.0, 1.0, local_steps=0.0)
    with pytest.raises(ValueError, match="local steps above 0, came 0"):
        nova.add(update, update.numbers(layout_of({"w": np.ones(1, np.float32)})), 1.0)


@given(rounds(), NUMBERS)
def test_the_step_is_added_to_the_base(sent: list[Sent], base: tuple[float, ...]) -> None:
    before = np.array(base, "<f4")
    made = numbers_of(make(MEAN, sent, before.tobytes()))
    assert made == pytest.approx(before + step(MEAN, sent), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("algorithm", [MEAN, Algorithm(by_count=True), Algorithm(rule="nova")])
@given(sent=rounds(), order=st.randoms(use_true_random=False))
def test_another_order_gives_the_same_numbers_up_to_rounding(
    algorithm: Algorithm, sent: list[Sent], order: random.Random
) -> None:
    one, other = step(algorithm, sent), step(algorithm, order.sample(sent, len(sent)))
    largest = float(np.max(np.abs(one)))
    assert np.max(np.abs(one - other)) <= 1e-6 * largest + 1e-12


def test_thousands_of_updates_in_another_order_are_within_a_millionth() -> None:
    rng = np.random.default_rng(5)
    sent = [Sent(tuple(rng.normal(size=5)), n, 0, float(rng.integers(1, 999))) for n in range(5000)]
    one, other = step(MEAN, sent), step(MEAN, sent[::-1])
    assert np.max(np.abs(one - other)) < 1e-6 * np.max(np.abs(one))


@given(rounds())
def test_the_same_order_gives_the_same_bytes(sent: list[Sent]) -> None:
    assert make(MEAN, sent).model == make(MEAN, sent).model


@given(rounds())
def test_the_mean_lies_between_the_smallest_and_the_largest(sent: list[Sent]) -> None:
    numbers = np.array([one.numbers for one in sent])
    mean = step(MEAN, sent)
    assert np.all(mean >= numbers.min(axis=0) - 1e-5)
    assert np.all(mean <= numbers.max(axis=0) + 1e-5)


def test_an_update_of_all_workers_alike_is_the_mean() -> None:
    assert step(MEAN, [Sent((0.5, 1, 2, 4, 8), 3)] * 7).tolist() == [0.5, 1, 2, 4, 8]


def test_each_of_many_workers_is_in_the_mean_once() -> None:
    count = 50
    layout = layout_of({"w": np.zeros(count, np.float32)})
    sent = [Sent(tuple(row)) for row in np.eye(count)]
    assert numbers_of(make(MEAN, sent, layout=layout)) == pytest.approx(1 / count)


def test_an_aggregation_knows_how_many_were_added_and_what_they_weigh() -> None:
    aggregation = begin(MEAN, layout_of({"w": np.zeros(5, np.float32)}))
    for one in (Sent((1,) * 5, examples=30), Sent((1,) * 5, examples=8, decay=2)):
        aggregation.add(one.counted())
    assert (aggregation.count, aggregation.total_weight) == (2, 34.0)


@pytest.mark.parametrize("rule", ["mean", "nova"])
def test_a_sum_over_more_than_one_block_misses_no_number(rule: str) -> None:
    numbers = np.arange(2 * BLOCK + 3, dtype="<f4")
    layout = layout_of({"w": numbers})
    sent = [Sent(tuple(numbers), examples=2), Sent(tuple(3 * numbers), examples=2)]
    algorithm = Algorithm(rule=rule)  # type: ignore[arg-type] # one of two
    assert np.array_equal(numbers_of(make(algorithm, sent, layout=layout)), 2 * numbers)


def test_memory_does_not_grow_with_the_number_of_updates() -> None:
    few, many, very_many = (peak_of_adding(count) for count in (10, 100, 1000))
    assert many <= few * 1.02
    assert few < 8 * SIZE + 5 * 8 * BLOCK, "more than the sum, the next model and some blocks"
    assert very_many <= many + 4 * SIZE + 1000, "more than another array"


SIZE = 1_000_000


def peak_of_adding(count: int) -> int:
    """Most bytes in use while `count` updates become a model; the update itself aside."""
    layout = layout_of({"w": np.zeros(SIZE, np.float32), "n": np.array(1)}, {"n": "max"})
    payload, base = bytes(layout.update_bytes), bytes(layout.num_bytes)
    update = Counted(payload, "worker", 0, 1.0, 1.0)
    begin(MEAN, layout).add(update)
    tracemalloc.start()
    try:
        aggregation = begin(MEAN, layout)
        for _ in range(count):
            aggregation.add(update)
        aggregation.result(base, itertools.repeat(None))  # type: ignore[arg-type] # not read
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
