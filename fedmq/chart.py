"""A run as one HTML page: accuracy per version as a line, and updates by verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 720, 320, 48

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; }}
svg {{ width: 100%; height: auto; }}
td, th {{ text-align: left; padding: 0.1rem 1.5rem 0.1rem 0; }}
td:last-child {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style>
<h1>{title}</h1>
<p>{summary}</p>
{chart}
<h2>Updates by verdict</h2>
<table>{rows}</table>
</html>
"""


def page(
    title: str,
    summary: str,
    accuracy: Sequence[tuple[int, float]],
    updates: Mapping[str, int],
) -> str:
    """The page.

    Args:
        title: The page's.
        summary: One sentence below it.
        accuracy: (version, accuracy in [0, 1]) of each version that was evaluated, ascending.
        updates: Verdict to count.
    """
    rows = "".join(f"<tr><td>{escape(name)}<td>{count}</tr>" for name, count in updates.items())
    return _PAGE.format(
        title=escape(title), summary=escape(summary), chart=chart(accuracy), rows=rows
    )


def chart(accuracy: Sequence[tuple[int, float]]) -> str:
    """Accuracy over versions as an SVG element; says so if there is none."""
    if not accuracy:
        return "<p>No version was evaluated.</p>"
    last = max(version for version, _ in accuracy) or 1
    points = [(_x(version, last), _y(value)) for version, value in accuracy]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>version {version}: {value:.4f}</title>'
        "</circle>"
        for (x, y), (version, value) in zip(points, accuracy, strict=True)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="accuracy per version">'
        f"{_grid(last)}"
        f'<polyline points="{line}" fill="none" stroke="#2563eb" stroke-width="2"/>'
        f'<g fill="#2563eb">{dots}</g></svg>'
    )


def _x(version: int, last: int) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * version / last


def _y(value: float) -> float:
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value


def _grid(last: int) -> str:
    lines = []
    for tenths in range(0, 11, 2):
        y = _y(tenths / 10)
        lines.append(
            f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" stroke="#e5e7eb"/>'
            f'<text x="{MARGIN - 8}" y="{y + 4}" text-anchor="end" font-size="12">'
            f"{tenths / 10:.1f}</text>"
        )
    step = max(1, last // 10)
    for version in range(0, last + 1, step):
        x = _x(version, last)
        lines.append(
            f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 20}" text-anchor="middle" font-size="12">'
            f"{version}</text>"
        )
    lines.append(
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle" font-size="12">'
        "model version</text>"
        f'<text x="{MARGIN}" y="{MARGIN - 16}" font-size="12">accuracy on the hold-out</text>'
    )
    return "".join(lines)
