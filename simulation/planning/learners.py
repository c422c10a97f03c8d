"""Training with a real learner, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from learning.errors import LearnerError
from learning.learner import (
    Config,
    EvaluateRequest,
    Learner,
    TrainRequest,
    TrainResult,
    layout_of_learner,
    parameters_of,
)
from learning.seeding import derive_seed, seed_everything
from schemas.buffer import Buffer
from schemas.errors import LayoutError
from schemas.layout import Layout
from schemas.tensors import flatten, unflatten, update_between
from simulation.planning.draws import Ints
from simulation.planning.errors import CannotPlan, CannotTrain
from simulation.planning.training import Errand, Trained

WORKERS_COUNTED_MAX = 100_000
"""More are not asked how many examples they have."""


def data_of(template: str, worker: int, workers: int) -> str:
    """A worker's data setting: "{worker}/{workers}" is "3/12" for the third of twelve."""
    return template.replace("{workers}", str(workers)).replace("{worker}", str(worker + 1))


class LearnerTraining:
    """Trains as a worker's training process does, one update after the other.

    Args:
        learner: The user's.
        workers: How many there are.
        seed: All seeds that the learner gets derive from it.
        data: The template of the workers' data settings, see `data_of`.
        config: The learner's.
        held_out: The coordinator's own data setting, to evaluate on.

    Raises:
        CannotTrain: If the learner gives no initial parameters.
    """

    def __init__(
        self,
        learner: Learner,
        workers: int,
        seed: int,
        data: str = "{worker}/{workers}",
        config: Config | None = None,
        held_out: str = "",
    ) -> None:
        self._learner = learner
        self._workers = workers
        self._seed = seed
        self._data = data
        self._config = dict(config or {})
        self._held_out = held_out
        try:
            seed_everything(derive_seed(seed, "initial"))
            self._layout = layout_of_learner(learner)
            self._initial = bytes(flatten(parameters_of(learner), self._layout))
        except Exception as error:
            raise CannotTrain(
                f"the learner gives no initial parameters: {_named(error)}"
            ) from error

    @property
    def layout(self) -> Layout:
        """See `Training.layout`."""
        return self._layout

    @property
    def evaluates(self) -> bool:
        """Whether the learner can say how good a model is."""
        return callable(getattr(self._learner, "evaluate", None))

    def initial(self) -> bytes:
        """See `Training.initial`."""
        return self._initial

    def examples(self) -> Ints | None:
        """How many examples each worker has, None if the learner does not say.

        One that does has a method `count_examples(data, config)`.
        """
        count: Any = getattr(self._learner, "count_examples", None)
        if not callable(count) or self._workers > WORKERS_COUNTED_MAX:
            return None
        try:
            found = [count(self._data_of(worker), self._config) for worker in range(self._workers)]
            return np.array(found, np.int64)
        except Exception as error:
            raise CannotTrain(f"count_examples: {_named(error)}") from error

    def train(self, errand: Errand, base: Buffer) -> Trained:
        """See `Training.train`.

        Raises:
            CannotTrain: If the learner raises, or gives something that is no result.
        """
        seed = derive_seed(self._seed, "train", errand.worker, errand.number)
        name = f"worker-{errand.worker + 1}"
        request = TrainRequest(
            worker_id=name,
            task_id=f"{errand.worker:016x}{errand.number:016x}",
            model_version=errand.version,
            seed=seed,
            data=self._data_of(errand.worker),
            config=self._config,
            prox_mu=errand.prox_mu,
        )
        seed_everything(seed)
        try:
            result = self._learner.train(unflatten(bytearray(base), self._layout), request)
            payload, num_examples = self._payload(base, result)
            steps = float(result.local_steps)
        except Exception as error:
            raise CannotTrain(f"{name} cannot train: {_named(error)}") from error
        return Trained(payload, num_examples, steps, dict(result.metrics))

    def evaluate(self, version: int, model: Buffer) -> Mapping[str, float]:
        """See `Training.evaluate`.

        Raises:
            CannotTrain: If the learner raises.
        """
        if not self.evaluates:
            return {}
        learner: Any = self._learner
        request = EvaluateRequest(version, data=self._held_out, config=self._config)
        seed_everything(derive_seed(self._seed, "evaluate"))
        try:
            metrics = learner.evaluate(unflatten(bytearray(model), self._layout), request)
            return {name: float(value) for name, value in metrics.items()}
        except Exception as error:
            raise CannotTrain(f"evaluate: {_named(error)}") from error

    def _data_of(self, worker: int) -> str:
        return data_of(self._data, worker, self._workers)

    def _payload(self, base: Buffer, result: object) -> tuple[Buffer, int]:
        if not isinstance(result, TrainResult):
            raise CannotPlan(f"expected a TrainResult, came {type(result).__name__}")
        arrays = {name: np.asarray(value) for name, value in result.parameters.items()}
        count = result.num_examples
        if isinstance(count, bool) or count != int(count) or count < 1:
            raise CannotPlan(f"num_examples: expected a whole number above 0, came {count!r:.60}")
        return update_between(base, flatten(arrays, self._layout), self._layout), int(count)


def _named(error: Exception) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, LearnerError | LayoutError | CannotPlan):
        return said
    return f"{type(error).__name__}: {said}"
