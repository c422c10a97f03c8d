"""What a worker declares of itself, and what a run requires of it. Pure.

What is required must be known of a worker, but for the battery: a device that reports none has none
to run down.
"""

from __future__ import annotations

from dataclasses import dataclass

from settings.duration import format_duration
from settings.hours import Hours

MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Traits:
    """What a worker last declared.

    Attributes:
        examples: How many examples it has, 0 if it does not say.
        battery: Its charge, 0 to 1; negative if it has none or does not say.
        metered: Its network is paid for by the byte.
        offset: Minutes, 0 to 1439, by which its clock is ahead of UTC's minute of the day; -1 if it
            does not say.
        hours: When it may connect, of its own day; None at any time.
    """

    examples: int = 0
    capabilities: frozenset[str] = frozenset()
    battery: float = -1.0
    metered: bool = False
    offset: int = -1
    hours: Hours | None = None


@dataclass(frozen=True, slots=True)
class Required:
    """What a run requires of a worker; what stands here by default requires nothing.

    Attributes:
        min_examples: So many examples at least.
        capabilities: All of these.
        min_battery: A charge of at least so much, 0 to 1.
        unmetered: No network that is paid for by the byte.
        hours: Only in these hours of the worker's own day.
    """

    min_examples: int = 0
    capabilities: tuple[str, ...] = ()
    min_battery: float = 0.0
    unmetered: bool = False
    hours: Hours | None = None


NO_TRAITS = Traits()
NOTHING = Required()


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A requirement that a worker does not meet.

    Attributes:
        why: In words.
        until_s: After so many seconds it may; 0 if only the worker can change it.
    """

    why: str
    until_s: float = 0.0


def offset_of(local_minute: int, now: float) -> int:
    """By how many minutes a clock is ahead of UTC that shows `local_minute` now; -1 if that is."""
    return -1 if local_minute < 0 else (local_minute - int(now // 60)) % MINUTES


def local_minute(offset: int, now: float) -> int:
    """What a clock shows that is so far ahead of UTC; -1 if that is not known."""
    return -1 if offset < 0 else (int(now // 60) + offset) % MINUTES


def shortfall(traits: Traits, required: Required, now: float) -> Shortfall | None:
    """The first requirement that a worker does not meet, None if it meets them all."""
    if traits.examples < required.min_examples:
        has = f"it has {traits.examples}" if traits.examples else "it does not say how many it has"
        return Shortfall(f"{required.min_examples} examples are required, {has}")
    missing = [name for name in required.capabilities if name not in traits.capabilities]
    if missing:
        return Shortfall(f"it lacks what is required: {', '.join(missing)}")
    if 0 <= traits.battery < required.min_battery:
        return Shortfall(
            f"its battery is at {traits.battery:.0%}, {required.min_battery:.0%} are required"
        )
    if required.unmetered and traits.metered:
        return Shortfall("its network is metered")
    return _out_of_hours(traits, required, now)


def _out_of_hours(traits: Traits, required: Required, now: float) -> Shortfall | None:
    if required.hours is None:
        return None
    minute = local_minute(traits.offset, now)
    if minute < 0:
        return Shortfall("it does not say what time of day it is there")
    wait_s = 60.0 * required.hours.minutes_until_open(minute)
    if not wait_s:
        return None
    wait_s -= now % 60
    return Shortfall(f"its time of day is {format_duration(wait_s)} before the hours", wait_s)
