"""Pace steering: how long a worker that is not needed may stay away (Bonawitz et al. 2019, §2.3).

A small population stays connected, so that there are always enough. The workers of a large one take
turns: those above the target leave by chance at their next presence, each for so long that about
the target are there, and with enough chance in it that they never come back together.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.chance import Chance

TURN_PRESENCES = 10.0  # a turn lasts about so many presences; more make it steadier, and slower
LEAST_S = 1.0
MOST_S = 86_400.0  # a day, after which the population may be another
JITTER = 0.5  # of the mean, to both sides


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who is there.

    Attributes:
        connected: Workers that are connected now.
        population: Workers that were heard of within the last day.
    """

    connected: int
    population: int


def away_s(target: int, crowd: Crowd, presence_s: float, chance: Chance) -> float:
    """For how many seconds a worker that says it is there shall go, 0 if it shall stay.

    Args:
        target: How many should be connected at a time, 0 for as many as like to.
        crowd: Who is there, this worker included.
        presence_s: How often a worker says that it is there.
        chance: Of this worker at this time.
    """
    above = crowd.connected - target
    if target <= 0 or above <= 0:
        return 0.0
    if chance.below(crowd.connected) >= above:
        return 0.0
    turns = max(crowd.population, crowd.connected) / target - 1.0
    mean_s = TURN_PRESENCES * presence_s * turns
    return min(max(mean_s * (1.0 + JITTER * (2.0 * chance.unit() - 1.0)), LEAST_S), MOST_S)
