from __future__ import annotations

import numpy as np
import pytest

from learning import perceptron
from learning.perceptron import Sgd

RNG = np.random.default_rng(3)
IMAGES = RNG.random((12, 5), dtype=np.float32)
LABELS = RNG.integers(0, 3, 12)
START = perceptron.initial(5, 4, 3, seed=1)


def loss_of(parameters: dict[str, np.ndarray]) -> float:
    """Mean cross entropy, written out in double precision."""
    wide = {name: value.astype(np.float64) for name, value in parameters.items()}
    hidden = np.maximum(IMAGES @ wide["hidden.weight"] + wide["hidden.bias"], 0)
    values = hidden @ wide["output.weight"] + wide["output.bias"]
    chances = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    return float(-np.log(chances[np.arange(12), LABELS]).mean())


def one_step(prox_mu: float = 0.0, start: dict[str, np.ndarray] = START) -> dict[str, np.ndarray]:
    sgd = Sgd(lr=1.0, epochs=1, batch_size=12, prox_mu=prox_mu)
    trained = perceptron.train(start, IMAGES, LABELS, sgd, seed=0)
    assert trained.steps == 1
    return trained.parameters


@pytest.mark.parametrize("name", sorted(START))
def test_a_step_goes_down_the_numerical_gradient(name: str) -> None:
    step = START[name] - one_step()[name]
    for where in np.ndindex(START[name].shape):
        moved = [{key: value.astype(np.float64) for key, value in START.items()} for _ in "-+"]
        moved[0][name][where] -= 1e-6
        moved[1][name][where] += 1e-6
        slope = (loss_of(moved[1]) - loss_of(moved[0])) / 2e-6
        assert step[where] == pytest.approx(slope, abs=1e-4)


def test_the_received_parameters_are_left_alone() -> None:
    before = {name: value.copy() for name, value in START.items()}
    one_step()
    for name, value in START.items():
        assert np.array_equal(value, before[name])


def test_fedprox_pulls_towards_what_was_received() -> None:
    # In the first step there is nothing to pull; in the second mu · (w - w received) is.
    sgd = Sgd(lr=0.5, epochs=2, batch_size=12)
    free = perceptron.train(START, IMAGES, LABELS, sgd, seed=0).parameters
    sgd = Sgd(lr=0.5, epochs=2, batch_size=12, prox_mu=0.8)
    pulled = perceptron.train(START, IMAGES, LABELS, sgd, seed=0).parameters
    first = perceptron.train(START, IMAGES, LABELS, Sgd(0.5, 1, 12), seed=0).parameters
    for name in START:
        expected = free[name] - 0.5 * 0.8 * (first[name] - START[name])
        np.testing.assert_allclose(pulled[name], expected, rtol=1e-4, atol=1e-6)


def test_steps_are_counted_and_the_seed_decides() -> None:
    sgd = Sgd(lr=0.1, epochs=3, batch_size=5)
    one, same, other = (perceptron.train(START, IMAGES, LABELS, sgd, seed) for seed in (1, 1, 2))
    assert one.steps == 9
    assert all(np.array_equal(one.parameters[name], same.parameters[name]) for name in START)
    assert any(not np.array_equal(one.parameters[n], other.parameters[n]) for n in START)


def test_training_learns_what_there_is_to_learn() -> None:
    labels = (IMAGES[:, 0] > IMAGES[:, 1]).astype(np.int64)
    before = perceptron.measure(START, IMAGES, labels)
    trained = perceptron.train(START, IMAGES, labels, Sgd(lr=0.5, epochs=300, batch_size=4), 0)
    after = perceptron.measure(trained.parameters, IMAGES, labels)
    assert after["loss"] < before["loss"] / 2
    assert after["accuracy"] == 1.0
    assert (after["recall_0"], after["recall_1"]) == (1.0, 1.0)


def test_who_is_cancelled_stops_before_the_next_epoch() -> None:
    answers = iter([False, True])
    sgd = Sgd(lr=0.1, epochs=5, batch_size=12)
    trained = perceptron.train(START, IMAGES, LABELS, sgd, 0, lambda: next(answers))
    assert trained.steps == 1
