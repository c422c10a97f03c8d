from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from learning.errors import ParametersError, TrainingError
from learning.learner import (
    EvaluateRequest,
    Evaluator,
    Learner,
    TrainRequest,
    layout_of_learner,
)
from schemas.tensors import BFLOAT16, as_float32, flatten, layout_of, unflatten
from tests.learning.optional import needs

needs("torch")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from learning.pytorch import TorchLearner  # noqa: E402

Arrays = Mapping[str, NDArray[Any]]

DTYPES = {
    torch.float16: np.dtype(np.float16),
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.bfloat16: BFLOAT16,
    torch.int8: np.dtype(np.int8),
    torch.int16: np.dtype(np.int16),
    torch.int32: np.dtype(np.int32),
    torch.int64: np.dtype(np.int64),
    torch.uint8: np.dtype(np.uint8),
    torch.uint16: np.dtype(np.uint16),
    torch.uint32: np.dtype(np.uint32),
    torch.uint64: np.dtype(np.uint64),
    torch.bool: np.dtype(np.bool_),
}


class Holder(nn.Module):
    """Holds what it is given: floats to learn as parameters, all else as buffers."""

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def request(seed: int = 1, **changes: Any) -> TrainRequest:
    return dataclasses.replace(TrainRequest("ann", "0" * 32, 0, seed), **changes)


def leave(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
    return 1, {}


def add_one(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    return 2, {"loss": 0.5}


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))


def sgd(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
    inputs = torch.randn(8, 3)
    loss = model(inputs).square().sum()
    torch.autograd.backward(loss)
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    return len(inputs), {"loss": loss.item()}


def equal(some: Arrays, others: Arrays) -> bool:
    return some.keys() == others.keys() and all(
        some[name].tobytes() == others[name].tobytes() for name in some
    )


def over_the_wire(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Arrays as they come in a message: views of bytes that may not be written to."""
    layout = layout_of(arrays)
    return unflatten(bytes(flatten(arrays, layout)), layout)


def test_a_torch_learner_is_a_learner() -> None:
    assert isinstance(TorchLearner(net, leave), Learner)


def test_it_can_evaluate_only_if_it_was_given_how() -> None:
    assert not isinstance(TorchLearner(net, leave), Evaluator)
    assert isinstance(TorchLearner(net, leave, lambda model, request: {}), Evaluator)


@pytest.mark.parametrize(("torch_dtype", "dtype"), DTYPES.items(), ids=str)
def test_every_dtype_travels_both_ways(torch_dtype: torch.dtype, dtype: np.dtype[Any]) -> None:
    def build() -> nn.Module:
        return Holder(value=torch.tensor([[0, 1, 1], [1, 0, 1]]).to(torch_dtype))

    seen: list[Tensor] = []

    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        seen.append(dict(model.named_buffers())["value"].clone())
        return 1, {}

    learner = TorchLearner(build, fit)
    initial = learner.initial_parameters()
    assert initial["value"].dtype == dtype
    assert initial["value"].shape == (2, 3)
    result = learner.train(over_the_wire(initial), request())
    assert equal(result.parameters, initial)
    assert seen[0].dtype == torch_dtype
    assert torch.equal(seen[0].to(torch.int64), torch.tensor([[0, 1, 1], [1, 0, 1]]))


def test_bfloat16_keeps_its_numbers() -> None:
    numbers = torch.tensor([1.0, -2.5, 3.140625, float("inf")])
    learner = TorchLearner(lambda: Holder(value=numbers.bfloat16()), leave)
    assert as_float32(learner.initial_parameters()["value"]).tolist() == numbers.tolist()


def test_a_model_all_of_bfloat16_trains() -> None:
    learner = TorchLearner(lambda: nn.Linear(2, 2).bfloat16(), add_one)
    initial = learner.initial_parameters()
    trained = learner.train(over_the_wire(initial), request()).parameters
    before, after = as_float32(initial["bias"]), as_float32(trained["bias"])
    assert np.allclose(after - before, 1, atol=0.01)


def test_batch_norm_travels_with_its_buffers_and_its_counter_takes_the_largest() -> None:
    learner = TorchLearner(net, sgd)
    assert learner.integer_rules == {"1.num_batches_tracked": "max"}
    initial = learner.initial_parameters()
    trained = learner.train(over_the_wire(initial), request()).parameters
    assert trained["1.num_batches_tracked"].shape == ()
    assert trained["1.num_batches_tracked"] == initial["1.num_batches_tracked"] + 1
    assert not np.array_equal(trained["1.running_mean"], initial["1.running_mean"])


def tied() -> nn.Module:
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2, bias=False), "decoder": nn.Linear(2, 2)})
    model["decoder"].weight = model["encoder"].weight
    return model


def test_tied_weights_travel_once_and_stay_tied() -> None:
    def fit(model: Any, request: TrainRequest) -> tuple[int, dict[str, float]]:
        assert model["decoder"].weight is model["encoder"].weight
        return add_one(model, request)

    learner = TorchLearner(tied, fit)
    initial = learner.initial_parameters()
    assert sorted(initial) == ["decoder.bias", "encoder.weight"]
    given = {name: np.zeros_like(array) for name, array in initial.items()}
    trained = learner.train(given, request()).parameters
    assert sorted(trained) == ["decoder.bias", "encoder.weight"]
    assert (trained["encoder.weight"] == 1).all()


def test_arrays_without_elements_are_not_taken_for_tied() -> None:
    learner = TorchLearner(lambda: Holder(one=torch.ones(0), two=torch.ones(0)), leave)
    initial = learner.initial_parameters()
    assert sorted(initial) == ["one", "two", "weight"]
    assert equal(learner.train(initial, request()).parameters, initial)


def test_scalars_and_tensors_that_are_not_contiguous_travel() -> None:
    def build() -> nn.Module:
        return Holder(scalar=torch.tensor(3.5), turned=torch.arange(6.0).reshape(2, 3).t())

    learner = TorchLearner(build, leave)
    initial = learner.initial_parameters()
    assert initial["scalar"].shape == ()
    assert initial["turned"].flags.c_contiguous
    assert initial["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    result = learner.train(over_the_wire(initial), request())
    assert equal(result.parameters, initial)


def test_parameters_may_come_with_any_strides_and_byte_order() -> None:
    learner = TorchLearner(lambda: Holder(value=torch.zeros(2, 3)), leave)
    value = np.arange(12, dtype=">f4").reshape(2, 6)[::-1, ::2]
    given = {"weight": np.ones(2, np.float32), "value": value}
    trained = learner.train(given, request()).parameters
    assert np.array_equal(trained["value"], value)


def test_what_was_given_is_never_written_to() -> None:
    learner = TorchLearner(net, sgd)
    given = {name: array.copy() for name, array in learner.initial_parameters().items()}
    before = {name: array.copy() for name, array in given.items()}
    learner.train(given, request())
    assert equal(given, before)


def test_what_was_returned_does_not_change_later() -> None:
    learner = TorchLearner(net, sgd)
    initial = learner.initial_parameters()
    first = learner.train(initial, request(1)).parameters
    before = {name: array.copy() for name, array in first.items()}
    learner.train(first, request(2))
    learner.initial_parameters()
    assert equal(first, before)


def test_the_initial_parameters_are_never_the_trained_ones() -> None:
    learner = TorchLearner(lambda: Holder(), add_one)
    initial = learner.initial_parameters()
    learner.train(initial, request())
    assert learner.initial_parameters()["weight"].tolist() == [1, 1]


def test_the_result_says_what_fit_said() -> None:
    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, Any]]:
        return np.int64(3), {"loss": torch.tensor(0.5), "steps": 4}  # type: ignore[return-value]

    result = TorchLearner(Holder, fit).train({"weight": np.ones(2, np.float32)}, request())
    assert result.num_examples == 3
    assert type(result.num_examples) is int
    assert result.metrics == {"loss": 0.5, "steps": 4.0}


def test_the_model_is_built_once() -> None:
    built: list[nn.Module] = []

    def build() -> nn.Module:
        built.append(net())
        return built[-1]

    learner = TorchLearner(build, sgd)
    initial = learner.initial_parameters()
    for seed in range(3):
        learner.train(initial, request(seed))
    assert len(built) == 2  # one for the initial parameters, one for all tasks


def test_the_same_task_gives_the_same_result_first_or_later() -> None:
    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        count, metrics = sgd(model, request)
        return count, {**metrics, "numpy": np.random.random(), "random": random.random()}

    initial = TorchLearner(net, fit).initial_parameters()
    learner = TorchLearner(net, fit)
    first, _, again = (learner.train(initial, request(seed)) for seed in (1, 2, 1))
    assert equal(first.parameters, again.parameters)
    assert first.metrics == again.metrics


def test_building_for_a_task_draws_nothing_from_torch() -> None:
    learner = TorchLearner(net, leave)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert learner.integer_rules
    assert torch.rand(1) == expected


class Passing(nn.Module):
    """Has state of every kind that does not travel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(1, 1)
        self.frozen = nn.Linear(1, 1).requires_grad_(False)
        self.norm = nn.BatchNorm1d(1).eval()
        self.register_buffer("seen", torch.zeros(2), persistent=False)
        self.seen: Tensor


def test_nothing_of_a_task_is_left_for_the_next() -> None:
    found: list[tuple[Any, ...]] = []

    def fit(model: Passing, request: TrainRequest) -> tuple[int, dict[str, float]]:
        flags = [parameter.requires_grad for parameter in model.parameters()]
        gradients = [parameter.grad for parameter in model.parameters()]
        modes = [module.training for module in model.modules()]
        found.append((flags, gradients, modes, model.seen.tolist()))
        torch.autograd.backward(model.first(torch.ones(1, 1)).sum())
        model.seen.add_(1)
        model.frozen.requires_grad_(True)
        model.first.requires_grad_(False)
        model.train(not model.training)
        return 1, {}

    learner = TorchLearner(Passing, fit, lambda model, request: {})
    initial = learner.initial_parameters()
    assert "seen" not in initial
    learner.train(initial, request())
    learner.evaluate(initial, EvaluateRequest(0))
    learner.train(initial, request())
    assert found[0] == found[1]
    assert found[0][2] == [True, True, True, False]


def test_after_a_fit_that_raised_the_model_is_built_again() -> None:
    models: list[nn.Module] = []

    def fit(model: Any, request: TrainRequest) -> tuple[int, dict[str, float]]:
        models.append(model)
        if len(models) == 1:
            raise RuntimeError("no data today")
        return 1, {}

    learner = TorchLearner(Holder, fit)
    given = {"weight": np.ones(2, np.float32)}
    with pytest.raises(RuntimeError, match="no data today"):
        learner.train(given, request())
    learner.train(given, request())
    assert models[0] is not models[1]


def test_evaluation_is_without_gradients_and_in_evaluation_mode() -> None:
    def evaluate(model: nn.Module, request: EvaluateRequest) -> dict[str, Any]:
        assert not model.training
        output = model(torch.ones(2, 3))
        assert not output.requires_grad
        return {"mean": output.mean(), "version": request.model_version}

    learner = TorchLearner(net, sgd, evaluate)
    initial = learner.initial_parameters()
    learner.train(initial, request())
    metrics = learner.evaluate(over_the_wire(initial), EvaluateRequest(7))
    assert metrics["version"] == 7.0
    assert metrics == learner.evaluate(initial, EvaluateRequest(7))


def test_a_run_may_begin_with_a_given_state_dict() -> None:
    pretrained = tied().state_dict()
    initial = TorchLearner(tied, leave, initial=lambda: pretrained).initial_parameters()
    assert sorted(initial) == ["decoder.bias", "encoder.weight"]
    assert np.array_equal(initial["encoder.weight"], pretrained["decoder.weight"].numpy())


def test_an_initial_state_of_another_model_is_refused() -> None:
    learner = TorchLearner(net, leave, initial=lambda: nn.Linear(1, 1).state_dict())
    with pytest.raises(ParametersError, match="initial does not fit the model"):
        learner.initial_parameters()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"missing: \['value', 'weight'\]"),
        ({"weight": np.ones(2, "f4"), "value": np.ones(3, "f4"), "w": np.ones(1)}, r"\['w'\]"),
        (
            {"weight": np.ones(2, "f4"), "value": np.ones(4, "f4")},
            r"value: expected float32 of shape \(3,\), came float32 of shape \(4,\)",
        ),
        (
            {"weight": np.ones(2, "f4"), "value": np.ones(3, "f8")},
            "value: expected float32 .* came float64",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_named(given: Arrays, message: str) -> None:
    learner = TorchLearner(lambda: Holder(value=torch.zeros(3)), leave)
    with pytest.raises(ParametersError, match=message):
        learner.train(given, request())


class WithExtra(Holder):
    def get_extra_state(self) -> str:
        return "notes"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (WithExtra, "_extra_state: extra state of type str cannot travel"),
        (lambda: nn.LazyLinear(3), "weight has no shape yet: run a batch through it in build"),
        (lambda: nn.Linear(1, 1, device="meta"), "weight is on the meta device"),
        (lambda: Holder(value=torch.ones(2, dtype=torch.complex64)), "came complex64"),
        (lambda: Holder(value=torch.ones(2).to(torch.float8_e4m3fn)), "value: torch.float8"),
        (lambda: Holder(value=torch.eye(2).to_sparse()), "sparse and quantised"),
        (nn.ReLU, "expected at least one array of floats"),
    ],
)
def test_a_model_that_cannot_travel_is_refused(
    build: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(ParametersError, match=message):
        TorchLearner(build, leave).initial_parameters()


def test_build_must_give_a_module() -> None:
    with pytest.raises(
        TrainingError, match=r"expected build to give a torch\.nn\.Module, came int"
    ):
        TorchLearner(lambda: 3, leave).initial_parameters()  # type: ignore[misc]


def test_a_fit_that_changes_the_model_itself_is_refused() -> None:
    def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
        model.half()
        return 1, {}

    learner = TorchLearner(Holder, fit)
    with pytest.raises(ParametersError, match=r"fit changed the model itself: weight: .*float16"):
        learner.train({"weight": np.ones(2, np.float32)}, request())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r"to return \(num_examples, metrics\), .* came None"),
        ((1, {}, 2), r"to return \(num_examples, metrics\)"),
        ((0, {}), "a whole number above 0, came 0"),
        ((1.5, {}), "a whole number above 0, came 1.5"),
        ((True, {}), "a whole number above 0, came True"),
        (("many", {}), "a whole number above 0, came 'many'"),
        ((float("inf"), {}), "a whole number above 0, came inf"),
        ((1, [0.5]), r"metrics as a dict, came \[0.5\]"),
        ((1, {"loss": "low"}), "metric 'loss' to be a number, came 'low'"),
        ((1, {"loss": torch.ones(2)}), "metric 'loss' to be a number"),
    ],
)
def test_a_fit_that_returns_something_else_is_told(returned: Any, message: str) -> None:
    learner = TorchLearner(Holder, lambda model, request: returned)
    with pytest.raises(TrainingError, match=message):
        learner.train({"weight": np.ones(2, np.float32)}, request())


def test_a_worker_does_not_fetch_pretrained_weights_to_know_the_layout() -> None:
    def fetch() -> dict[str, torch.Tensor]:
        raise AssertionError("only the coordinator begins with these")

    pretrained = TorchLearner(lambda: nn.Linear(2, 1), lambda model, request: (1, {}), None, fetch)
    plain = TorchLearner(lambda: nn.Linear(2, 1), lambda model, request: (1, {}))
    assert layout_of_learner(pretrained) == layout_of_learner(plain)
