"""What an update weighs, against the formulas written out."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.weighing import ExampleWeights, Staleness, Weighing


@given(st.integers(1, 2**53), st.integers(0, 10_000), st.integers(0, 10**6))
def test_the_defaults_are_fedavgs_examples_and_fedbuffs_staleness(
    examples: int, stale: int, cap: int
) -> None:
    expected = min(examples, cap or examples) / math.sqrt(1 + stale)
    assert Weighing(max_examples=cap).weight(examples, stale) == expected


@pytest.mark.parametrize(
    ("name", "weight"),
    [("linear", 400.0), ("equal", 1.0), ("sqrt", 20.0), ("log", math.log(401.0))],
)
def test_examples_weigh_as_set(name: ExampleWeights, weight: float) -> None:
    assert Weighing(name).of_examples(400) == pytest.approx(weight)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("constant", {0: 1.0, 5: 1.0, 24: 1.0}),
        ("polynomial", {0: 1.0, 3: 4**-0.3, 24: 25**-0.3}),
        ("hinge", {0: 1.0, 6: 1.0, 7: 1 / (0.3 * 1 + 1), 16: 1 / (0.3 * 10 + 1)}),
    ],
)
def test_staleness_takes_off_as_set(name: Staleness, weights: dict[int, float]) -> None:
    weighing = Weighing("equal", 0, name, a=0.3, b=6.0)
    assert {stale: weighing.weight(7, stale) for stale in weights} == pytest.approx(weights)


@given(
    st.sampled_from(get_args(ExampleWeights)),
    st.sampled_from(get_args(Staleness)),
    st.integers(1, 2**53),
    st.integers(0, 1000),
    st.floats(0, 100),
    st.floats(0, 50),
)
def test_a_weight_is_above_zero_and_never_grows_with_staleness(
    examples: ExampleWeights, staleness: Staleness, count: int, stale: int, a: float, b: float
) -> None:
    weighing = Weighing(examples, 0, staleness, a, b)
    assert 0 < weighing.weight(count, stale + 1) <= weighing.weight(count, stale)
    assert weighing.weight(count, 0) == weighing.of_examples(count)


@pytest.mark.parametrize("examples", get_args(ExampleWeights))
@pytest.mark.parametrize("staleness", get_args(Staleness))
def test_the_stalest_update_that_settings_allow_still_weighs_something(
    examples: ExampleWeights, staleness: Staleness
) -> None:
    weighing = Weighing(examples, 0, staleness, a=100.0, b=0.0)
    weight = weighing.weight(1, 10**6)
    assert weight > 0
    assert weight * 1e-45 / weight == pytest.approx(1e-45), "the smallest float32 is rounded away"


def test_no_update_weighs_more_examples_than_the_cap() -> None:
    assert Weighing("sqrt", max_examples=100).of_examples(10**9) == 10.0
