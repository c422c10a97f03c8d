"""Bars as SVG, on a scale of powers of ten: what is compared differs by as much. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

Groups = Mapping[str, Mapping[str, float]]
"""Values above 0, by group and by whose they are."""

_COLOURS = ("#2563eb", "#9ca3af", "#d97706", "#059669", "#7c3aed", "#be185d")
_LABELS, _WIDTH, _BAR, _GAP, _TOP = 190, 520, 16, 14, 62


def bars(title: str, unit: str, groups: Groups) -> str:
    """A group of bars for each row, each bar with its value beside it.

    Raises:
        ValueError: There is nothing to draw.
    """
    values = [value for group in groups.values() for value in group.values()]
    if not values or min(values) <= 0:
        raise ValueError(f"expected values above 0 to draw, came {values}")
    lowest = math.floor(math.log10(min(values)))
    highest = max(math.ceil(math.log10(max(values))), lowest + 1)
    whose = list(dict.fromkeys(name for group in groups.values() for name in group))
    drawn, y = list[str](), _TOP
    for label, group in groups.items():
        middle = y + _BAR * len(group) / 2 + 4
        drawn.append(
            f'<text x="{_LABELS - 8}" y="{middle:.0f}" text-anchor="end">{escape(label)}</text>'
        )
        for name, value in group.items():
            share = (math.log10(value) - lowest) / (highest - lowest)
            drawn.append(_bar(y, share * _WIDTH, whose.index(name), shown(value)))
            y += _BAR
        y += _GAP
    behind = _head(title, unit, whose) + _axis(lowest, highest, y)
    width, height = _LABELS + _WIDTH + 80, y + 34
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{behind}{"".join(drawn)}</svg>\n'
    )


def shown(value: float) -> str:
    """A value with as many digits as say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.1f}"


def _head(title: str, unit: str, whose: list[str]) -> str:
    parts = [f'<text x="10" y="20" font-weight="bold">{escape(title)} ({escape(unit)})</text>']
    x = _LABELS
    for place, name in enumerate(whose):
        parts.append(
            f'<rect x="{x}" y="34" width="11" height="11" fill="{_colour(place)}"/>'
            f'<text x="{x + 16}" y="44">{escape(name)}</text>'
        )
        x += 34 + 7 * len(name)
    return "".join(parts)


def _bar(y: float, length: float, place: int, value: str) -> str:
    return (
        f'<rect x="{_LABELS}" y="{y}" width="{max(length, 1):.1f}" height="{_BAR - 2}" '
        f'fill="{_colour(place)}"/>'
        f'<text x="{_LABELS + length + 5:.1f}" y="{y + _BAR - 5}" font-size="11">{value}</text>'
    )


def _axis(lowest: int, highest: int, y: float) -> str:
    parts = []
    for power in range(lowest, highest + 1):
        x = _LABELS + _WIDTH * (power - lowest) / (highest - lowest)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{y}" stroke="#e5e7eb"/>'
            f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle">{_power(power)}</text>'
        )
    return "".join(parts)


def _power(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:.{-power}f}"


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]
