from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from learning.config import from_config
from learning.digits import DigitsConfig, load, part_of
from learning.errors import LearnerSettingError, MissingExtraError
from learning.learner import EvaluateRequest, Learner, TrainRequest, parameters_of
from learning.loading import load_learner
from learning.seeding import derive_seed, seed_everything
from tests.learning.optional import needs

needs("sklearn")
needs("torch")

WORKERS = 12


@pytest.fixture(scope="module")
def learner() -> Any:
    return load_learner("fedmq:digits")


def request(worker: int, version: int, **changes: Any) -> TrainRequest:
    seed = derive_seed(0, worker, version)
    data = f"{worker}/{WORKERS}"
    return TrainRequest(f"w{worker}", "0" * 32, version, seed, data, **changes)


def test_the_built_in_is_a_learner(learner: Any) -> None:
    assert isinstance(learner, Learner)


def test_a_fifth_of_each_digit_is_held_out_and_trained_on_by_no_one() -> None:
    training, held_out = load()
    assert (len(training), len(held_out)) == (1438, 359)
    counts = np.bincount(held_out.labels)
    assert counts.min() >= 34
    assert counts.max() <= 38
    seen = {image.tobytes() for image in training.images}
    assert not any(image.tobytes() in seen for image in held_out.images)


def test_the_parts_together_are_all_there_is_to_train_on() -> None:
    training, _ = load()
    parts = [part_of(f"{i}/{WORKERS}", DigitsConfig()) for i in range(1, WORKERS + 1)]
    images = sorted(image.tobytes() for part in parts for image in part.images)
    assert images == sorted(image.tobytes() for image in training.images)
    assert min(map(len, parts)) >= 10
    assert len({len(part) for part in parts}) > 1


def test_no_part_means_all() -> None:
    assert len(part_of("", DigitsConfig())) == len(load()[0])


def test_parts_follow_the_partition_seed() -> None:
    one, other = (part_of("1/12", DigitsConfig(partition_seed=seed)) for seed in (1, 2))
    assert not np.array_equal(one.labels, other.labels)


@pytest.mark.parametrize("data", ["0/12", "13/12", "3", "3/", "a/b", "-1/12", "1/1000000", "1/0"])
def test_a_part_that_is_not_one_is_refused(data: str) -> None:
    with pytest.raises(LearnerSettingError, match=f"data: expected .* came '{data}'"):
        part_of(data, DigitsConfig())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rate": 0.1}, r"config\.rate: no such setting; there are: alpha"),
        ({"epochs": 0}, r"config\.epochs: expected a whole number of at least 1, came 0"),
        ({"epochs": True}, r"config\.epochs: expected"),
        ({"batch_size": 1.5}, r"config\.batch_size: expected"),
        ({"partition_seed": -1}, r"config\.partition_seed: expected .* at least 0"),
        ({"lr": 0}, r"config\.lr: expected a number above 0, came 0"),
        ({"alpha": "small"}, r"config\.alpha: expected a number above 0, came 'small'"),
    ],
)
def test_a_bad_setting_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(LearnerSettingError, match=message):
        from_config(DigitsConfig, config)


def test_settings_that_are_not_written_keep_their_defaults() -> None:
    assert from_config(DigitsConfig, {"lr": 1}) == DigitsConfig(lr=1)


def test_training_stops_when_it_is_no_longer_wanted(learner: Any) -> None:
    told: list[float] = []
    changes = {"progress": told.append, "cancelled": lambda: len(told) == 2}
    learner.train(learner.initial_parameters(), request(1, 0, **changes))
    assert told == [0.25, 0.5]


def test_a_package_that_is_missing_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent("sklearn"), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"pip install 'fedmq\[demo\]'"):
        load_learner("fedmq:digits")


class Absent:
    """An import finder for which one package is not installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.slow
def test_twelve_skewed_workers_learn_to_read(learner: Any) -> None:
    """FedAvg by hand, eight of twelve in a round."""
    seed_everything(derive_seed(0, "initial"))
    rng = np.random.default_rng(0)
    model = parameters_of(learner)
    for version in range(12):
        cohort = rng.choice(np.arange(1, WORKERS + 1), 8, replace=False)
        results = [learner.train(model, request(int(worker), version)) for worker in cohort]
        total = sum(result.num_examples for result in results)
        model = {
            name: sum(r.parameters[name] * np.float32(r.num_examples / total) for r in results)
            for name in model
        }
    metrics = learner.evaluate(model, EvaluateRequest(12))
    assert metrics["accuracy"] >= 0.92
    assert metrics["loss"] < 0.5


def test_a_worker_measures_on_its_own_part_and_says_how_large_it_is(learner: Any) -> None:
    parameters = parameters_of(learner)
    own = learner.evaluate(parameters, EvaluateRequest(0, data="3/12", worker_id="w3"))
    held_out = learner.evaluate(parameters, EvaluateRequest(0, data="3/12"))
    part = part_of("3/12", DigitsConfig())
    assert own["num_examples"] == len(part)
    assert "num_examples" not in held_out
    assert own["loss"] != held_out["loss"]
