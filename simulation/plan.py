"""What a world is like: its federation, and how often something goes wrong in it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from coordinator.cohort import Cohort
from coordinator.spool import SEGMENT_BYTES
from schemas.codecs.names import FP32
from simulation.reference import Name
from worker.options import Forever, Once, UntilRunEnds
from worker.options import Plan as WorkerPlan

ALGORITHMS: tuple[Name, ...] = ("mean", "mean", "momentum", "ca2fl")
CODECS = ("fp32", "fp32", "bf16", "fp16+zstd", "topk:0.02")
CODECS_IN_PARTS = ("fp32", "fp32", "bf16")
"""Those by which a unit vector arrives as it is, in bytes that are the same for every update."""
EVALUATED = 0.35  # of the worlds
COHORT = 0.4
BY_DEPOT = 0.5  # of the worlds whose updates go in parts
SEGMENTS = (1000, 4000, SEGMENT_BYTES)  # one update, some, all of a world
SLOTS = 256
SLOTS_IN_PARTS = 140_000  # one upload at a time has room on the coordinator's disk


@dataclass(frozen=True, slots=True)
class Plan:
    """What a world is like.

    Attributes:
        workers: What each of them works by.
        algorithm: By which versions are made.
        codec: Of the updates.
        evaluators: Ids of the workers that evaluate and never train.
        slots: Of the model; each takes 4 bytes.
        in_parts: Whether an update takes more than one message.
        by_depot: Whether models and such updates may lie in a depot.
        segment_bytes: From how many on a segment of the coordinator's spool is full.
        faults_s: How long faults happen, in seconds.
        fault_every_s: The mean time between two.
    """

    workers: tuple[WorkerPlan, ...]
    settings: dict[str, object]
    slots: int
    in_parts: bool
    latency_s: float
    training_s: float
    faults_s: float
    fault_every_s: float
    algorithm: Name = "mean"
    codec: str = FP32
    evaluators: frozenset[str] = frozenset()
    by_depot: bool = False
    segment_bytes: int = SEGMENT_BYTES

    @property
    def direct(self) -> bool:
        """Whether the coordinator draws its workers."""
        return self.settings.get("rounds.dispatch") == "direct"

    @classmethod
    def draw(cls, rng: random.Random) -> Plan:
        """A small federation of any kind."""
        aside = _aside(rng)
        algorithm = aside.choice(ALGORITHMS)
        workers = rng.randint(2, 4)
        goal = rng.randint(1, min(workers, 3))
        in_parts = rng.random() < 0.25
        rounds = 3 if in_parts else rng.randint(3, 5)
        slots = SLOTS_IN_PARTS if in_parts else SLOTS
        latency_s = rng.choice((0.005, 0.05, 1.0))
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
            "rounds.part_bytes": "128KiB",
            "coordinator.uploads_bytes": "1MiB",
            "depot.min_bytes": "64KiB",
            "coordinator.uploads_age": "1m",
            "coordinator.spool_keep_rounds": rng.randint(0, 2),
        }
        if rng.random() < 0.5:
            settings["rounds.dispatch"] = "direct"
        plans = [_of_worker(rng, latency_s) for _ in range(workers)]
        # Where an update takes many messages the faults of uploads are to be seen, as many as can.
        evaluators = frozenset() if in_parts else _evaluators(aside, workers, algorithm, settings)
        plans += [aside.choice((Forever(), UntilRunEnds())) for _ in evaluators]
        settings["wire.model_codec"] = aside.choice(("fp32", "fp32", "bf16", "fp16"))
        codec = settings["wire.codec"] = aside.choice(CODECS_IN_PARTS if in_parts else CODECS)
        return cls(
            workers=tuple(plans),
            settings=settings,
            slots=slots,
            in_parts=in_parts,
            latency_s=latency_s,
            training_s=rng.choice((2.0, 10.0, 40.0)),
            faults_s=rng.uniform(120.0, 600.0),
            fault_every_s=rng.choice((4.0, 10.0, 20.0)),
            algorithm=algorithm,
            codec=codec,
            evaluators=evaluators,
            by_depot=in_parts and aside.random() < BY_DEPOT,
            segment_bytes=aside.choice(SEGMENTS),
        )


def _aside(rng: random.Random) -> random.Random:
    """Chances that take nothing from those of the generator: all else is drawn as without them."""
    aside = random.Random()
    aside.setstate(rng.getstate())
    return aside


def _evaluators(
    rng: random.Random, workers: int, algorithm: Name, settings: dict[str, object]
) -> frozenset[str]:
    """In some worlds, workers beside those that train, and a seed by which it is these."""
    if rng.random() >= EVALUATED:
        return frozenset()
    names = [name_of(number) for number in range(workers + rng.randint(1, 2))]
    seed = 0
    while [name in Cohort(seed, COHORT) for name in names] != [
        number >= workers for number in range(len(names))
    ]:
        seed += 1
    goal = rng.randint(1, len(names) - workers)
    settings |= {
        "run.seed": seed,
        "evaluation.cohort": COHORT,
        "evaluation.goal": goal,
        "evaluation.every": rng.randint(1, 2),
        "evaluation.deadline": f"{rng.randint(20, 200)}s",
        "evaluation.smoothing": 1,
        "evaluation.sureness": 0.0,
    }
    if algorithm == "mean":  # of the others the reference knows no way back
        settings["evaluation.guard_loss"] = 2.0
    return frozenset(names[workers:])


def name_of(number: int) -> str:
    """A worker's id."""
    return f"w{number}"


def _of_worker(rng: random.Random, latency_s: float) -> WorkerPlan:
    """Most stay; some leave by themselves now and then.

    Who waits for a moment only has to look through the tasks that have ended while it was away,
    which are as many as were offered in an hour.
    """
    once = Once(wait_s=30.0 + 90.0 * latency_s)
    return rng.choice((Forever(), Forever(), Forever(), UntilRunEnds(), once))
