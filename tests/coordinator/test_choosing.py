"""Settings become the algorithm that they describe."""

from __future__ import annotations

from coordinator.algorithm import Algorithm, Stepping
from coordinator.choosing import algorithm_of, weighing_of
from coordinator.weighing import Weighing
from settings.algorithm import AlgorithmSettings
from settings.rounds import RoundsSettings


def test_the_defaults_are_the_weighted_mean_of_fedavg() -> None:
    assert algorithm_of(AlgorithmSettings()) == Algorithm(max_local_steps=10_000)
    assert weighing_of(AlgorithmSettings(), RoundsSettings()) == Weighing()


def test_every_setting_comes_into_the_algorithm() -> None:
    settings = AlgorithmSettings(
        rule="ca2fl",
        trim=0.2,
        clip_norm=3.0,
        population=40,
        normalise="count",
        optimizer="yogi",
        beta1=0.5,
        beta2=0.6,
        tau=0.7,
        prox_mu=0.8,
        max_local_steps=50,
    )
    stepping = Stepping("yogi", 0.01, 0.5, 0.6, 0.7)
    assert algorithm_of(settings) == Algorithm("ca2fl", True, 0.2, 3.0, 40, stepping, 0.8, 50)


def test_every_setting_comes_into_the_weighing() -> None:
    settings = AlgorithmSettings(
        example_weights="log", staleness="hinge", staleness_a=10.0, staleness_b=6.0
    )
    rounds = RoundsSettings(max_examples=500)
    assert weighing_of(settings, rounds) == Weighing("log", 500, "hinge", 10.0, 6.0)
