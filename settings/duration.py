"""Durations as people write them: "250ms", "30s", "10m", "2h", "2d".

parse_duration(format_duration(seconds)) == seconds
"""

import math
import re

SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d|)", re.ASCII)
_MS_PER_S = 1000


def parse_duration(value: object) -> float:
    """Read a duration.

    Args:
        value: A number with one of the units ms, s, m, h, d ("1.5h"), or a number of seconds.

    Returns:
        Seconds, finite and not negative.

    Raises:
        ValueError: It is neither, or it is negative or not finite.
    """
    if isinstance(value, str):
        seconds = _parse_text(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    else:
        raise ValueError("not a duration")
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("a duration is finite and not negative")
    return seconds


def format_duration(seconds: float) -> str:
    """Write a duration in the largest unit that says it in a whole number.

    Args:
        seconds: Finite and not negative.

    Returns:
        For example "250ms", "90s", "10m"; `parse_duration` gives the very same number back.
    """
    if seconds == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        count = seconds // SECONDS_PER_UNIT[unit]
        if count * SECONDS_PER_UNIT[unit] == seconds:
            return f"{int(count)}{unit}"
    milliseconds = round(seconds * _MS_PER_S)
    if milliseconds / _MS_PER_S == seconds:
        return f"{milliseconds}ms"
    return f"{_without_exponent(seconds)}s"


def _parse_text(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError("not a duration")
    number, unit = float(found["number"]), found["unit"] or "s"
    # Divided, not multiplied: 0.001 is not exact, and "250ms" shall be 0.25.
    return number / _MS_PER_S if unit == "ms" else number * SECONDS_PER_UNIT[unit]


def _without_exponent(number: float) -> str:
    text = repr(number)
    if "e" not in text:
        return text
    digits, _, exponent = text.partition("e-")
    return f"0.{'0' * (int(exponent) - 1)}{digits.replace('.', '')}"
