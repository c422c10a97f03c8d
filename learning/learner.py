"""What a user brings: a learner, the request it gets and the result it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.layout import Layout
from schemas.tensors import layout_of

Parameters = Mapping[str, NDArray[Any]]
"""The model as named arrays. float16/32/64, integers, bool, and bfloat16 marked by
`schemas.tensors.BFLOAT16`."""

Config = Mapping[str, "str | int | float | bool"]


def _never() -> bool:
    return False


def _silent(fraction: float) -> None:
    pass


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One unit of training.

    Attributes:
        worker_id: Who trains.
        task_id: The task that asks for it, 32 hexadecimal digits.
        model_version: The version of the parameters given, 0, 1, 2 …
        seed: Derived from (run seed, task id), in [0, 2**32); torch, numpy's global generator and
            random have been seeded with it already.
        data: The worker's own data setting, as written.
        device: "cpu", "cuda:0" …, never "auto".
        config: The learner's own settings.
        deadline_s: Seconds left until the task's lease ends, None if unknown.
        prox_mu: FedProx's mu: what is minimised is the loss plus mu/2 · |w - w0|^2, w0 being the
            parameters given. 0: the loss alone. `TorchLearner` sees to it.
        cancelled: Returns True once the work is no longer wanted; a long loop asks now and then.
        progress: Takes the fraction done, 0 to 1; tells the agent that training is alive.
    """

    worker_id: str
    task_id: str
    model_version: int
    seed: int
    data: str = ""
    device: str = "cpu"
    config: Config = field(default_factory=dict)
    deadline_s: float | None = None
    prox_mu: float = 0.0
    cancelled: Callable[[], bool] = _never
    progress: Callable[[float], None] = _silent


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """One evaluation of a model version: the coordinator's, or that of a worker on its own data.

    Attributes:
        model_version: The version of the parameters given.
        data: The machine's own data setting, as written.
        device: "cpu", "cuda:0" …, never "auto".
        config: The learner's own settings.
        worker_id: Who evaluates, "" for the coordinator, whose data are held out from all workers.
        cancelled: As in `TrainRequest`.
        progress: As in `TrainRequest`.
    """

    model_version: int
    data: str = ""
    device: str = "cpu"
    config: Config = field(default_factory=dict)
    worker_id: str = ""
    cancelled: Callable[[], bool] = _never
    progress: Callable[[float], None] = _silent


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training gave.

    Attributes:
        parameters: The trained parameters (not the difference), same names, shapes and dtypes as
            were received.
        num_examples: How many examples were trained on, above 0: the weight in FedAvg.
        metrics: Named numbers for the records.
        local_steps: Steps of the optimiser, at least 1; FedNova (algorithm.rule "nova") divides by
            them. 0: unknown. `TorchLearner` counts them.
    """

    parameters: Parameters
    num_examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    local_steps: float = 0.0


@runtime_checkable
class Learner(Protocol):
    """Anything with these two methods; no base class is needed.

    A learner may also have `evaluate(parameters, EvaluateRequest) -> Mapping[str, float]`, which
    the coordinator calls with each version ("accuracy" is what the progress line shows), and a
    worker where it is given a task to evaluate: then with "num_examples", how many examples its
    means are of;
    `integer_rules: Mapping[str, "keep" | "max"]` for integer and bool arrays (default "keep"), and
    `like_parameters()`, which gives arrays of the right names, shapes and dtypes where the initial
    ones are costly to get: workers call it instead.
    """

    def initial_parameters(self) -> Parameters:
        """The model before training; every worker's must agree in names, shapes and dtypes."""
        ...

    def train(self, parameters: Parameters, request: TrainRequest) -> TrainResult:
        """Train from the given parameters on data that stays here."""
        ...


@runtime_checkable
class Evaluator(Protocol):
    """A learner that can evaluate."""

    def evaluate(self, parameters: Parameters, request: EvaluateRequest) -> Mapping[str, float]:
        """Means over the examples, by name: "accuracy" in [0, 1] among them where it makes sense.

        "num_examples" is how many examples they are of; workers are weighed by it.
        """
        ...


def layout_of_learner(learner: Learner) -> Layout:
    """How a learner's parameters are laid out, whatever their values.

    Raises:
        LayoutError: If an array cannot be a parameter.
    """
    like = getattr(learner, "like_parameters", learner.initial_parameters)
    arrays = {name: np.asarray(value) for name, value in like().items()}
    return layout_of(arrays, getattr(learner, "integer_rules", None))


def parameters_of(learner: Learner) -> dict[str, NDArray[Any]]:
    """A learner's initial parameters as a plain dict of arrays that nobody else writes to."""
    return {name: np.array(value) for name, value in learner.initial_parameters().items()}
