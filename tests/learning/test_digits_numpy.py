"""The demo's learner without torch: the same network, and a place in the same federation."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learning import digits
from learning.digits_numpy import NumpyDigits
from learning.learner import EvaluateRequest, Learner, TrainRequest, parameters_of
from learning.loading import load_learner
from learning.seeding import derive_seed, seed_everything
from schemas.tensors import layout_of
from tests.learning.optional import needs
from tests.learning.test_digits import Absent

needs("sklearn")

WORKERS = 12


def request(worker: int, version: int, **changes: Any) -> TrainRequest:
    seed = derive_seed(0, worker, version)
    return TrainRequest(f"w{worker}", "0" * 32, version, seed, f"{worker}/{WORKERS}", **changes)


@pytest.fixture
def learner() -> NumpyDigits:
    seed_everything(0)
    return NumpyDigits()


def test_it_is_the_built_in_where_there_is_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "learning.pytorch", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent("torch"), *sys.meta_path])
    learner = load_learner("fedmq:digits")
    assert isinstance(learner, NumpyDigits)
    assert isinstance(learner, Learner)


def test_its_arrays_are_those_that_torch_has(learner: NumpyDigits) -> None:
    needs("torch")
    in_torch = load_learner("fedmq:digits")
    layout = layout_of(parameters_of(in_torch), getattr(in_torch, "integer_rules", None))
    assert layout_of(parameters_of(learner)) == layout


def test_both_measure_a_model_alike(learner: NumpyDigits) -> None:
    needs("torch")
    in_torch: Any = load_learner("fedmq:digits")
    model = parameters_of(learner)
    for asked in (EvaluateRequest(1), EvaluateRequest(1, data="3/12", worker_id="w3")):
        measured, expected = learner.evaluate(model, asked), in_torch.evaluate(model, asked)
        assert measured == pytest.approx(dict(expected), rel=1e-5)


def test_the_seed_decides_what_a_run_begins_with(learner: NumpyDigits) -> None:
    first, other = parameters_of(learner), parameters_of(learner)
    seed_everything(0)
    again = parameters_of(learner)
    assert np.array_equal(first["0.weight"], again["0.weight"])
    assert not np.array_equal(first["0.weight"], other["0.weight"])


def test_training_leaves_what_was_received_as_it_was(learner: NumpyDigits) -> None:
    received = parameters_of(learner)
    before = {name: array.copy() for name, array in received.items()}
    result = learner.train(received, request(1, 0))
    for name, array in before.items():
        np.testing.assert_array_equal(received[name], array)
        assert not np.array_equal(result.parameters[name], array)
    assert result.num_examples == len(digits.part_of("1/12", digits.DigitsConfig()))


def test_the_file_alone_does_in_place_of_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits._from_sklearn()
    rows = np.column_stack([images, labels])
    with gzip.open(tmp_path / "digits.csv.gz", "wt") as file:
        np.savetxt(file, rows, fmt="%d", delimiter=",")
    read_images, read_labels = digits._read(tmp_path / "digits.csv.gz")
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)


@pytest.mark.slow
def test_skewed_workers_with_and_without_torch_learn_to_read_together(
    learner: NumpyDigits,
) -> None:
    """FedAvg by hand, eight of twelve in a round, every second one without torch."""
    needs("torch")
    in_torch: Any = load_learner("fedmq:digits")
    rng = np.random.default_rng(0)
    model = parameters_of(learner)
    for version in range(12):
        cohort = rng.choice(np.arange(1, WORKERS + 1), 8, replace=False)
        results = [
            (learner, in_torch)[int(worker) % 2].train(model, request(int(worker), version))
            for worker in cohort
        ]
        total = sum(result.num_examples for result in results)
        model = {
            name: np.sum([r.parameters[name] * (r.num_examples / total) for r in results], 0)
            for name in model
        }
    assert learner.evaluate(model, EvaluateRequest(12))["accuracy"] >= 0.92
