"""A perceptron with one hidden layer in plain numpy: images in, scores of classes out.

For federations of many small workers, where a step of a few examples must cost microseconds. The
parameters are named arrays: "hidden.weight" `(inputs, hidden)`, "hidden.bias" `(hidden,)`,
"output.weight" `(hidden, classes)`, "output.bias" `(classes,)`, all float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.learner import Parameters

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sgd:
    """Plain stochastic gradient descent on mean cross entropy.

    Attributes:
        lr: Learning rate, above 0.
        epochs: Passes over the examples.
        batch_size: Examples in a step.
        prox_mu: FedProx's mu (Li et al. 2020, algorithm 2): adds mu · (w - w received) to each
            gradient; 0 for none.
    """

    lr: float = 0.1
    epochs: int = 1
    batch_size: int = 20
    prox_mu: float = 0.0


@dataclass(frozen=True, slots=True)
class Trained:
    """What training gave: the parameters, the mean loss of the last epoch, and the steps made."""

    parameters: dict[str, Floats]
    loss: float
    steps: int


def initial(inputs: int, hidden: int, classes: int, seed: int) -> dict[str, Floats]:
    """Parameters to begin with: He et al. 2015 for the weights, biases of 0."""
    rng = np.random.default_rng(seed)

    def weights(rows: int, columns: int) -> Floats:
        drawn = rng.standard_normal((rows, columns), np.float32)
        return drawn * np.float32(np.sqrt(2 / rows))

    return {
        "hidden.weight": weights(inputs, hidden),
        "hidden.bias": np.zeros(hidden, np.float32),
        "output.weight": weights(hidden, classes),
        "output.bias": np.zeros(classes, np.float32),
    }


def train(
    received: Parameters,
    images: Floats,
    labels: Labels,
    sgd: Sgd,
    seed: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train from the parameters received, which are left as they are.

    Args:
        received: As `initial` gives them.
        images: `(n, inputs)`, n at least 1.
        labels: `(n,)`.
        sgd: How.
        seed: Of the order of the examples.
        cancelled: Asked before each epoch; if it says so, what there is is returned.
    """
    parameters = {name: np.array(value) for name, value in received.items()}
    rng = np.random.default_rng(seed)
    loss_sum, steps = 0.0, 0
    for _ in range(sgd.epochs):
        if cancelled():
            break
        order, loss_sum = rng.permutation(len(labels)), 0.0
        for start in range(0, len(order), sgd.batch_size):
            batch = order[start : start + sgd.batch_size]
            loss, gradients = _gradients(parameters, images[batch], labels[batch])
            for name, gradient in gradients.items():
                if sgd.prox_mu:
                    gradient += np.float32(sgd.prox_mu) * (parameters[name] - received[name])
                parameters[name] -= np.float32(sgd.lr) * gradient
            loss_sum += loss * len(batch)
            steps += 1
    return Trained(parameters, loss_sum / len(labels), steps)


def scores(parameters: Parameters, images: Floats) -> Floats:
    """The logarithms of the classes' probabilities, `(n, classes)`."""
    hidden = np.maximum(images @ parameters["hidden.weight"] + parameters["hidden.bias"], 0)
    return _log_softmax(hidden @ parameters["output.weight"] + parameters["output.bias"])


def measure(parameters: Parameters, images: Floats, labels: Labels) -> dict[str, float]:
    """Accuracy (0 to 1), mean cross entropy, and the recall of each class that there is."""
    log_probabilities = scores(parameters, images)
    right = log_probabilities.argmax(1) == labels
    metrics = {
        "accuracy": float(right.mean()),
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
    }
    for label in np.unique(labels):
        metrics[f"recall_{label}"] = float(right[labels == label].mean())
    return metrics


def _gradients(
    parameters: dict[str, Floats], images: Floats, labels: Labels
) -> tuple[float, dict[str, Floats]]:
    """Mean cross entropy of a batch, and its gradient for each array."""
    hidden = np.maximum(images @ parameters["hidden.weight"] + parameters["hidden.bias"], 0)
    log_probabilities = _log_softmax(
        hidden @ parameters["output.weight"] + parameters["output.bias"]
    )
    rows = np.arange(len(labels))
    loss = float(-log_probabilities[rows, labels].mean())
    at_output = np.exp(log_probabilities)
    at_output[rows, labels] -= 1
    at_output /= np.float32(len(labels))
    at_hidden: Floats = (at_output @ parameters["output.weight"].T) * (hidden > 0)
    return loss, {
        "hidden.weight": images.T @ at_hidden,
        "hidden.bias": at_hidden.sum(0),
        "output.weight": hidden.T @ at_output,
        "output.bias": at_output.sum(0),
    }


def _log_softmax(values: NDArray[Any]) -> Floats:
    shifted = values - values.max(1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return logs
