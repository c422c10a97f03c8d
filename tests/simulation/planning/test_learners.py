from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from learning.errors import LearnerSettingError
from learning.learner import EvaluateRequest, Parameters, TrainRequest, TrainResult
from schemas.tensors import unflatten, update_floats
from simulation.planning.errors import CannotTrain
from simulation.planning.learners import LearnerTraining, data_of
from simulation.planning.training import Errand
from tests.simulation.planning.softmax import Softmax

ERRAND = Errand(worker=2, number=0, version=0, examples=60)


def test_each_worker_gets_its_own_data_setting() -> None:
    assert data_of("{worker}/{workers}", 2, 12) == "3/12"
    assert data_of("parts/{worker}.csv", 0, 12) == "parts/1.csv"
    assert data_of("the same", 5, 12) == "the same"
    assert data_of('{"a": {worker}}', 5, 12) == '{"a": 6}'


def test_an_update_is_what_the_learner_learns_from_the_base() -> None:
    training = LearnerTraining(Softmax(), 12, seed=1)
    trained = training.train(ERRAND, training.initial())
    zeros = unflatten(bytearray(training.initial()), training.layout)
    request = TrainRequest("w", "t", 0, 0, data="3/12")
    expected = Softmax().train(zeros, request).parameters["w"]
    floats = update_floats(trained.payload, training.layout)
    np.testing.assert_array_equal(floats, expected.ravel())
    assert (trained.num_examples, trained.local_steps) == (23, 2.0)


def test_the_learner_is_told_how_strongly_it_is_held() -> None:
    class Held(Softmax):
        def train(self, parameters: Parameters, request: TrainRequest) -> TrainResult:
            return TrainResult({"w": parameters["w"] + np.float32(request.prox_mu)}, 1)

    training = LearnerTraining(Held(), 3, 1)
    payload = training.train(Errand(0, 0, 0, 60, prox_mu=0.5), training.initial()).payload
    assert (update_floats(payload, training.layout) == 0.5).all()


def test_training_leaves_the_base_as_it_is() -> None:
    class InPlace(Softmax):
        def train(self, parameters: Parameters, request: TrainRequest) -> TrainResult:
            parameters["w"][...] = 7.0
            return TrainResult(parameters, 1)

    training = LearnerTraining(InPlace(), 3, 1)
    base = bytearray(training.initial())
    assert (update_floats(training.train(ERRAND, base).payload, training.layout) == 7.0).all()
    assert bytes(base) == training.initial()


def test_the_same_task_is_trained_with_the_same_seed_whenever_it_is() -> None:
    class Noisy(Softmax):
        def train(self, parameters: Parameters, request: TrainRequest) -> TrainResult:
            noise = np.random.normal(size=parameters["w"].shape)
            return TrainResult({"w": noise.astype(np.float32)}, 1)

    def payload(errand: Errand, seed: int = 1) -> bytes:
        training = LearnerTraining(Noisy(), 3, seed)
        np.random.normal()
        return bytes(training.train(errand, training.initial()).payload)

    assert payload(ERRAND) == payload(ERRAND)
    assert payload(ERRAND) != payload(Errand(2, 1, 0, 60))
    assert payload(ERRAND) != payload(ERRAND, seed=2)


def test_a_learner_may_say_how_many_examples_each_worker_has() -> None:
    counts = LearnerTraining(Softmax(), 9, 1).examples()
    assert counts is not None
    assert counts.tolist() == [21, 22, 23, 24, 25, 26, 20, 21, 22]

    class Silent:
        initial_parameters = Softmax.initial_parameters
        train = Softmax.train

    assert LearnerTraining(Silent(), 9, 1).examples() is None


def test_a_learner_without_evaluate_measures_nothing() -> None:
    class Blind:
        initial_parameters = Softmax.initial_parameters
        train = Softmax.train

    training = LearnerTraining(Blind(), 3, 1)
    assert not training.evaluates
    assert training.evaluate(0, training.initial()) == {}
    assert LearnerTraining(Softmax(), 3, 1).evaluate(0, training.initial())["accuracy"] < 0.5


class Broken(Softmax):
    """Does what its test tells it."""

    def __init__(self, result: object) -> None:
        self.result = result

    def train(self, parameters: Parameters, request: TrainRequest) -> TrainResult:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result  # type: ignore[return-value]

    def evaluate(self, parameters: Parameters, request: EvaluateRequest) -> Mapping[str, float]:
        raise KeyError("accuracy")


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (ValueError("no such\nfile"), "worker-3 cannot train: ValueError: no such file"),
        (LearnerSettingError("config.lr: …"), "worker-3 cannot train: config.lr: …"),
        (17, "expected a TrainResult, came int"),
        (TrainResult({"w": np.zeros(2)}, 1), "w: expected float32 of shape"),
        (TrainResult({"w": np.zeros((6, 4), np.float32)}, 0), "above 0, came 0"),
    ],
)
def test_what_the_learner_does_wrong_is_said_in_a_line(result: object, says: str) -> None:
    training = LearnerTraining(Broken(result), 3, 1)
    with pytest.raises(CannotTrain) as raised:
        training.train(ERRAND, training.initial())
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_evaluation_or_a_beginning_that_fails_is_said_too() -> None:
    training = LearnerTraining(Broken(0), 3, 1)
    with pytest.raises(CannotTrain, match="evaluate: KeyError"):
        training.evaluate(0, training.initial())

    class Nothing(Softmax):
        def initial_parameters(self) -> Parameters:
            return {}

    with pytest.raises(CannotTrain, match="no initial parameters"):
        LearnerTraining(Nothing(), 3, 1)
