"""The population: what each worker makes of each of its tasks. Pure.

Everything here is a function of (seed, worker, number of the worker's task), so that a worker's
third task is the same under each policy that is compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from simulation.planning.availability import Availability, Mask
from simulation.planning.devices import Compute, Devices
from simulation.planning.draws import Ints, Stream

MIDDLING_EXAMPLES = 60
"""Of a middling worker, where no data say how many it has."""

Outcome = Literal["arrives", "dropped", "left"]


@dataclass(frozen=True, slots=True)
class Trip:
    """What becomes of a task that was taken.

    Attributes:
        ends_at: When the update arrives, or the worker drops the task.
        outcome: Its update arrives; the worker drops it; or has left for good.
    """

    ends_at: float
    outcome: Outcome


class Crowd:
    """The workers 0 to `workers` - 1.

    Args:
        devices: What they are like.
        workers: How many.
        seed: Of the experiment.
        transfer_bytes: Of the model that comes and the update that goes, together.
        examples: How many each has, `(workers,)`; None: drawn.
        rare: Which of them are there more rarely, `(workers,) bool`; None: drawn.
    """

    def __init__(
        self,
        devices: Devices,
        workers: int,
        seed: int,
        transfer_bytes: int = 0,
        examples: Ints | None = None,
        rare: Mask | None = None,
    ) -> None:
        self.devices = devices
        self.workers = workers
        self.availability = Availability(devices.presence, seed, rare)
        self._examples = examples
        self._mean_examples = MIDDLING_EXAMPLES if examples is None else float(examples.mean())
        self._transfer_bits = 8 * transfer_bytes
        self._speeds = Stream(seed, "speed of a worker")
        self._tasks = Stream(seed, "duration of a task")
        self._links = Stream(seed, "bandwidth of a worker")
        self._losses = Stream(seed, "loss of a task")
        self._sizes = Stream(seed, "examples of a worker")

    def examples_of(self, worker: int) -> int:
        """How many examples a worker has, at least 1."""
        if self._examples is not None:
            return max(int(self._examples[worker]), 1)
        sigma = self.devices.examples_sigma
        if not sigma:
            return MIDDLING_EXAMPLES
        return max(round(MIDDLING_EXAMPLES * math.exp(sigma * self._sizes.normal(worker))), 1)

    def task_s(self, worker: int, number: int) -> float:
        """How long a worker is busy with its task of a number: model, training, update."""
        return self._compute_s(self.devices.compute, worker, number) + self._transfer_s(worker)

    def trip(self, worker: int, number: int, now: float) -> Trip:
        """What becomes of a worker's task of a number that it takes now."""
        devices, availability = self.devices, self.availability
        done_at = now + self.task_s(worker, number)
        if devices.loss and self._losses.uniform(worker, number) < devices.loss:
            return Trip(done_at, "dropped")
        if availability.always:
            return Trip(done_at, "arrives")
        if devices.presence.when_away == "lost":
            until = availability.there_until(worker, now)
            return Trip(until, "dropped") if until < done_at else Trip(done_at, "arrives")
        there = availability.there_from(worker, done_at)
        if math.isinf(there):
            return Trip(max(done_at, availability.leaves_at(worker)), "left")
        return Trip(there, "arrives")

    def _compute_s(self, compute: Compute, worker: int, number: int) -> float:
        seconds = compute.seconds
        if compute.shape == "half-normal":
            seconds *= abs(self._tasks.normal(worker, number))
        elif compute.shape == "log-normal":
            sigma = compute.worker_sigma * self._speeds.normal(worker)
            if compute.task_sigma:
                sigma += compute.task_sigma * self._tasks.normal(worker, number)
            seconds *= math.exp(sigma)
        if compute.size_power:
            seconds *= (self.examples_of(worker) / self._mean_examples) ** compute.size_power
        return seconds

    def _transfer_s(self, worker: int) -> float:
        network = self.devices.network
        if not network.bits_per_s or not self._transfer_bits:
            return 0.0
        factor = math.exp(network.sigma * self._links.normal(worker))
        return self._transfer_bits / (network.bits_per_s * factor)
