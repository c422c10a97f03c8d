"""When a worker is connected: at random, in certain hours, or always. Pure.

It stays on for a time drawn from an exponential distribution of mean `on_for_s`, then off for one
of mean `off_for_s`, and so on; and only within its hours. Training goes on while it is off.

Besides, the coordinator may tell a worker that has nothing open to stay away for a while.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from settings.hours import Hours
from worker.events import Rng

_MINUTES_PER_DAY = 24 * 60
_LOOK_AGAIN_S = 900.0  # the wall clock may be set, or leave summer time


@dataclass(frozen=True, slots=True)
class Availability:
    """The settings of it.

    Attributes:
        on_for_s: Mean of the time on.
        off_for_s: Mean of the time off; if either is 0 the worker is always on.
        hours: The hours of the day; None for all.
    """

    on_for_s: float = 0.0
    off_for_s: float = 0.0
    hours: Hours | None = None


@dataclass(frozen=True, slots=True)
class Spell:
    """A time on or off."""

    on: bool
    until: float


def begin(availability: Availability, now: float, rng: Rng) -> Spell:
    """The first spell, on or off as it would be found at any moment."""
    on_s, off_s = availability.on_for_s, availability.off_for_s
    if on_s <= 0 or off_s <= 0:
        return Spell(True, math.inf)
    on = rng.random() * (on_s + off_s) < on_s
    return Spell(on, now + _drawn(on_s if on else off_s, rng))


def advance(availability: Availability, spell: Spell, now: float, rng: Rng) -> Spell:
    """The spell that `now` is in."""
    while spell.until <= now:
        mean_s = availability.off_for_s if spell.on else availability.on_for_s
        spell = Spell(not spell.on, spell.until + _drawn(mean_s, rng))
    return spell


def away_until(away_s: float, now: float, rng: Rng) -> float:
    """When to come back if told to be away for so long.

    Within a tenth of it: those who were told the same must not come back together.
    """
    return now + away_s * (0.9 + 0.2 * rng.random())


def is_open(availability: Availability, minute: float) -> bool:
    """Whether the hours allow it at a minute of the day, 0 to 1440."""
    return availability.hours is None or availability.hours.includes(int(minute))


def look_again_s(availability: Availability, minute: float) -> float:
    """How long the hours give the same answer, as far as that can be known."""
    hours = availability.hours
    if hours is None:
        return math.inf
    edge = hours.end_min if hours.includes(int(minute)) else hours.start_min
    left_s = ((edge - minute) % _MINUTES_PER_DAY) * 60.0
    return min(left_s + 0.5, _LOOK_AGAIN_S)


def _drawn(mean_s: float, rng: Rng) -> float:
    # At least a little, or a mean of nearly nothing would make a busy loop.
    return max(0.01, -mean_s * math.log(1.0 - rng.random()))
