"""Median and trimmed mean, against the definitions written out."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.aggregation import robust
from coordinator.algorithm import Algorithm
from schemas.codecs.numbers import BLOCK
from schemas.tensors import layout_of
from tests.coordinator.aggregation.rounds import Sent, make, numbers_of, rounds, step

MEDIAN = Algorithm(rule="median")


@given(rounds())
def test_the_median_is_that_of_each_number(sent: list[Sent]) -> None:
    expected = np.median([one.u for one in sent], axis=0)
    assert step(MEDIAN, sent) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(rounds(), st.floats(0, 0.499))
def test_the_trimmed_mean_is_without_the_share_at_each_end(sent: list[Sent], trim: float) -> None:
    count = len(sent)
    cut = min(math.ceil(round(trim * count, 9)), (count - 1) // 2)
    kept = [
        sorted(column)[cut : count - cut] for column in zip(*(s.numbers for s in sent), strict=True)
    ]
    expected = [sum(column) / len(column) for column in kept]
    made = step(Algorithm(rule="trimmed-mean", trim=trim), sent)
    assert made == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("trim", "count", "left"), [(0.1, 10, 8), (0.3, 10, 4), (0.1, 2, 2), (0.1, 3, 1), (0.0, 4, 4)]
)
def test_the_share_is_rounded_up_to_whole_updates(trim: float, count: int, left: int) -> None:
    cut = (count - left) // 2
    numbers = [10.0**power for power in range(count)]
    made = step(
        Algorithm(rule="trimmed-mean", trim=trim), [Sent((number,) * 5) for number in numbers]
    )
    assert made == pytest.approx(sum(numbers[cut : count - cut]) / left, rel=1e-5)


@pytest.mark.parametrize("rule", ["median", "trimmed-mean"])
@given(sent=rounds(), order=st.randoms(use_true_random=False))
def test_any_order_gives_the_same_bytes(rule: str, sent: list[Sent], order: random.Random) -> None:
    algorithm = Algorithm(rule=rule, trim=0.2)  # type: ignore[arg-type] # one of two
    shuffled = order.sample(sent, len(sent))
    assert make(algorithm, sent).model == make(algorithm, shuffled).model


def test_a_few_wrong_updates_do_not_pull_far_whatever_they_say_of_themselves() -> None:
    honest = [Sent((1.0,) * 5, worker) for worker in range(7)]
    wrong = [Sent((1e18,) * 5, 7 + number, examples=1e15) for number in range(3)]
    assert step(MEDIAN, honest + wrong) == pytest.approx(1.0)
    assert step(Algorithm(rule="trimmed-mean", trim=0.3), wrong + honest) == pytest.approx(1.0)


@pytest.mark.parametrize("most", [1, 7, 10**9])
def test_all_numbers_are_there_however_small_the_table(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(robust, "TABLE_FLOATS", most)
    size = 40 if most < 10 else BLOCK + 9
    layout = layout_of({"w": np.zeros(size, np.float32), "x": np.zeros(3, np.float64)})
    sent = [Sent(tuple(np.arange(size + 3) * factor)) for factor in (1.0, 2.0, 9.0)]
    made = make(MEDIAN, sent, layout=layout)
    views = np.frombuffer(made.model, "<f8", 3), np.frombuffer(made.model, "<f4", size, 24)
    assert np.array_equal(np.concatenate(views), 2.0 * np.arange(size + 3))


def test_the_table_of_many_updates_is_small() -> None:
    assert numbers_of(make(MEDIAN, [Sent((1.0,) * 5)] * 2000)) == pytest.approx(1.0)
