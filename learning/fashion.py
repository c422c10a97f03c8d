"""The learner "fedmq:fashion": pictures of clothes, told apart by a small network in numpy.

The data are Fashion-MNIST (Xiao et al. 2017): 60,000 images of 28 x 28 pixels to train on, 10,000
held out, ten kinds of clothes. They are not part of fedmq: Debian and Ubuntu have them as the
package dataset-fashion-mnist; elsewhere `config.folder` says where the four files are.

`data` is the worker's part of the training images: "3/1000" is the third of a thousand, "" is all.
Parts differ in their kinds of clothes and sizes (`partition.dirichlet`). `config`:

    folder          where the files are             /usr/share/datasets/fashion-mnist
    alpha           label skew, above 0; smaller is harder     0.3
    partition_seed  which draw of parts                        0
    lr              learning rate, above 0                     0.05
    epochs          passes over the part in one task           1
    batch_size      examples per step                          20
    held_out        how many held-out images to measure on     10000
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learning import perceptron
from learning.config import from_config, parse_part, require_above_zero, require_whole
from learning.errors import LearnerSettingError
from learning.idx import read_idx
from learning.learner import Config, EvaluateRequest, Parameters, TrainRequest, TrainResult
from learning.partition import Indices, dirichlet
from learning.perceptron import Floats, Labels, Sgd

FOLDER = "/usr/share/datasets/fashion-mnist"
KINDS = 10
PIXELS = 28 * 28
HIDDEN_UNITS = 32
INITIAL_SEED = 0
MEAN, DEVIATION = 0.286, 0.353
"""Of all pixels of the training images, from 0 to 1; less the one, over the other, they train in a
third of the time."""
MIN_EXAMPLES = 2
"""What every part has at least."""


@dataclass(frozen=True, slots=True)
class FashionConfig:
    """The learner's `config`, checked."""

    folder: str = FOLDER
    alpha: float = 0.3
    partition_seed: int = 0
    lr: float = 0.05
    epochs: int = 1
    batch_size: int = 20
    held_out: int = 10_000

    def __post_init__(self) -> None:
        if type(self.folder) is not str:
            raise LearnerSettingError(f"config.folder: expected a path, came {self.folder!r}")
        for name in ("partition_seed", "epochs", "batch_size", "held_out"):
            require_whole(name, getattr(self, name), int(name != "partition_seed"))
        for name in ("alpha", "lr"):
            require_above_zero(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images `(n, 784)` float32 of mean 0 and deviation 1, and their kinds `(n,)` int64, 0 to 9."""

    images: Floats
    labels: Labels

    def __getitem__(self, indices: Indices | slice) -> Pictures:
        return Pictures(self.images[indices], self.labels[indices])

    def __len__(self) -> int:
        return len(self.labels)


class FashionLearner:
    """A perceptron of 784 pixels, 32 hidden units and ten kinds, trained by plain SGD."""

    def initial_parameters(self) -> dict[str, Floats]:
        """Random weights, the same on every machine."""
        return perceptron.initial(PIXELS, HIDDEN_UNITS, KINDS, INITIAL_SEED)

    def train(self, parameters: Parameters, request: TrainRequest) -> TrainResult:
        """Train on the worker's part; the loss is the last epoch's mean."""
        config = from_config(FashionConfig, request.config)
        pictures = part_of(request.data, config)
        sgd = Sgd(config.lr, config.epochs, config.batch_size, request.prox_mu)
        trained = perceptron.train(
            parameters, pictures.images, pictures.labels, sgd, request.seed, request.cancelled
        )
        metrics = {"loss": trained.loss}
        return TrainResult(trained.parameters, len(pictures), metrics, trained.steps)

    def evaluate(self, parameters: Parameters, request: EvaluateRequest) -> Mapping[str, float]:
        """Accuracy, loss and each kind's recall: on a worker's part, or on held-out images."""
        config = from_config(FashionConfig, request.config)
        if not request.data and not request.worker_id:
            pictures = held_out(config)
            return perceptron.measure(parameters, pictures.images, pictures.labels)
        pictures = part_of(request.data, config)
        measured = perceptron.measure(parameters, pictures.images, pictures.labels)
        return {**measured, "num_examples": float(len(pictures))}

    def count_examples(self, data: str, config: Config) -> int:
        """How many pictures a worker with this data setting has; for `fedmq simulate`."""
        return len(part_of(data, from_config(FashionConfig, config)))


def learner() -> FashionLearner:
    """The learner "fedmq:fashion"."""
    return FashionLearner()


def part_of(data: str, config: FashionConfig) -> Pictures:
    """The pictures that a `data` setting such as "3/1000" stands for.

    Raises:
        LearnerSettingError: If it is not a part from "1/n" to "n/n", or the files are missing.
    """
    training = load(config.folder)[0]
    if not data:
        return training
    which, parts = parse_part(data, len(training) // MIN_EXAMPLES)
    return training[parts_of(config.folder, parts, config.alpha, config.partition_seed)[which - 1]]


def held_out(config: FashionConfig) -> Pictures:
    """The first `held_out` of the images that no worker trains on; they are in no order."""
    return load(config.folder)[1][: config.held_out]


@functools.lru_cache(maxsize=2)
def load(folder: str) -> tuple[Pictures, Pictures]:
    """The pictures to train on, and those held out.

    Raises:
        LearnerSettingError: If the files are not there, or not what they should be.
    """
    if not Path(folder).is_dir():
        raise LearnerSettingError(
            f"config.folder: there is no {folder}; on Debian and Ubuntu: "
            "apt-get install dataset-fashion-mnist"
        )
    return _read(Path(folder), "train"), _read(Path(folder), "t10k")


@functools.lru_cache(maxsize=4)
def parts_of(folder: str, parts: int, alpha: float, seed: int) -> list[Indices]:
    """Which training pictures each of so many workers has."""
    labels = load(folder)[0].labels
    rng = np.random.default_rng(seed)
    return dirichlet(labels, parts, rng, alpha=alpha, min_examples=MIN_EXAMPLES)


def _read(folder: Path, which: str) -> Pictures:
    images: NDArray[np.uint8] = read_idx(folder / f"{which}-images-idx3-ubyte.gz")
    labels: NDArray[np.uint8] = read_idx(folder / f"{which}-labels-idx1-ubyte.gz")
    if images.shape != (len(labels), 28, 28) or labels.max(initial=0) >= KINDS:
        raise LearnerSettingError(
            f"{folder}: expected as many labels 0 to 9 as images of 28 x 28, "
            f"came {labels.shape} and {images.shape}"
        )
    flat = images.reshape(len(images), PIXELS).astype(np.float32)
    flat *= np.float32(1 / (255 * DEVIATION))
    flat -= np.float32(MEAN / DEVIATION)
    return Pictures(flat, labels.astype(np.int64))
