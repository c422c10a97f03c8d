"""What a worker declares, out of its message and out of the store. Pure."""

from __future__ import annotations

from coordinator.eligibility import MINUTES, Required, Traits, offset_of
from coordinator.records import WorkerRow
from coordinator.registry import CAPABILITIES_MAX
from schemas.messages import Presence
from settings.hours import Hours, parse_hours
from settings.selection import SelectionSettings


def required_by(settings: SelectionSettings) -> Required:
    """What settings require of a worker."""
    return Required(
        min_examples=settings.min_examples,
        capabilities=settings.required_capabilities,
        min_battery=settings.min_battery,
        unmetered=settings.unmetered,
        hours=settings.required_hours,
    )


def declared_by(presence: Presence, now: float) -> Traits:
    """What a worker declares; what cannot be is as if it had not been said."""
    minute = presence.local_minute if presence.local_minute < MINUTES else -1
    return Traits(
        examples=presence.examples,
        capabilities=frozenset(presence.capabilities[:CAPABILITIES_MAX]),
        battery=min(presence.battery, 1.0) if presence.battery >= 0 else -1.0,
        metered=presence.metered,
        offset=offset_of(minute, now),
        hours=hours_of(presence.hours),
    )


def traits_of(row: WorkerRow) -> Traits:
    """What a worker declared when it was last seen."""
    return Traits(
        examples=row.examples,
        capabilities=frozenset(row.capabilities.split()),
        battery=row.battery,
        metered=row.metered,
        offset=row.clock_offset,
        hours=hours_of(row.hours),
    )


def hours_of(text: str) -> Hours | None:
    """A span of hours that a worker wrote; what cannot be read is none."""
    try:
        return parse_hours(text)
    except ValueError:
        return None
