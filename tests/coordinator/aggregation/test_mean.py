"""The running sum is the weighted mean computed by hand, in little memory."""

from __future__ import annotations

import itertools
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.aggregation.checks import BLOCK, inspect
from coordinator.aggregation.mean import WeightedMean
from schemas.layout import Layout
from schemas.tensors import Array, Floats, flatten, layout_of, unflatten, update_between

Weighted = tuple[list[float], float]

COUNT = 4
LAYOUT = layout_of({"w": np.zeros(COUNT, np.float32)})
WEIGHTED: st.SearchStrategy[Weighted] = st.tuples(
    st.lists(st.floats(-10, 10, width=32), min_size=COUNT, max_size=COUNT),
    st.integers(1, 1000).map(float),
)


def mean_of(updates: list[Weighted], layout: Layout = LAYOUT) -> bytearray:
    """The model that a base of zeros becomes."""
    mean = WeightedMean(layout)
    for numbers, weight in updates:
        mean.add(np.array(numbers, "<f4").tobytes(), weight)
    return mean.result(bytes(layout.num_bytes))


def numbers_of(model: bytearray) -> Floats:
    return np.frombuffer(model, "<f4")


@given(st.lists(WEIGHTED, min_size=1, max_size=12))
def test_the_mean_is_the_one_computed_by_hand(updates: list[Weighted]) -> None:
    numbers = np.array([numbers for numbers, _ in updates], np.float64)
    expected = np.average(numbers, axis=0, weights=[weight for _, weight in updates])
    assert numbers_of(mean_of(updates)) == pytest.approx(expected, rel=1e-6, abs=1e-5)


@given(st.lists(WEIGHTED, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_another_order_gives_the_same_numbers_up_to_rounding(
    updates: list[Weighted], order: random.Random
) -> None:
    shuffled = order.sample(updates, len(updates))
    assert numbers_of(mean_of(shuffled)) == pytest.approx(numbers_of(mean_of(updates)), abs=1e-5)


@given(st.lists(WEIGHTED, min_size=1, max_size=12))
def test_the_same_order_gives_the_same_bytes(updates: list[Weighted]) -> None:
    assert mean_of(updates) == mean_of(updates)


@given(st.lists(WEIGHTED, min_size=1, max_size=12))
def test_the_mean_lies_between_the_smallest_and_the_largest(updates: list[Weighted]) -> None:
    numbers = np.array([numbers for numbers, _ in updates])
    mean = numbers_of(mean_of(updates))
    assert np.all(mean >= numbers.min(axis=0) - 1e-5)
    assert np.all(mean <= numbers.max(axis=0) + 1e-5)


def test_an_update_of_all_workers_alike_is_the_mean() -> None:
    assert numbers_of(mean_of([([0.5, 1, 2, 4], 3.0)] * 7)).tolist() == [0.5, 1, 2, 4]


def test_each_of_many_workers_is_in_the_mean_once() -> None:
    count = 50
    layout = layout_of({"w": np.zeros(count, np.float32)})
    mean = WeightedMean(layout)
    for row in np.eye(count, dtype="<f4"):
        mean.add(row.tobytes(), 1.0)
    assert mean.count == count
    assert mean.total_weight == count
    assert numbers_of(mean.result(bytes(layout.num_bytes))) == pytest.approx(1 / count)


def test_a_sum_over_more_than_one_block_misses_no_number() -> None:
    numbers = np.arange(2 * BLOCK + 3, dtype="<f4")
    layout = layout_of({"w": numbers})
    mean = WeightedMean(layout)
    mean.add(numbers.tobytes(), 2.0)
    mean.add((3 * numbers).tobytes(), 2.0)
    assert np.array_equal(numbers_of(mean.result(bytes(layout.num_bytes))), 2 * numbers)


def test_nothing_added_gives_the_base() -> None:
    base = np.arange(COUNT, dtype="<f4").tobytes()
    assert WeightedMean(LAYOUT).result(base) == base


def test_neither_base_nor_updates_are_changed() -> None:
    base = bytearray(np.arange(COUNT, dtype="<f4").tobytes())
    update = bytearray(np.ones(COUNT, "<f4").tobytes())
    before = bytes(base), bytes(update)
    mean = WeightedMean(LAYOUT)
    mean.add(update, 5.0)
    result = mean.result(base)
    assert (bytes(base), bytes(update)) == before
    assert numbers_of(result).tolist() == [1, 2, 3, 4]


def test_a_result_is_made_once() -> None:
    mean = WeightedMean(LAYOUT)
    mean.add(np.ones(COUNT, "<f4").tobytes(), 1.0)
    mean.result(bytes(LAYOUT.num_bytes))
    with pytest.raises(ValueError, match="broadcast"):
        mean.result(bytes(LAYOUT.num_bytes))


def model(weight: float, batches: int, frozen: int, seen: bool) -> dict[str, Array]:
    return {
        "bn.weight": np.array([weight, weight], np.float32),
        "bn.half": np.array([weight], np.float16),
        "bn.num_batches_tracked": np.array(batches, np.int64),
        "frozen": np.array([frozen], np.int16),
        "seen": np.array([seen, False]),
    }


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_floats_are_averaged_counters_maxed_and_the_rest_kept(order: tuple[int, ...]) -> None:
    base = model(1.0, 10, 5, False)
    layout = layout_of(base, {"bn.num_batches_tracked": "max", "seen": "max"})
    trained = [model(2.0, 12, 9, False), model(3.0, 9, 8, True), model(4.0, 11, 7, False)]
    mean = WeightedMean(layout)
    for index in order:
        before, after = flatten(base, layout), flatten(trained[index], layout)
        mean.add(bytes(update_between(before, after, layout)), 1.0)
    result = unflatten(mean.result(flatten(base, layout)), layout)
    assert result["bn.weight"] == pytest.approx([3.0, 3.0])
    assert result["bn.half"].tolist() == [3.0]
    assert result["bn.num_batches_tracked"] == 12
    assert result["frozen"].tolist() == [5]
    assert result["seen"].tolist() == [True, False]


def test_a_counter_never_falls_below_the_servers() -> None:
    base = model(1.0, 10, 5, True)
    layout = layout_of(base, {"bn.num_batches_tracked": "max", "seen": "max"})
    mean = WeightedMean(layout)
    lower = flatten(model(1.0, 3, 5, False), layout)
    mean.add(update_between(flatten(base, layout), lower, layout), 1.0)
    result = unflatten(mean.result(flatten(base, layout)), layout)
    assert result["bn.num_batches_tracked"] == 10
    assert result["seen"].tolist() == [True, False]


def test_memory_does_not_grow_with_the_number_of_updates() -> None:
    few, many = (peak_of_adding(count) for count in (10, 100))
    assert many <= few * 1.02
    assert few < 3.5 * 4 * NUMBERS, "more than the sum, the next model and one change"


NUMBERS = 300_000


def peak_of_adding(count: int) -> int:
    """Most bytes in use while `count` updates become a model; the update itself aside."""
    layout = layout_of({"w": np.zeros(NUMBERS, np.float32), "n": np.array(1)}, {"n": "max"})
    payload, base = bytes(layout.update_bytes), bytes(layout.num_bytes)
    WeightedMean(layout).add(payload, 1.0)
    tracemalloc.start()
    try:
        mean = WeightedMean(layout)
        for _ in range(count):
            mean.add(payload, 1.0)
        mean.result(base)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_updates_that_pass_the_checks_leave_a_half_precision_model_finite() -> None:
    layout = layout_of({"w": np.ones(1, np.float16)})
    payload = np.array([1e5], "<f4").tobytes()
    assert inspect(payload, layout, max_norm=0.0) is None
    mean = WeightedMean(layout)
    mean.add(payload, 1.0)
    base = flatten({"w": np.ones(1, np.float16)}, layout)
    assert np.isfinite(unflatten(mean.result(base), layout)["w"]).all()
