from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learning.config import from_config
from learning.errors import LearnerSettingError
from learning.fashion import FashionConfig, held_out, part_of
from learning.idx import read_idx
from learning.learner import EvaluateRequest, Learner, TrainRequest, parameters_of
from learning.loading import load_learner
from tests.learning.pictures import HELD_OUT, TRAINING, write_pictures

WORKERS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pictures")
    write_pictures(path)
    return str(path)


@pytest.fixture(scope="module")
def learner() -> Any:
    return load_learner("fedmq:fashion")


def request(data: str, **config: Any) -> TrainRequest:
    return TrainRequest("w", "0" * 32, 0, 5, data, config=config)


def test_the_built_in_is_a_learner_with_the_same_start_everywhere(learner: Any) -> None:
    assert isinstance(learner, Learner)
    first, second = parameters_of(learner), parameters_of(load_learner("fedmq:fashion"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert sum(value.size for value in first.values()) == 25_450


def test_the_parts_together_are_all_there_is_to_train_on(folder: str) -> None:
    config = FashionConfig(folder)
    parts = [part_of(f"{i}/{WORKERS}", config) for i in range(1, WORKERS + 1)]
    everything = part_of("", config)
    assert sum(map(len, parts)) == len(everything) == TRAINING
    assert min(map(len, parts)) >= 2
    images = sorted(image.tobytes() for part in parts for image in part.images)
    assert images == sorted(image.tobytes() for image in everything.images)


def test_pixels_are_scaled_by_the_mean_and_deviation_of_the_real_images(folder: str) -> None:
    images = part_of("", FashionConfig(folder)).images
    pixels = read_idx(Path(folder) / "train-images-idx3-ubyte.gz").reshape(TRAINING, -1)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, (pixels / 255 - 0.286) / 0.353, atol=1e-5)


def test_training_helps_on_what_no_worker_has(learner: Any, folder: str) -> None:
    config: dict[str, Any] = {"folder": folder, "epochs": 20}
    before = learner.evaluate(parameters_of(learner), EvaluateRequest(0, config=config))
    result = learner.train(parameters_of(learner), request("", **config))
    after = learner.evaluate(result.parameters, EvaluateRequest(1, config=config))
    assert result.num_examples == TRAINING == learner.count_examples("", config)
    assert result.local_steps == 20 * TRAINING / 20
    assert after["accuracy"] > before["accuracy"] + 0.3


def test_steps_are_counted_and_a_strong_pull_keeps_training_near_its_start(
    learner: Any, folder: str
) -> None:
    received = parameters_of(learner)
    config: dict[str, Any] = {"folder": folder, "epochs": 2, "batch_size": 7}

    def moved(prox_mu: float) -> float:
        asked = replace(request("3/20", **config), prox_mu=prox_mu)
        result = learner.train(received, asked)
        assert result.local_steps == 2 * -(-result.num_examples // 7)
        return float(
            sum(np.sum((result.parameters[name] - received[name]) ** 2) for name in received)
        )

    assert moved(5.0) < 0.5 * moved(0.0)


def test_a_worker_is_measured_on_its_own_part(learner: Any, folder: str) -> None:
    config: dict[str, Any] = {"folder": folder}
    parameters = parameters_of(learner)
    own = learner.evaluate(parameters, EvaluateRequest(0, "3/20", config=config))
    part = part_of("3/20", FashionConfig(folder))
    recalled = {f"recall_{label}" for label in np.unique(part.labels)}
    assert own.keys() == recalled | {"accuracy", "loss", "num_examples"}
    assert own["num_examples"] == len(part)


def test_as_many_held_out_images_are_measured_on_as_is_set(folder: str) -> None:
    assert len(held_out(FashionConfig(folder))) == HELD_OUT
    assert len(held_out(FashionConfig(folder, held_out=30))) == 30


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"lr": 0}, "config.lr: expected a number above 0, came 0"),
        ({"lr": True}, "config.lr: expected a number above 0, came True"),
        ({"epochs": 0}, "config.epochs: expected a whole number of at least 1, came 0"),
        ({"folder": 3}, "config.folder: expected a path, came 3"),
        ({"colour": 1}, "config.colour: no such setting; there are: folder, alpha"),
    ],
)
def test_other_settings_are_refused(config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(LearnerSettingError, match=complaint):
        from_config(FashionConfig, config)


@pytest.mark.parametrize("data", ["0/20", "21/20", "1", "a/b", "1/201"])
def test_a_part_that_cannot_be_is_refused(folder: str, data: str) -> None:
    with pytest.raises(LearnerSettingError, match="expected a part of at most 200"):
        part_of(data, FashionConfig(folder))


def test_where_the_files_are_missing_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(LearnerSettingError, match="apt-get install dataset-fashion-mnist"):
        part_of("1/2", FashionConfig(str(tmp_path / "nowhere")))


def test_fedprox_holds_training_near_its_start(learner: Any, folder: str) -> None:
    start = parameters_of(learner)
    moved = []
    for mu in (0.0, 10.0):
        asked = replace(request("", folder=folder), prox_mu=mu)
        trained = learner.train(start, asked).parameters
        moved.append(sum(float(np.square(trained[n] - start[n]).sum()) for n in start))
    assert moved[1] < moved[0] / 2
