"""What a world is like: its federation, and how often something goes wrong in it."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """What a world is like.

    Attributes:
        faults_s: How long faults happen, in seconds.
        fault_every_s: The mean time between two.
    """

    workers: int
    settings: dict[str, object]
    slots: int
    latency_s: float
    training_s: float
    faults_s: float
    fault_every_s: float

    @classmethod
    def draw(cls, rng: random.Random) -> Plan:
        """A small federation of any kind."""
        workers = rng.randint(2, 4)
        goal = rng.randint(1, min(workers, 3))
        in_parts = rng.random() < 0.2
        rounds = 3 if in_parts else rng.randint(3, 5)
        settings: dict[str, object] = {
            "run.rounds": rounds,
            "rounds.goal": goal,
            "rounds.quorum": rng.randint(1, goal),
            "rounds.concurrency": goal + rng.randint(0, 2),
            "rounds.deadline": f"{rng.randint(30, 120)}s",
            "rounds.lease": f"{rng.randint(20, 90)}s",
            "rounds.late": rng.choice(("weigh", "refuse")),
            "rounds.max_staleness": rng.randint(0, 5),
            "rounds.max_extensions": rng.randint(0, 2),
            "rounds.drain": "120s",
            "rounds.part_bytes": "64KiB",
            "coordinator.spool_keep_rounds": rng.randint(0, 2),
        }
        return cls(
            workers=workers,
            settings=settings,
            slots=40_000 if in_parts else 256,
            latency_s=rng.choice((0.005, 0.05, 1.0)),
            training_s=rng.choice((2.0, 10.0, 40.0)),
            faults_s=rng.uniform(120.0, 600.0),
            fault_every_s=rng.choice((4.0, 10.0, 20.0)),
        )
