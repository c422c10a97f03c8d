"""How many of a kind are kept, as people write it: a whole number, or "all".

parse_kept(format_kept(count)) == count
"""

import re

ALL = 2**63 - 1
"""More than there can ever be."""

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


def parse_kept(value: object) -> int:
    """Read how many are kept.

    Args:
        value: A whole number, as such or as text, or "all".

    Returns:
        The number, not negative; `ALL` for "all".

    Raises:
        ValueError: It is neither, or negative.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    text = value.strip() if isinstance(value, str) else ""
    if text == "all":
        return ALL
    if not _NUMBER.fullmatch(text):
        raise ValueError('neither a whole number nor "all"')
    return int(text)


def format_kept(count: int) -> str:
    """Write how many are kept."""
    return "all" if count == ALL else str(count)
