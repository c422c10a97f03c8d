"""Steps are counted and held near the start, with any loop, against the formulas written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from learning.errors import TrainingError
from learning.learner import TrainRequest, TrainResult
from tests.learning.optional import needs

needs("torch")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from learning.pytorch import TorchLearner  # noqa: E402

LR, MU, STEPS = 0.1, 0.7, 5
Fit = Callable[[nn.Module, TrainRequest], tuple[int, dict[str, float]]]
REQUEST = TrainRequest("ann", "0" * 32, 0, seed=1)


class Slope(nn.Module):
    """One number whose loss has the gradient `w - 3`."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))

    def loss(self) -> Tensor:
        loss: Tensor = (self.w - 3.0).square().sum() / 2
        return loss


def fitting(make: Callable[[nn.Module], Any], closure: str = "", steps: int = STEPS) -> Fit:
    """A loop of some steps with an optimiser."""

    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        assert isinstance(model, Slope)
        optimizer = make(model)

        def backward() -> Tensor:
            optimizer.zero_grad()
            loss = model.loss()
            torch.autograd.backward(loss)
            return loss

        for _ in range(steps):
            if closure == "by name":
                optimizer.step(closure=backward)
            elif closure:
                optimizer.step(backward)
            else:
                backward()
                optimizer.step()
        return 1, {}

    return fit


def sgd(**options: Any) -> Callable[[nn.Module], Any]:
    return lambda model: torch.optim.SGD(model.parameters(), lr=LR, **options)


def train(fit: Fit, mu: float = 0.0, build: Callable[[], nn.Module] = Slope) -> TrainResult:
    learner = TorchLearner(build, fit)
    request = dataclasses.replace(REQUEST, prox_mu=mu)
    return learner.train(learner.initial_parameters(), request)


def proximal(mu: float, momentum: float = 0.0) -> float:
    """Gradient descent on (w - 3)^2 / 2 + mu/2 (w - w0)^2, in plain numbers."""
    w, w0, velocity = 1.0, 1.0, 0.0
    for _ in range(STEPS):
        velocity = momentum * velocity + (w - 3.0) + mu * (w - w0)
        w -= LR * velocity
    return w


@pytest.mark.parametrize("closure", ["", "by place", "by name"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("mu", [0.0, MU])
def test_the_pull_is_added_right_before_each_step(mu: float, momentum: float, closure: str) -> None:
    result = train(fitting(sgd(momentum=momentum), closure), mu)
    assert result.parameters["w"] == pytest.approx([proximal(mu, momentum)], rel=1e-5)


def test_an_adaptive_optimiser_sees_the_pull_in_its_gradients() -> None:
    """Adagrad divides by the root of the sum of squares of all that it was given."""
    w = w0 = 1.0
    squares = 0.0
    for _ in range(STEPS):
        gradient = (w - 3.0) + MU * (w - w0)
        squares += gradient**2
        w -= LR * gradient / (squares**0.5 + 1e-10)
    result = train(fitting(lambda model: torch.optim.Adagrad(model.parameters(), lr=LR)), MU)
    assert result.parameters["w"] == pytest.approx([w], rel=1e-4)


def test_the_pull_goes_to_the_model_received_in_each_task() -> None:
    learner = TorchLearner(Slope, fitting(sgd(), steps=200))
    request = dataclasses.replace(REQUEST, prox_mu=1.0)
    for w0 in (1.0, 7.0):
        result = learner.train({"w": np.array([w0], np.float32)}, request)
        assert result.parameters["w"] == pytest.approx([(3.0 + w0) / 2], rel=1e-3)


def test_a_loop_that_maximises_is_held_near_the_start_as_well() -> None:
    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        assert isinstance(model, Slope)
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, maximize=True)
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.autograd.backward(-model.loss())
            optimizer.step()
        return 1, {}

    assert train(fit, MU).parameters["w"] == pytest.approx([proximal(MU)], rel=1e-5)


def test_frozen_parameters_stay_as_they_are() -> None:
    def build() -> nn.Module:
        model = Slope()
        model.register_parameter("fixed", nn.Parameter(torch.ones(2), requires_grad=False))
        return model

    assert train(fitting(sgd()), MU, build).parameters["fixed"].tolist() == [1.0, 1.0]


def test_sparse_gradients_and_a_pull_do_not_go_together() -> None:
    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        optimizer = torch.optim.SGD(model.parameters(), lr=LR)
        torch.autograd.backward(model(torch.tensor([1])).sum())
        optimizer.step()
        return 1, {}

    def build() -> nn.Module:
        return nn.Embedding(3, 2, sparse=True)

    with pytest.raises(TrainingError, match="sparse gradients"):
        train(fit, MU, build)
    assert train(fit, 0.0, build).local_steps == 1.0


@pytest.mark.parametrize("closure", ["", "by place"])
def test_steps_of_plain_sgd_are_counted(closure: str) -> None:
    assert train(fitting(sgd(), closure)).local_steps == STEPS


def test_steps_of_momentum_are_counted_as_fednova_does() -> None:
    rho, t = 0.9, STEPS
    expected = (t - rho * (1 - rho**t) / (1 - rho)) / (1 - rho)
    assert train(fitting(sgd(momentum=rho))).local_steps == pytest.approx(expected)


@pytest.mark.parametrize(
    "options",
    [{"momentum": 0.9, "nesterov": True}, {"momentum": 0.8, "dampening": 0.3}, {"momentum": 0.5}],
)
@pytest.mark.parametrize("mu", [0.0, MU])
def test_local_steps_are_how_far_a_gradient_of_one_leads(options: Any, mu: float) -> None:
    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        assert isinstance(model, Slope)
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, **options)
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.autograd.backward(model.w.sum())  # a gradient of 1
            optimizer.step()
        return 1, {}

    result = train(fit, mu)
    assert (1.0 - result.parameters["w"][0]) / LR == pytest.approx(result.local_steps, rel=1e-4)


def test_steps_of_other_optimisers_count_as_one() -> None:
    made = train(fitting(lambda model: torch.optim.Adam(model.parameters(), lr=LR)))
    assert made.local_steps == STEPS


def test_the_ways_of_optimisers_one_after_another_add_up() -> None:
    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        for steps in (2, 6, 3):
            fitting(sgd(), steps=steps)(model, request)
        return 1, {}

    assert train(fit).local_steps == 11


def test_of_optimisers_of_two_halves_the_longer_way_counts() -> None:
    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        for name, steps in (("weight", 2), ("bias", 6)):
            optimizer = torch.optim.SGD([getattr(model, name)], lr=LR)
            for _ in range(steps):
                torch.autograd.backward(model(torch.ones(1, 2)).sum())
                optimizer.step()
        return 1, {}

    assert train(fit, build=lambda: nn.Linear(2, 1)).local_steps == 6


def test_another_models_optimiser_does_not_count() -> None:
    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        fitting(sgd())(Slope(), request)
        return 1, {}

    assert train(fit, MU).local_steps == 0.0


def test_nothing_is_watched_after_training_even_where_it_raised() -> None:
    def failing(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        raise ValueError("no data")

    from torch.optim.optimizer import _global_optimizer_pre_hooks

    before = len(_global_optimizer_pre_hooks)
    with pytest.raises(ValueError, match="no data"):
        train(failing, MU)
    train(fitting(sgd()), MU)
    assert len(_global_optimizer_pre_hooks) == before
