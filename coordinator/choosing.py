"""From settings to the algorithm: what the coordinator and the simulation both begin with."""

from __future__ import annotations

from coordinator.algorithm import Algorithm, Stepping
from coordinator.weighing import Weighing
from settings.algorithm import AlgorithmSettings
from settings.rounds import RoundsSettings


def algorithm_of(algorithm: AlgorithmSettings) -> Algorithm:
    """How counted updates become the next version, as settings say."""
    return Algorithm(
        rule=algorithm.rule,
        by_count=algorithm.normalise == "count",
        trim=algorithm.trim,
        clip_norm=algorithm.clip_norm,
        population=algorithm.population,
        stepping=Stepping(
            name=algorithm.optimizer,
            lr=algorithm.lr,
            beta1=algorithm.beta1,
            beta2=algorithm.beta2,
            tau=algorithm.tau,
        ),
        prox_mu=algorithm.prox_mu,
        max_local_steps=algorithm.max_local_steps,
    )


def weighing_of(algorithm: AlgorithmSettings, rounds: RoundsSettings) -> Weighing:
    """What a counted update weighs, as settings say."""
    return Weighing(
        example_weights=algorithm.example_weights,
        max_examples=rounds.max_examples,
        staleness=algorithm.staleness,
        a=algorithm.staleness_a,
        b=algorithm.staleness_b,
    )
