"""The hours of the day in which a worker may connect: "22:00-06:00" of its local time."""

import re
from typing import NamedTuple

_HOURS = re.compile(
    r"(?P<h1>[01]\d|2[0-3]):(?P<m1>[0-5]\d)-(?P<h2>[01]\d|2[0-3]):(?P<m2>[0-5]\d)", re.ASCII
)
_MINUTES_PER_DAY = 24 * 60


class Hours(NamedTuple):
    """A span of the day that comes back every day; it may go past midnight.

    Attributes:
        start_min: First minute that belongs to it, counted from midnight, 0 to 1439.
        end_min: First minute that no longer does, never equal to `start_min`.
    """

    start_min: int
    end_min: int

    def includes(self, minute: int) -> bool:
        """Say whether a minute of the day (0 to 1439) belongs to the span."""
        if self.start_min < self.end_min:
            return self.start_min <= minute < self.end_min
        return minute >= self.start_min or minute < self.end_min

    def minutes_until_open(self, minute: int) -> int:
        """Tell how long it is from a minute of the day to the span; 0 inside it."""
        return 0 if self.includes(minute) else (self.start_min - minute) % _MINUTES_PER_DAY


def parse_hours(text: str) -> Hours | None:
    """Read a span of hours.

    Args:
        text: "HH:MM-HH:MM" on a 24 hour clock, or empty.

    Returns:
        The span, or None for an empty text: at any time.

    Raises:
        ValueError: It is neither, or it begins and ends at the same minute.
    """
    if not text:
        return None
    found = _HOURS.fullmatch(text)
    if found is None:
        raise ValueError("not a span of hours")
    start_min = int(found["h1"]) * 60 + int(found["m1"])
    end_min = int(found["h2"]) * 60 + int(found["m2"])
    if start_min == end_min:
        raise ValueError("the span is empty")
    return Hours(start_min, end_min)
