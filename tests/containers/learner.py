"""The learner of these tests: training number i adds 1 to slot i of the model, and only there.

So a model version shows which trainings it was made of. A training ends when a test lets it: once a
file of `/notes` is there, "go-all", "go-VERSION" or "go-VERSION-WORKER".
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedmq import TrainRequest, TrainResult

NOTES = Path("/notes")
SLOTS = 256
LOOK_S = 0.05


class Gated:
    """A model of slots that begin at 0."""

    def initial_parameters(self) -> Mapping[str, Any]:
        """All slots are empty."""
        return {"slots": np.zeros(SLOTS, np.float32)}

    def train(self, parameters: Mapping[str, Any], request: TrainRequest) -> TrainResult:
        """Take the next slot, wait until a test lets us, and fill it."""
        slot = note(request)
        names = ("all", f"{request.model_version}", f"{request.model_version}-{request.worker_id}")
        while not any((NOTES / f"go-{name}").exists() for name in names):
            if request.cancelled():
                break
            time.sleep(LOOK_S)
        trained = parameters["slots"].copy()
        trained[slot] += 1
        return TrainResult({"slots": trained}, num_examples=1)


def note(request: TrainRequest) -> int:
    """Write a training down; its slot is the number of its line."""
    with (NOTES / "trainings").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        slot = len(file.readlines())
        line = {
            "slot": slot,
            "task": request.task_id,
            "worker": request.worker_id,
            "version": request.model_version,
        }
        file.write(json.dumps(line) + "\n")
    return slot


learner = Gated()
