"""The learner of the demo: a small network that reads handwritten digits.

The data are scikit-learn's 1797 images of 8 x 8 pixels, which come with it: nothing is downloaded.
Where its file alone lies in the environment (`FILE`), as in the container images, it is not needed;
where there is no torch, the same network is trained in numpy (`learning.digits_numpy`).
A fifth of each digit is held out by a fixed seed; no worker trains on it, and `evaluate` measures
accuracy and loss on it alone for the coordinator, and on its own part for a worker.

`data` is the worker's part of the rest: "3/12" is the third of twelve, "" is all of it. Parts
differ in their digits and sizes (`partition.dirichlet`). `config`:

    alpha           label skew, above 0; smaller is harder     0.5
    partition_seed  which draw of parts                        0
    lr              learning rate, above 0                     0.3
    epochs          passes over the part in one task           4
    batch_size      examples per step                          16
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learning.config import from_config, parse_part, require_above_zero, require_whole
from learning.errors import MissingExtraError
from learning.learner import EvaluateRequest, Learner, TrainRequest
from learning.partition import Indices, dirichlet

if TYPE_CHECKING:
    from torch import Tensor, nn

FILE = Path(sys.prefix) / "share" / "fedmq" / "digits.csv.gz"
HELD_OUT_SHARE = 0.2
HELD_OUT_SEED = 1797
HIDDEN_UNITS = 64
MIN_EXAMPLES = 10
"""What every part has at least."""


@dataclass(frozen=True, slots=True)
class DigitsConfig:
    """The learner's `config`, checked."""

    alpha: float = 0.5
    partition_seed: int = 0
    lr: float = 0.3
    epochs: int = 4
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("partition_seed", "epochs", "batch_size"):
            require_whole(name, getattr(self, name), int(name != "partition_seed"))
        for name in ("alpha", "lr"):
            require_above_zero(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Digits:
    """Images `(n, 64)` float32 in [0, 1] and their digits `(n,)` int64."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __getitem__(self, indices: Indices) -> Digits:
        return Digits(self.images[indices], self.labels[indices])

    def __len__(self) -> int:
        return len(self.labels)


def learner() -> Learner:
    """The learner "fedmq:digits": in torch if it is installed, in numpy if not.

    Raises:
        MissingExtraError: If scikit-learn is not installed, nor its file there.
    """
    if not FILE.exists():
        _require_sklearn()
    try:
        from learning.pytorch import TorchLearner
    except MissingExtraError:
        from learning.digits_numpy import NumpyDigits

        return NumpyDigits()
    return TorchLearner(build, fit, evaluate)


@functools.cache
def load() -> tuple[Digits, Digits]:
    """The examples to train on, and those held out.

    Raises:
        MissingExtraError: If scikit-learn is not installed, nor its file there.
    """
    images, labels = _read(FILE) if FILE.exists() else _from_sklearn()
    all_digits = Digits((images / 16).astype(np.float32), labels.astype(np.int64))
    held_out = _held_out(all_digits.labels)
    rest = np.setdiff1d(np.arange(len(all_digits)), held_out)
    return all_digits[rest], all_digits[held_out]


def part_of(data: str, config: DigitsConfig) -> Digits:
    """The examples that a `data` setting such as "3/12" stands for.

    Raises:
        LearnerSettingError: If it is not a part from "1/n" to "n/n".
    """
    training, _ = load()
    if not data:
        return training
    which, parts = parse_part(data, len(training) // MIN_EXAMPLES)
    return training[_partition(parts, config.alpha, config.partition_seed)[which - 1]]


def build() -> nn.Module:
    """A perceptron with one hidden layer: 64 pixels, 64 hidden units, 10 digits."""
    from torch import nn

    return nn.Sequential(nn.Linear(64, HIDDEN_UNITS), nn.ReLU(), nn.Linear(HIDDEN_UNITS, 10))


def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
    """Plain SGD over the worker's part; the loss is the last epoch's mean."""
    import torch

    config = from_config(DigitsConfig, request.config)
    examples = part_of(request.data, config)
    images, labels = _tensors(examples, request.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr)
    loss_sum = 0.0
    for epoch in range(config.epochs):
        if request.cancelled():
            break
        loss_sum = 0.0
        for batch in torch.split(torch.randperm(len(examples)), config.batch_size):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
            torch.autograd.backward(loss)
            optimizer.step()
            loss_sum += loss.item() * len(batch)
        request.progress((epoch + 1) / config.epochs)
    return len(examples), {"loss": loss_sum / len(examples)}


def evaluate(model: nn.Module, request: EvaluateRequest) -> dict[str, float]:
    """Accuracy (0 to 1) and mean cross entropy on the held-out examples, or on a worker's part."""
    import torch

    own: dict[str, float] = {}
    _, examples = load()
    if request.worker_id:
        examples = part_of(request.data, from_config(DigitsConfig, request.config))
        own = {"num_examples": float(len(examples))}
    images, labels = _tensors(examples, request.device)
    scores = model(images)
    return {
        "accuracy": (scores.argmax(1) == labels).float().mean().item(),
        "loss": torch.nn.functional.cross_entropy(scores, labels).item(),
        **own,
    }


def _tensors(examples: Digits, device: str) -> tuple[Tensor, Tensor]:
    import torch

    images, labels = torch.from_numpy(examples.images), torch.from_numpy(examples.labels)
    return images.to(device), labels.to(device)


def _held_out(labels: NDArray[np.int64]) -> Indices:
    """A fifth of each digit."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    chosen = []
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(labels == digit))
        chosen.append(members[: round(HELD_OUT_SHARE * len(members))])
    return np.concatenate(chosen)


@functools.lru_cache(maxsize=8)
def _partition(parts: int, alpha: float, seed: int) -> list[Indices]:
    training, _ = load()
    rng = np.random.default_rng(seed)
    return dirichlet(training.labels, parts, rng, alpha=alpha, min_examples=MIN_EXAMPLES)


def _read(file: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Images and digits of scikit-learn's file: 64 pixels from 0 to 16 and the digit in a row."""
    rows = np.loadtxt(file, delimiter=",")
    return rows[:, :-1], rows[:, -1]


def _from_sklearn() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    _require_sklearn()
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels


def _require_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", "demo") from error
