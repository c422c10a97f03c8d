"""A learner that does no work: its update is all ones."""

import os

import numpy as np

from fedmq import TrainResult


class Idle:
    def initial_parameters(self):
        return {"w": np.zeros(int(os.environ["BENCH_PARAMS"]), np.float32)}

    def train(self, parameters, request):
        return TrainResult({"w": parameters["w"] + 1}, 1)


learner = Idle
