"""Sizes in bytes as people write them: "64KiB", "4MiB", "2GiB", "500MB".

parse_size(format_size(count)) == count
"""

import re

BYTES_PER_UNIT = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}

_SIZE = re.compile(r"(?P<number>\d{1,20})\s*(?P<unit>[kKMGT]?i?B|)", re.ASCII)


def parse_size(value: object) -> int:
    """Read a size.

    Args:
        value: A whole number with a unit ("4MiB", "500MB"), or a whole number of bytes.

    Returns:
        Bytes, not negative.

    Raises:
        ValueError: It is neither, or it is negative.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a size is not negative")
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    unit = (found["unit"] or "B") if found else ""
    if found is None or unit not in BYTES_PER_UNIT:
        raise ValueError("not a size")
    return int(found["number"]) * BYTES_PER_UNIT[unit]


def format_size(count: int) -> str:
    """Write a size in the largest binary unit that says it in a whole number.

    Args:
        count: Bytes, not negative.
    """
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count and count % BYTES_PER_UNIT[unit] == 0:
            return f"{count // BYTES_PER_UNIT[unit]}{unit}"
    return f"{count}B"
