"""The unit-vector oracle: every training has a slot of its own in the model.

Training *i* returns what it was given plus the unit vector eᵢ. So the difference of two model
versions says by itself which trainings were counted, and with what weight: where the mean is taken
each counted slot holds weight / Σ weights, every other slot nothing (of other algorithms,
`simulation.reference` says what). A training that was counted twice, or that a copy was
made of, could not hide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.learner import EvaluateRequest, TrainRequest, TrainResult
from schemas.codecs.names import FP32
from schemas.codecs.payload import encode_update
from schemas.digest import digest_of
from schemas.tensors import flatten, layout_of

NAME = "slots"


@dataclass(frozen=True, slots=True)
class Training:
    """A training that was begun."""

    slot: int
    worker_id: str
    task_id: str
    base_version: int
    attempt: int


def loss_of(version: int) -> float:
    """What every evaluation of a version finds: 1 to 3."""
    return 1.0 + 0.5 * (3 * version % 5)


class Oracle:
    """A learner whose model has a slot for each training; it is asked by all workers of a world.

    Args:
        slots: How many trainings the model has room for.
        codec: Of the updates; one by which the bytes of an update are the same whatever its id.

    Attributes:
        trainings: All that were begun, by slot.
    """

    def __init__(self, slots: int, codec: str = FP32) -> None:
        self._slots = slots
        self._codec = codec
        self.trainings: list[Training] = []
        self._attempts: dict[tuple[str, str], int] = {}
        self._slot_of_payload: dict[str, int] = {}
        self.layout = layout_of(self.initial_parameters())
        self.initial_model = flatten(self.initial_parameters(), self.layout)

    @property
    def is_full(self) -> bool:
        """Whether there is no slot left."""
        return len(self.trainings) >= self._slots

    def initial_parameters(self) -> dict[str, NDArray[Any]]:
        """Nothing in any slot."""
        return {NAME: np.zeros(self._slots, np.float32)}

    def train(self, parameters: Mapping[str, NDArray[Any]], request: TrainRequest) -> TrainResult:
        """What was given, and one in a slot of its own."""
        slot = len(self.trainings)
        assert slot < self._slots, "the world trains more often than its model has slots"
        key = (request.worker_id, request.task_id)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        self.trainings.append(
            Training(
                slot, request.worker_id, request.task_id, request.model_version, self._attempts[key]
            )
        )
        trained = parameters[NAME].copy()
        trained[slot] += 1
        sent = (trained - parameters[NAME]).astype("<f4")
        payload = encode_update(sent.tobytes(), self._codec, self.layout, "")
        self._slot_of_payload[digest_of(*payload)] = slot
        return TrainResult({NAME: trained}, num_examples=1)

    def evaluate(
        self, parameters: Mapping[str, NDArray[Any]], request: EvaluateRequest
    ) -> dict[str, float]:
        """A loss that every worker finds alike, and that jumps now and then."""
        return {"loss": loss_of(request.model_version), "num_examples": 2.0}

    def training_of(self, payload_digest: str) -> Training | None:
        """The training that made a payload, None if none did."""
        slot = self._slot_of_payload.get(payload_digest)
        return None if slot is None else self.trainings[slot]
