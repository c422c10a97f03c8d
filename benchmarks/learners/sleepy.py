"""A learner that sleeps as long as a device would train; half-normal, by the task's id."""

import os
import time

import numpy as np

from fedmq import TrainResult
from simulation.planning.draws import Stream

SECONDS = Stream(0, "duration of a real task")


class Sleepy:
    def initial_parameters(self):
        return {"w": np.zeros(10, np.float32)}

    def train(self, parameters, request):
        scale_s = float(os.environ["BENCH_TASK_S"])
        time.sleep(scale_s * abs(SECONDS.normal(int(request.task_id[:12], 16))))
        return TrainResult({"w": parameters["w"] + 1}, 60)


learner = Sleepy
