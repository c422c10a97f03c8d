"""The learner "fedmq:digits" where there is no torch: the same network and arrays, in numpy.

So a coordinator without torch makes the initial model and measures the versions, and a light device
trains beside workers that have it. Arrays are named and laid out as torch's `nn.Sequential` does:
"0.weight" `(64, 64)` and "2.weight" `(10, 64)` hold a row for each output.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from learning import perceptron
from learning.config import from_config
from learning.digits import HIDDEN_UNITS, DigitsConfig, load, part_of
from learning.learner import EvaluateRequest, Parameters, TrainRequest, TrainResult
from learning.perceptron import Floats, Sgd

PIXELS = 64
DIGITS = 10
NAMES = {
    "0.weight": "hidden.weight",
    "0.bias": "hidden.bias",
    "2.weight": "output.weight",
    "2.bias": "output.bias",
}
"""What torch calls an array, and what `learning.perceptron` does, which has it transposed."""
MEASURED = ("accuracy", "loss")


class NumpyDigits:
    """A perceptron of 64 pixels, 64 hidden units and ten digits, trained by plain SGD."""

    def initial_parameters(self) -> dict[str, Floats]:
        """Random weights; seed numpy before."""
        seed = int(np.random.randint(2**31))
        return _as_torch(perceptron.initial(PIXELS, HIDDEN_UNITS, DIGITS, seed))

    def train(self, parameters: Parameters, request: TrainRequest) -> TrainResult:
        """Train on the worker's part; the loss is the last epoch's mean."""
        config = from_config(DigitsConfig, request.config)
        examples = part_of(request.data, config)
        sgd = Sgd(config.lr, config.epochs, config.batch_size, request.prox_mu)
        trained = perceptron.train(
            _as_perceptron(parameters),
            examples.images,
            examples.labels,
            sgd,
            request.seed,
            request.cancelled,
        )
        metrics = {"loss": trained.loss}
        return TrainResult(_as_torch(trained.parameters), len(examples), metrics, trained.steps)

    def evaluate(self, parameters: Parameters, request: EvaluateRequest) -> Mapping[str, float]:
        """Accuracy and loss on the held-out examples, or on a worker's part."""
        own: dict[str, float] = {}
        _, examples = load()
        if request.worker_id:
            examples = part_of(request.data, from_config(DigitsConfig, request.config))
            own = {"num_examples": float(len(examples))}
        model = _as_perceptron(parameters)
        measured = perceptron.measure(model, examples.images, examples.labels)
        return {name: measured[name] for name in MEASURED} | own


def _as_torch(parameters: Mapping[str, Floats]) -> dict[str, Floats]:
    return {ours: np.ascontiguousarray(parameters[name].T) for ours, name in NAMES.items()}


def _as_perceptron(parameters: Parameters) -> dict[str, Floats]:
    return {
        name: np.ascontiguousarray(np.asarray(parameters[ours], np.float32).T)
        for ours, name in NAMES.items()
    }
