"""A sum in groups is as near to the true one with ten thousand updates as with a hundred."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from coordinator.aggregation.groups import GROUP, HEADROOM, GroupedSum, Room
from schemas.codecs.numbers import BLOCK, PlainNumbers
from schemas.tensors import Floats

Doubles = NDArray[np.float64]

SIZE = 5
LARGEST = np.nextafter(np.float32(2.0**64), np.float32(0))  # what the checks let pass
COUNTS = (1, 2, GROUP, GROUP + 1, GROUP + 2, 2 * GROUP, 2 * GROUP + 1, 3 * GROUP + 5)


def updates(count: int, size: int = SIZE, shift: float = 0.0) -> list[tuple[Floats, float]]:
    """Updates, and what each weighs."""
    rng = np.random.default_rng(count)
    numbers = (rng.standard_normal((count, size)) + shift).astype(np.float32)
    return list(zip(numbers, rng.integers(1, 1000, count).astype(float).tolist(), strict=True))


def summed(sent: list[tuple[Floats, float]], room: Room | None = None) -> Doubles:
    size = sent[0][0].size
    made = GroupedSum(size, room)
    for numbers, factor in sent:
        made.add(PlainNumbers(numbers.tobytes()), factor)
    return written(made, size)


def written(made: GroupedSum, size: int) -> Doubles:
    out = np.empty(size)
    for start in range(0, size, BLOCK):
        made.write(start, out[start : start + BLOCK])
    return out


def in_doubles(sent: list[tuple[Floats, float]]) -> Doubles:
    total = np.zeros(sent[0][0].size)
    for numbers, factor in sent:
        total += factor * numbers.astype(np.float64)
    return total


def one_by_one(sent: list[tuple[Floats, float]]) -> Doubles:
    total = np.zeros(sent[0][0].size, np.float32)
    for numbers, factor in sent:
        total += np.float32(factor) * numbers
    return total.astype(np.float64)


def error(found: Doubles, true: Doubles) -> float:
    return float(np.max(np.abs(found - true)) / np.max(np.abs(true)))


def test_of_nothing_the_sum_is_zero() -> None:
    assert written(GroupedSum(SIZE), SIZE).tolist() == [0.0] * SIZE


@pytest.mark.parametrize("count", [100, 1000, 10_000])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_no_number_of_updates_makes_it_less_exact(count: int, shift: float) -> None:
    sent = updates(count, 300, shift)
    assert error(summed(sent), in_doubles(sent)) < 6e-7


def test_added_one_by_one_ten_thousand_updates_lose_five_times_as_much() -> None:
    sent = updates(10_000, 300, 1.0)
    true = in_doubles(sent)
    assert error(one_by_one(sent), true) > 5 * error(summed(sent), true)


@pytest.mark.parametrize("count", COUNTS)
def test_whole_numbers_are_summed_exactly(count: int) -> None:
    rng = np.random.default_rng(count)
    sent = [(rng.integers(-99, 99, 7).astype(np.float32), 2.0) for _ in range(count)]
    assert np.array_equal(summed(sent), in_doubles(sent))


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-1e3, 1e3, width=32), min_size=SIZE, max_size=SIZE),
            st.floats(1e-3, 1e6),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_it_is_the_sum_up_to_what_a_group_rounds_off(
    drawn: list[tuple[list[float], float]],
) -> None:
    many = drawn * (3 * GROUP // len(drawn))
    sent = [(np.array(numbers, np.float32), factor) for numbers, factor in many]
    magnitude = in_doubles([(np.abs(numbers), factor) for numbers, factor in sent])
    lost = np.abs(summed(sent) - in_doubles(sent))
    assert np.all(lost <= (GROUP + 3) * 2.0**-24 * magnitude + 1e-30)


@pytest.mark.parametrize("count", COUNTS)
def test_the_same_updates_give_the_same_bits_wherever_the_sum_lies(count: int) -> None:
    sent = updates(count, BLOCK + 3)
    garbage = [np.full(BLOCK + 3, np.nan, np.float32) for _ in range(2)]
    assert summed(sent).tobytes() == summed(sent, garbage).tobytes()


@pytest.mark.parametrize("count", COUNTS)
def test_blocks_are_summed_as_numbers_are(count: int) -> None:
    sent = updates(count, 2 * BLOCK + 3)
    tail = [(numbers[-SIZE:], factor) for numbers, factor in sent]
    assert summed(sent)[-SIZE:].tobytes() == summed(tail).tobytes()


@pytest.mark.parametrize(
    "factors",
    [
        [1.0] * (2 * GROUP + 3),
        [1.0, 2.0**63],
        [1e-100, 600.0, 1.0],
        [0.0, 3.0, 0.0],
        [5e-324, 1e-310, 2.0],
        [2.0**64, 1e-100, 3.0],
        [1.0, 1.0, HEADROOM, HEADROOM**2, 5.0, HEADROOM**4],
        [10.0**power for power in range(-60, 60)],
        [*[1.0] * GROUP, HEADROOM, 3.0, *[1.0] * GROUP],
    ],
)
def test_no_weights_make_the_sum_of_checked_numbers_infinite(factors: list[float]) -> None:
    numbers = np.array([LARGEST, -LARGEST, 1.0, 0.0], np.float32)
    sent = [(numbers, factor) for factor in factors]
    true = in_doubles(sent)
    assert summed(sent) == pytest.approx(true, rel=1e-6)
    assert math.isfinite(float(np.sum(np.abs(summed(sent)))))


def test_a_unit_that_grows_costs_no_digit() -> None:
    numbers = np.array([1.0, 3.0, -7.0], np.float32)
    sent = [(numbers, 1.0), (numbers, 5.0), (0 * numbers, 4 * HEADROOM)]
    assert summed(sent).tolist() == [6.0, 18.0, -42.0]
