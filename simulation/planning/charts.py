"""Charts of reports: lines of blocks for a terminal, and an SVG with all policies in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from simulation.planning.report import Bar, Report

_BLOCKS = " ▁▂▃▄▅▆▇█"
_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4b5563")
_WIDTH, _HEIGHT, _GAP, _TOP = 420, 240, 64, 40
_TICKS = 5

Points = Sequence[tuple[float, float]]


def blocks(values: Sequence[float], highest: float) -> str:
    """Values from 0 to `highest` as one character each."""
    top = len(_BLOCKS) - 1
    if highest <= 0:
        return _BLOCKS[0] * len(values)
    # What is there at all is to be seen.
    heights = [max(round(top * value / highest), 1) if value > 0 else 0 for value in values]
    return "".join(_BLOCKS[min(height, top)] for height in heights)


def curve_blocks(report: Report, until: float, width: int) -> str:
    """Accuracy over time, from 0 to `until`, as a line of blocks; "" if there is none."""
    points = curve_of(report)
    if not points or until <= 0:
        return ""
    values, last, place = [], 0.0, 0
    for column in range(width):
        end = until * (column + 1) / width
        while place < len(points) and points[place][0] <= end:
            last = points[place][1]
            place += 1
        over = end - until / width >= report.virtual_s
        values.append(0.0 if over else last)
    return blocks(values, 1.0).rstrip()


def curve_of(report: Report) -> list[tuple[float, float]]:
    """(virtual seconds, accuracy) of each evaluation."""
    return [(at.at, at.metrics["accuracy"]) for at in report.curve if "accuracy" in at.metrics]


def bar_blocks(bars: Sequence[Bar]) -> str:
    """A histogram as a line of blocks."""
    return blocks([bar.count for bar in bars], max((bar.count for bar in bars), default=0))


def svg_of(reports: Mapping[str, Report]) -> str:
    """All policies in four panels: accuracy, staleness, verdicts, participation."""
    panels = [
        _accuracy(reports),
        _histogram(reports, "staleness of counted updates (versions)", "by_staleness"),
        _verdicts(reports),
        _histogram(reports, "counted updates of a worker", "by_participation"),
    ]
    legend = "".join(
        f'<rect x="{_GAP + 180 * place}" y="10" width="12" height="12" fill="{_colour(place)}"/>'
        f'<text x="{_GAP + 180 * place + 18}" y="21">{escape(label)}</text>'
        for place, label in enumerate(reports)
    )
    step_x, step_y = _WIDTH + _GAP, _HEIGHT + _GAP + _TOP
    corners = [
        (_GAP + column * step_x, _TOP + 20 + row * step_y)
        for row in range(2)
        for column in range(2)
    ]
    placed = "".join(
        f'<g transform="translate({x},{y})">{panel}</g>'
        for (x, y), panel in zip(corners, panels, strict=True)
    )
    width = max(2 * step_x + _GAP, _GAP + 180 * len(reports))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {2 * step_y + _TOP}" '
        'font-family="system-ui, sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{legend}{placed}</svg>\n'
    )


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _accuracy(reports: Mapping[str, Report]) -> str:
    until = max((report.virtual_s for report in reports.values()), default=0.0) or 1.0
    unit, seconds = _unit(until)
    lines = []
    for place, report in enumerate(reports.values()):
        points = " ".join(
            f"{_WIDTH * at / until:.1f},{_HEIGHT * (1 - value):.1f}"
            for at, value in curve_of(report)
        )
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{_colour(place)}" stroke-width="2"/>'
        )
    if not any(curve_of(report) for report in reports.values()):
        middle = f'x="{_WIDTH / 2}" y="{_HEIGHT / 2}" text-anchor="middle"'
        lines.append(f"<text {middle}>nothing was evaluated</text>")
    return _frame(f"accuracy over time ({unit})", until / seconds, 1.0) + "".join(lines)


def _histogram(reports: Mapping[str, Report], title: str, which: str) -> str:
    found: dict[str, list[Bar]] = {label: getattr(each, which) for label, each in reports.items()}
    widest = max((bars[-1].high for bars in found.values() if bars), default=1.0)
    shares = {
        label: [bar.count / sum(each.count for each in bars) / (bar.high - bar.low) for bar in bars]
        for label, bars in found.items()
    }
    highest = max((max(each, default=0.0) for each in shares.values()), default=0.0) or 1.0
    lines = []
    for place, (label, bars) in enumerate(found.items()):
        points = " ".join(
            f"{_WIDTH * edge / widest:.1f},{_HEIGHT * (1 - share / highest):.1f}"
            for bar, share in zip(bars, shares[label], strict=True)
            for edge in (bar.low, bar.high)
        )
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{_colour(place)}" stroke-width="2"/>'
        )
    return _frame(f"{title}, share", widest, highest) + "".join(lines)


def _verdicts(reports: Mapping[str, Report]) -> str:
    names = sorted({name for report in reports.values() for name in report.verdicts})
    highest = max((max(each.verdicts.values(), default=0) for each in reports.values()), default=1)
    drawn = [_frame("updates by verdict", None, float(highest or 1))]
    group = _WIDTH / max(len(names), 1)
    bar = 0.8 * group / max(len(reports), 1)
    for place, name in enumerate(names):
        middle = group * (place + 0.5)
        drawn.append(
            f'<text x="{middle:.1f}" y="{_HEIGHT + 18}" text-anchor="middle">{escape(name)}</text>'
        )
        for which, report in enumerate(reports.values()):
            height = _HEIGHT * report.verdicts.get(name, 0) / (highest or 1)
            x = group * place + 0.1 * group + bar * which
            drawn.append(
                f'<rect x="{x:.1f}" y="{_HEIGHT - height:.1f}" width="{bar:.1f}" '
                f'height="{height:.1f}" fill="{_colour(which)}"/>'
            )
    return "".join(drawn)


def _frame(title: str, widest: float | None, highest: float) -> str:
    """Title, axes and their numbers; None: the panel says itself what is below."""
    parts = [f'<text x="0" y="-10" font-weight="bold">{escape(title)}</text>']
    for tick in range(_TICKS + 1):
        y, value = _HEIGHT * (1 - tick / _TICKS), _number(highest * tick / _TICKS)
        parts.append(
            f'<line x1="0" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>'
            f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
        )
        if widest is not None:
            x = _WIDTH * tick / _TICKS
            parts.append(
                f'<text x="{x:.1f}" y="{_HEIGHT + 18}" text-anchor="middle">'
                f"{_number(widest * tick / _TICKS)}</text>"
            )
    return "".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _unit(seconds: float) -> tuple[str, float]:
    """The unit that a span is best told in, and its seconds."""
    for name, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 3 * size:
            return name, size
    return "seconds", 1.0
