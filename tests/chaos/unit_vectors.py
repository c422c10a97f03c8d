"""The learner of the chaos tests: training number i adds 1 to slot i of the model, and only there.

So a model version shows which trainings it was made of, and with what weights
(`tests.chaos.oracle`).

In the folder that is its `data`:

    trainings        a line for each training that was begun, in order: line i has slot i
    training-<id>    the process that trains for a worker now; a killed one leaves it behind
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedmq import TrainRequest, TrainResult

QUICK_S = (0.02, 0.5)
LONG_S = (3.0, 6.0)  # longer than the leases of these tests
LONG_SHARE = 0.12
_LOOK_S = 0.02


class UnitVectors:
    """A model of slots that begin at 0."""

    slots = 4096

    def initial_parameters(self) -> Mapping[str, Any]:
        """All slots are empty."""
        return {"slots": np.zeros(self.slots, np.float32)}

    def train(self, parameters: Mapping[str, Any], request: TrainRequest) -> TrainResult:
        """Fill the next slot, after a while."""
        folder = Path(request.data)
        slot = note_training(folder, request)
        assert slot < self.slots, "the model has too few slots for so many trainings"
        here = folder / f"training-{request.worker_id}"
        new = folder / f"{os.getpid()}.new"
        new.write_text(str(os.getpid()))
        new.replace(here)
        spend_time(request)
        # It is not there if the process before, of an agent that was killed, outlived it a moment.
        here.unlink(missing_ok=True)
        trained = parameters["slots"].copy()
        trained[slot] += 1
        return TrainResult({"slots": trained}, num_examples=1)


class ManySlots(UnitVectors):
    """As many as need three parts of 64 KiB."""

    slots = 40_000


def note_training(folder: Path, request: TrainRequest) -> int:
    """Write down that a training begins, durably; its number."""
    with (folder / "trainings").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = len(file.readlines())
        line = {
            "slot": number,
            "task": request.task_id,
            "worker": request.worker_id,
            "base": request.model_version,
        }
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return number


def spend_time(request: TrainRequest) -> None:
    """Train for a random while, so that what happens meanwhile happens to a training."""
    draw = random.SystemRandom()
    end = time.monotonic() + draw.uniform(*(LONG_S if draw.random() < LONG_SHARE else QUICK_S))
    while time.monotonic() < end and not request.cancelled():
        request.progress(0.5)
        time.sleep(_LOOK_S)


learner = UnitVectors
many = ManySlots
