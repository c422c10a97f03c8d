"""What is trained in a simulation: a learner in this process, or updates that cost nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from schemas.buffer import Buffer
from schemas.codecs.names import FP32
from schemas.layout import Layout


@dataclass(frozen=True, slots=True)
class Errand:
    """One training.

    Attributes:
        number: The number of the worker's task, from 0.
        version: Of the model that it begins with.
        examples: How many the worker has, as far as the simulation knows.
        prox_mu: How strongly it is held near that model, 0 for not at all.
    """

    worker: int
    number: int
    version: int
    examples: int
    prox_mu: float = 0.0


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it.

    Attributes:
        payload: Of the update, as it would travel.
        local_steps: Steps of the optimiser, 0 if unknown.
        codec: Of the payload.
        update_id: What is random in the codec follows from it.
    """

    payload: Buffer
    num_examples: int
    local_steps: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    codec: str = FP32
    update_id: str = ""


class Training(Protocol):
    """Trains when an update arrives, so that a task which is dropped costs nothing.

    How long it takes on the wall clock is of no account: the devices say how long tasks last.
    """

    @property
    def layout(self) -> Layout | None:
        """Of the model; None if it has no parameters."""
        ...

    def initial(self) -> bytes:
        """The flat buffer of version 0."""
        ...

    def train(self, errand: Errand, base: Buffer) -> Trained:
        """The update of a worker; a function of its arguments."""
        ...

    def evaluate(self, version: int, model: Buffer) -> Mapping[str, float]:
        """How good a version is; "accuracy" in [0, 1] where it makes sense, else nothing."""
        ...


class Synthetic:
    """Updates of a model without parameters: only who answers when is of interest."""

    @property
    def layout(self) -> None:
        """See `Training.layout`."""

    def initial(self) -> bytes:
        """See `Training.initial`."""
        return b""

    def train(self, errand: Errand, base: Buffer) -> Trained:
        """See `Training.train`."""
        return Trained(b"", errand.examples)

    def evaluate(self, version: int, model: Buffer) -> Mapping[str, float]:
        """See `Training.evaluate`; there is nothing to measure."""
        return {}
