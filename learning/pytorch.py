"""A torch model and the loop one already has, as a learner.

What travels is the model's `state_dict`: parameters and persistent buffers, as numpy arrays on the
CPU. This module and what it imports alone need torch.

Rules:

- The model is built once in a process and used for one task after another. Before each task its
  state is loaded, its non-persistent buffers, `requires_grad` and training modes are put back as
  they were built, and its gradients are dropped. What else `fit` leaves behind — attributes of the
  model, buffers of another shape, globals — the next task sees. After a `fit` that raised, the
  model is built again.
- Arrays given are never written to, and arrays returned never change later: one copy in, one out.
- Tied weights (one storage, several names) travel once, under their first name.
- `request.prox_mu` is seen to, and the steps of torch's optimisers are counted (`learning.steps`).
- Chance is seeded from `request.seed` right before `fit`, whenever the model was built.
- The number of threads belongs to the process that trains: nothing here sets it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from learning.errors import MissingExtraError, ParametersError, TrainingError
from learning.learner import EvaluateRequest, Parameters, TrainRequest, TrainResult
from learning.returned import checked_fit, checked_metrics
from learning.seeding import seed_everything
from schemas.errors import LayoutError
from schemas.layout import Rule
from schemas.tensors import BFLOAT16, layout_of, require

try:
    import torch
    from torch import Tensor, nn
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise MissingExtraError("torch", "torch") from error

from learning.steps import Steps

Array = NDArray[Any]
Model = TypeVar("Model", bound=nn.Module)

COUNTER = "num_batches_tracked"
"""BatchNorm's count of batches: of those received the largest is kept."""


class TorchLearner:
    """A learner made of functions over a `torch.nn.Module`.

    One task at a time: calls from several threads wait for each other.
    """

    def __init__(
        self,
        build: Callable[[], Model],
        fit: Callable[[Model, TrainRequest], tuple[int, Mapping[str, Any]]],
        evaluate: Callable[[Model, EvaluateRequest], Mapping[str, Any]] | None = None,
        initial: Callable[[], Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Make a learner; nothing is built or imported yet.

        Args:
            build: Gives the model, on any device. Names, shapes and dtypes are the same each time.
            fit: Trains the model in place; it is on `request.device`, in the mode it was built in
                (training, unless `build` called `eval`). Returns how many examples it trained on,
                above 0, and metrics as numbers.
            evaluate: Measures the model, in evaluation mode and without gradients.
            initial: Gives the state dict that a run begins with, such as pretrained weights; only
                the coordinator calls it. Without it, a run begins with what `build` gives.
        """
        self._build: Callable[[], nn.Module] = build
        self._fit = cast("Callable[[nn.Module, TrainRequest], object]", fit)
        self._initial = initial
        self._task = threading.Lock()
        self._built: _Built | None = None
        if evaluate is not None:  # an attribute only then: its presence says "I can evaluate"
            self._evaluate = cast("Callable[[nn.Module, EvaluateRequest], object]", evaluate)
            self.evaluate = self._run_evaluate

    @property
    def integer_rules(self) -> dict[str, Rule]:
        """How integer arrays are aggregated: BatchNorm's counters by their largest value."""
        with self._task:
            return self._model().rules

    def like_parameters(self) -> dict[str, Array]:
        """Arrays of the model's names, shapes and dtypes; their values mean nothing.

        Raises:
            ParametersError: If the model has state that cannot travel.
        """
        with self._task:
            return self._model().arrays(copy=False)

    def initial_parameters(self) -> dict[str, Array]:
        """A newly built model's arrays, or those of `initial`; seed torch before.

        Raises:
            ParametersError: If the model has state that cannot travel, or `initial` does not fit.
        """
        fresh = _Built(self._build())
        if self._initial is not None:
            fresh.load_tensors(self._initial())
        return fresh.arrays(copy=False)

    def train(self, parameters: Parameters, request: TrainRequest) -> TrainResult:
        """Load the parameters, seed, run `fit` and return what the model became.

        Raises:
            ParametersError: If names, shapes or dtypes are not the model's, before or after `fit`.
            TrainingError: If `fit` returned something other than (num_examples, metrics).
        """
        with self._task:
            built = self._ready(parameters, request.device)
            seed_everything(request.seed)
            steps = Steps(built.model, request.prox_mu)
            try:
                with steps:
                    num_examples, metrics = checked_fit(self._fit(built.model, request))
                trained = built.arrays(copy=True)
            except BaseException:
                self._built = None  # half trained, and nobody knows what else
                raise
            built.drop_gradients()
            return TrainResult(trained, num_examples, metrics, steps.local_steps)

    def _run_evaluate(
        self, parameters: Parameters, request: EvaluateRequest
    ) -> Mapping[str, float]:
        with self._task:
            built = self._ready(parameters, request.device)
            built.model.eval()
            with torch.no_grad():
                return checked_metrics(self._evaluate(built.model, request), "evaluate")

    def _model(self) -> _Built:
        if self._built is None:
            # Whether a task is the first in its process must not change the chance that it draws.
            with torch.random.fork_rng(devices=[]):
                self._built = _Built(self._build())
        return self._built

    def _ready(self, parameters: Parameters, device: str) -> _Built:
        built = self._model()
        built.move(device)
        built.load(parameters)
        return built


class _Built:
    """A model, which of its state travels, and what it is put back to."""

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise TrainingError(
                f"expected build to give a torch.nn.Module, came {type(model).__name__}"
            )
        self.model = model
        state = _state(model)
        self.first_names = _first_names(state)
        self.rules: dict[str, Rule] = {
            name: "max"
            for name, first in self.first_names.items()
            if name == first and name.rpartition(".")[2] == COUNTER
        }
        try:
            self.layout = layout_of(self._arrays_of(state), self.rules)
        except LayoutError as error:
            raise ParametersError(f"the model: {error}") from error
        self._modes = [(module, module.training) for module in model.modules()]
        self._requires_grad = [(p, p.requires_grad) for p in model.parameters()]
        self._passing = {
            name: buffer.detach().clone()
            for name, buffer in model.named_buffers()
            if name not in state
        }

    def arrays(self, *, copy: bool) -> dict[str, Array]:
        """The model's state; without a copy the arrays are the model's own memory."""
        arrays = self._arrays_of(_state(self.model), copy=copy)
        try:
            require(arrays, self.layout)
        except LayoutError as error:
            raise ParametersError(f"fit changed the model itself: {error}") from error
        return arrays

    def move(self, device: str) -> None:
        self.model.to(device)
        if _first_names(_state(self.model)) != self.first_names:
            raise ParametersError(
                f"the model's tied weights come apart on {device}: tie the nn.Parameter itself "
                "(a.weight = b.weight), not its data"
            )

    def load(self, parameters: Parameters) -> None:
        """Put the parameters and everything else that a task may have changed into the model.

        Names come first-named only; the other names of tied weights follow.
        """
        try:
            require(parameters, self.layout)
        except LayoutError as error:
            raise ParametersError(f"the parameters do not fit the model: {error}") from error
        tensors = {name: _tensor_over(array) for name, array in parameters.items()}
        self._put_back()
        self.model.load_state_dict({n: tensors[first] for n, first in self.first_names.items()})

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a state dict as torch users have it, with all names."""
        try:
            self.model.load_state_dict(tensors)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ParametersError(f"initial does not fit the model: {error}") from error

    def drop_gradients(self) -> None:
        self.model.zero_grad(set_to_none=True)

    def _put_back(self) -> None:
        self.drop_gradients()
        for module, training in self._modes:
            module.training = training
        for parameter, flag in self._requires_grad:
            parameter.requires_grad_(flag)
        buffers = dict(self.model.named_buffers())
        with torch.no_grad():
            for name, value in self._passing.items():
                if name in buffers and buffers[name].shape == value.shape:
                    buffers[name].copy_(value)

    def _arrays_of(self, state: Mapping[str, Tensor], *, copy: bool = False) -> dict[str, Array]:
        return {
            name: _array_of(name, tensor, copy)
            for name, tensor in state.items()
            if self.first_names.get(name, name) == name
        }


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, all of it tensors with values in memory.

    Raises:
        ParametersError: If something in it cannot travel.
    """
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ParametersError(
                f"{name}: extra state of type {type(value).__name__} cannot travel, only tensors"
            )
        if torch.nn.parameter.is_lazy(value):
            raise ParametersError(f"{name} has no shape yet: run a batch through it in build")
        if value.is_meta:
            raise ParametersError(f"{name} is on the meta device: give it values in build")
        if value.layout != torch.strided or value.is_quantized:
            raise ParametersError(f"{name}: sparse and quantised tensors cannot travel")
    return dict(state)


def _first_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """For every name, the first name of the same memory: its own unless weights are tied."""
    firsts: dict[Any, str] = {}
    return {
        name: firsts.setdefault(_memory(tensor) if tensor.numel() else name, name)
        for name, tensor in state.items()
    }


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _array_of(name: str, tensor: Tensor, copy: bool) -> Array:
    """A tensor as a contiguous array on the CPU; without `copy`, its own memory if it can be."""
    host = tensor.detach().cpu()
    is_bfloat16 = host.dtype == torch.bfloat16
    try:
        array: Array = (host.view(torch.int16) if is_bfloat16 else host).numpy()
    except TypeError as error:
        raise ParametersError(f"{name}: {tensor.dtype} cannot travel") from error
    if is_bfloat16:
        array = array.view(BFLOAT16)
    must_copy = copy and tensor.device.type == "cpu"
    return np.array(array, order="C") if must_copy else np.asarray(array, order="C")


def _tensor_over(array: Array) -> Tensor:
    """A tensor over an array's memory, only to be read from.

    torch warns of an array that may not be written to, and one that came in a message may not be;
    the array interface hands its memory over without that mark.
    """
    native = np.require(array, array.dtype.newbyteorder("="), ["C", "A"])
    bits = native.view(np.int16) if array.dtype == BFLOAT16 else native
    if not bits.flags.writeable:
        bits = np.asarray(_Unmarked(bits))
    tensor = torch.from_numpy(bits)
    return tensor.view(torch.bfloat16) if array.dtype == BFLOAT16 else tensor


class _Unmarked:
    """An array's memory without the mark that it is read-only."""

    def __init__(self, array: Array) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self._keep = array
