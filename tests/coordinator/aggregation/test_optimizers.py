"""The server's optimisers, against the algorithms written out, round after round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.aggregation.aggregator import ServerState
from coordinator.aggregation.optimizers import MOMENTUM, SECOND
from coordinator.algorithm import Algorithm, OptimizerName, Stepping
from schemas.codecs.numbers import BLOCK
from schemas.tensors import layout_of
from tests.coordinator.aggregation.rounds import NUMBERS, Numbers, Sent, make, numbers_of

STEPS = st.lists(NUMBERS, min_size=1, max_size=6)
ADAPTIVE = ("adagrad", "adam", "yogi")


def models(stepping: Stepping, steps: list[tuple[float, ...]]) -> list[Numbers]:
    """The models of as many rounds of one update each, from zeros."""
    algorithm, base = Algorithm(stepping=stepping), b""
    state: ServerState = {}
    found = []
    for step in steps:
        made = make(algorithm, [Sent(step)], base, state)
        base, state = bytes(made.model), made.state
        found.append(numbers_of(made).astype(np.float64))
    return found


def reddi(name: str, steps: list[tuple[float, ...]], s: Stepping) -> list[Numbers]:
    """Reddi et al. 2021, algorithm 2, in plain loops over each number."""
    width = len(steps[0])
    x, m, v = [0.0] * width, [0.0] * width, [s.tau**2] * width
    found = []
    for step in steps:
        for i, d in enumerate(step):
            m[i] = s.beta1 * m[i] + (1 - s.beta1) * d
            if name == "adagrad":
                v[i] = v[i] + d * d
            elif name == "yogi":
                difference = v[i] - d * d
                sign = (difference > 0) - (difference < 0)
                v[i] = v[i] - (1 - s.beta2) * d * d * sign
            else:
                v[i] = s.beta2 * v[i] + (1 - s.beta2) * d * d
            x[i] = x[i] + s.lr * m[i] / (math.sqrt(v[i]) + s.tau)
        found.append(np.array(x))
    return found


@pytest.mark.parametrize("name", ADAPTIVE)
@given(steps=STEPS, beta1=st.sampled_from([0.0, 0.9]), tau=st.sampled_from([1e-3, 0.1]))
def test_the_adaptive_ones_are_those_of_reddi(
    name: Any, steps: list[tuple[float, ...]], beta1: float, tau: float
) -> None:
    stepping = Stepping(name, lr=0.1, beta1=beta1, beta2=0.99, tau=tau)
    for made, expected in zip(models(stepping, steps), reddi(name, steps, stepping), strict=True):
        assert made == pytest.approx(expected, rel=2e-4, abs=1e-5)


@given(steps=STEPS, beta1=st.floats(0, 0.95))
def test_momentum_is_that_of_hsu(steps: list[tuple[float, ...]], beta1: float) -> None:
    velocity = x = np.zeros(5)
    for made, step in zip(models(Stepping("momentum", 0.3, beta1), steps), steps, strict=True):
        velocity = beta1 * velocity + np.array(step)
        x = x + 0.3 * velocity
        assert made == pytest.approx(x, rel=1e-5, abs=1e-5)


@given(steps=STEPS)
def test_without_an_optimiser_the_learning_rate_alone_counts(
    steps: list[tuple[float, ...]],
) -> None:
    made = models(Stepping(lr=0.25), steps)[-1]
    assert made == pytest.approx(0.25 * np.sum(steps, axis=0), rel=1e-5, abs=1e-5)


def test_the_first_step_of_adam_is_short_for_want_of_a_correction_of_bias() -> None:
    made = models(Stepping("adam", lr=1.0, beta1=0.9, beta2=0.99, tau=1e-9), [(2.0,) * 5])[0]
    assert made == pytest.approx(0.1 * 2.0 / math.sqrt(0.01 * 4.0), rel=1e-5)


def test_yogi_comes_down_slowly_from_a_large_second_moment_where_adam_forgets_it() -> None:
    steps = [(1000.0,) * 5, *[(0.001,) * 5] * 3]
    kept = {}
    names: list[OptimizerName] = ["adam", "yogi"]
    for name in names:
        algorithm = Algorithm(stepping=Stepping(name))
        state: ServerState = {}
        for step in steps:
            state = make(algorithm, [Sent(step)], state=state).state
        kept[name] = float(state[SECOND][0])
    assert kept["yogi"] > 9_990
    assert kept["adam"] < 9_800


@pytest.mark.parametrize(
    ("name", "names"),
    [("none", set()), ("momentum", {MOMENTUM}), *((n, {MOMENTUM, SECOND}) for n in ADAPTIVE)],
)
def test_what_the_next_version_needs_is_in_the_state(name: Any, names: set[str]) -> None:
    made = make(Algorithm(stepping=Stepping(name)), [Sent((1.0,) * 5)])
    assert set(made.state) == names
    assert all(numbers.dtype == np.float32 for numbers in made.state.values())


@pytest.mark.parametrize("name", ["momentum", *ADAPTIVE])
def test_every_block_of_a_model_has_its_own_state(name: Any) -> None:
    size = BLOCK + 5
    layout = layout_of({"w": np.zeros(size, np.float32), "x": np.zeros(7, np.float64)})
    algorithm = Algorithm(stepping=Stepping(name, lr=0.1))
    sent, base = [Sent(tuple(np.linspace(-1, 1, size + 7)))], b""
    state: ServerState = {}
    small = [np.linspace(-1, 1, size + 7)[index] for index in (0, 6, 7, size - 1, size + 6)]
    for _ in range(3):
        made = make(algorithm, sent, base, state, layout=layout)
        base, state = bytes(made.model), made.state
    x, w = np.frombuffer(base, "<f8", 7), np.frombuffer(base, "<f4", size, 56)
    found = np.concatenate([x, w])[[0, 6, 7, size - 1, size + 6]]
    expected = models(algorithm.stepping, [tuple(small)] * 3)[-1]
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_numbers_near_the_largest_float_leave_the_model_finite() -> None:
    made = models(Stepping("adam", lr=0.1), [(1e19, -1e19, 0.0, 1.0, 1e-30)] * 2)[-1]
    assert np.isfinite(made).all()
