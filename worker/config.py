"""What a worker service is made from: the settings, resolved for one worker."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker.topology import is_worker_id
from settings import Settings
from worker.availability import Availability
from worker.options import Forever, Options, Plan
from worker.traits import Traits

PART_BYTES_MIN = 64 * 1024  # the least that `rounds.part_bytes` may be
Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """One worker of a federation.

    Attributes:
        federation: Its name.
        folder: The state folder, this worker's alone.
        learner: "path/file.py:name"; a relative path starts at the working directory.
        data: Handed to the learner as it is.
        learner_config: Likewise.
        device: "auto", "cpu" or "cuda:N".
        options: What the session goes by.
        traits: What it declares of itself.
        seed: What the worker's own draws (jitter, availability) derive from, with its id.
    """

    federation: str
    folder: Path
    learner: str
    options: Options
    data: str = ""
    learner_config: Mapping[str, Scalar] = field(default_factory=dict)
    device: str = "auto"
    availability: Availability = field(default_factory=Availability)
    traits: Traits = field(default_factory=Traits)
    seed: int = 0

    @property
    def worker_id(self) -> str:
        """The worker's id."""
        return self.options.worker_id


def worker_config(settings: Settings, worker_id: str, plan: Plan | None = None) -> WorkerConfig:
    """The configuration of one worker.

    Args:
        settings: Of the federation, as this machine has them.
        worker_id: Which worker.
        plan: How long to work; until told to stop if None.
    """
    own = settings.worker
    return WorkerConfig(
        federation=settings.federation.name,
        folder=own.state_dir,
        learner=settings.learner.path,
        data=settings.learner.data,
        learner_config=settings.learner.config,
        device=own.device,
        options=Options(
            worker_id=worker_id,
            part_bytes_min=PART_BYTES_MIN,
            plan=plan or Forever(),
            max_model_bytes=own.max_model_bytes,
            presence_s=own.presence_s,
            train_timeout_s=own.train_timeout_s,
            depot_min_bytes=settings.depot.min_bytes,
        ),
        availability=Availability(own.on_for_s, own.off_for_s, own.open_hours),
        traits=Traits(own.examples, own.capability_names, own.metered, own.hours),
        seed=settings.run.seed,
    )


def default_worker_id() -> str:
    """The host's name, made valid as a worker's id."""
    name = socket.gethostname().partition(".")[0]
    made = "".join(c if is_worker_id(c) else "-" for c in name)[:64]
    return made or "worker"
