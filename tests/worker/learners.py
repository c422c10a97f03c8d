"""Learners for these tests; numpy only. Loaded by path, in a training process or in this one."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.learner import EvaluateRequest, TrainRequest, TrainResult
from worker.store import Store

Arrays = Mapping[str, NDArray[Any]]


class Adder:
    """Adds the number in `data` to each weight."""

    size = 4

    def initial_parameters(self) -> Arrays:
        return {"w": np.zeros(self.size, np.float32)}

    def train(self, parameters: Arrays, request: TrainRequest) -> TrainResult:
        request.progress(0.5)
        step = float(request.data or 1)
        return TrainResult({"w": parameters["w"] + np.float32(step)}, 10, {"loss": step})


class Measuring(Adder):
    """Measures how large the first weight is, on as many examples as `config` says."""

    def evaluate(self, parameters: Arrays, request: EvaluateRequest) -> Mapping[str, float]:
        request.progress(0.5)
        says = {name: float(value) for name, value in request.config.items()}
        return {"w": float(parameters["w"][0]), "version": request.model_version, **says}


class Large(Adder):
    """Its update needs several parts of 64 bytes."""

    size = 64


class Shapeless(Adder):
    """Its parameters are no numbers."""

    def initial_parameters(self) -> Arrays:
        return {"w": np.array(["a word"])}


class Lingering(Adder):
    """Has a cancelled training's update written all the same, after a while."""

    def train(self, parameters: Arrays, request: TrainRequest) -> TrainResult:
        Path(str(request.config["says"])).write_text(str(os.getpid()))
        real = Store.finish

        def slow(*arguments: Any) -> Any:
            Path(str(request.config["writes"])).write_text("now")
            while not request.cancelled():
                time.sleep(0.01)
            time.sleep(0.3)
            return real(*arguments)

        Store.finish = slow  # type: ignore[method-assign,assignment]
        return TrainResult({"w": parameters["w"] + 1}, 1)


class Raising(Adder):
    def train(self, parameters: Arrays, request: TrainRequest) -> TrainResult:
        raise ValueError("no such data here")


class Writing(Adder):
    """Writes something and fails with the error whose number is in `data`."""

    def train(self, parameters: Arrays, request: TrainRequest) -> TrainResult:
        raise OSError(int(request.data), os.strerror(int(request.data)))


class Dying(Adder):
    """Its process ends in the middle, unless the file named by `data` exists."""

    def train(self, parameters: Arrays, request: TrainRequest) -> TrainResult:
        if not Path(request.data).exists():
            Path(request.data).touch()
            os._exit(7)
        return TrainResult({"w": parameters["w"] + 1}, 10)


class Waiting(Adder):
    """Trains until it is cancelled, or for ever if `data` is "deaf"; says its process id."""

    def train(self, parameters: Arrays, request: TrainRequest) -> TrainResult:
        Path(str(request.config["says"])).write_text(str(os.getpid()))
        while request.data == "deaf" or not request.cancelled():
            time.sleep(0.01)
        return TrainResult(parameters, 1)


class Drawing(Adder):
    """Its result is what the seed makes of numpy's generator."""

    def train(self, parameters: Arrays, request: TrainRequest) -> TrainResult:
        return TrainResult({"w": np.random.random(self.size).astype(np.float32)}, 1)


class Returning(Adder):
    """Returns whatever it is told to."""

    result: Any = None

    def train(self, parameters: Arrays, request: TrainRequest) -> TrainResult:
        return self.result  # type: ignore[no-any-return]


class Reporting(Adder):
    """Tells about the process it trains in as metrics."""

    def train(self, parameters: Arrays, request: TrainRequest) -> TrainResult:
        facts = {
            "pid": os.getpid(),
            "session": os.getsid(0),
            "torch": float("torch" in sys.modules),
            "threads": float(os.environ.get("OMP_NUM_THREADS", 0)),
            "prox_mu": request.prox_mu,
        }
        return TrainResult({"w": parameters["w"] + 1}, 1, facts)
