"""What `fedmq simulate` shows: how it goes, a table, and charts."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from coordinator.display import updates_of
from simulation.planning.charts import bar_blocks, curve_blocks, svg_of
from simulation.planning.experiment import Limits
from simulation.planning.fleet import Fleet
from simulation.planning.report import Report
from simulation.planning.summary import Summary

CURVE_COLUMNS = 48
LOOK_EVERY_S = 0.2
_ENDED = {
    "target": "target reached",
    "time": "time was over",
    "rounds": "rounds were over",
    "stopped": "stopped",
}


class Watch:
    """Shows on stderr how far it is: a bar in a terminal, else a line when one is done.

    Args:
        count: How many simulations there will be.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._label = ""
        self._looked_at = 0.0
        self._bar: Any = None
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0,
                file=sys.stderr,
                leave=False,
                bar_format="{desc} {percentage:3.0f} %|{bar}| {postfix}",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, label: str, seed: int, limits: Limits) -> None:
        """A simulation begins."""
        self._label = f"{label}, seed {seed}"
        self._limits = limits
        if self._bar is not None:
            self._bar.reset(total=limits.until)
            self._bar.set_description_str(f"[{self._done + 1}/{self._count}] {self._label}")

    def look(self, fleet: Fleet) -> None:
        """A version was made."""
        now = time.monotonic()
        if self._bar is None or now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        measured = fleet.tally.measured
        accuracy = measured[-1].metrics.get("accuracy") if measured else None
        shown = "" if accuracy is None else f", accuracy {accuracy:.3f}"
        self._bar.n = min(fleet.now, self._limits.until)
        self._bar.set_postfix_str(
            f"version {fleet.models.version}, {fleet.tally.arrived} updates{shown}", refresh=False
        )
        self._bar.refresh()

    def end(self, report: Report) -> Report:
        """A simulation is done."""
        self._done += 1
        if self._bar is None and sys.stderr is not None:
            with suppress(OSError):
                line = f"[{self._done}/{self._count}] {self._label}: {said_of(report)}"
                print(line, file=sys.stderr, flush=True)
        return report


def said_of(report: Report) -> str:
    """A report in one line."""
    accuracy = "" if report.accuracy is None else f", accuracy {report.accuracy:.4f}"
    return (
        f"{_ENDED[report.ended]} after {span(report.virtual_s)}, version {report.versions}, "
        f"{updates_of(report.verdicts)}{accuracy}"
    )


def span(seconds: float | None) -> str:
    """A virtual duration for people, with three digits or so."""
    if seconds is None:
        return "never"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


Cell = Callable[[Summary], str]


def table_of(summaries: Mapping[str, Summary]) -> str:
    """A table with a row for each policy, and charts below it."""
    some = next(iter(summaries.values())).first
    columns = _columns(some.target)
    rows = [["policy", *(head for head, _ in columns)]]
    rows += [[label, *(cell(each) for _, cell in columns)] for label, each in summaries.items()]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ["  ".join(_padded(row, widths)).rstrip() for row in rows]
    return "\n".join([_head(some, summaries), "", *lines, *_charts(summaries)])


def _padded(row: list[str], widths: list[int]) -> list[str]:
    first, *others = row
    padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return [first.ljust(widths[0]), *padded]


def _head(report: Report, summaries: Mapping[str, Summary]) -> str:
    seeds = max(len(summary.reports) for summary in summaries.values())
    means = "" if seeds == 1 else f"; means of {seeds} seeds"
    return f"{report.workers} workers, devices {report.devices}{means}"


def _columns(target: float | None) -> list[tuple[str, Cell]]:
    columns: list[tuple[str, Cell]] = []
    if target is not None:
        columns.append((f"time to {target:g}", lambda found: span(found.time_to_target_s)))
    return [
        *columns,
        ("accuracy", lambda found: _number(found.accuracy, ".4f")),
        ("goal/tasks", lambda found: _of(found.first)),
        ("deadline", lambda found: span(found.first.policy.deadline_s)),
        ("lease", lambda found: span(found.first.policy.lease_s)),
        ("virtual time", lambda found: span(found.first.virtual_s)),
        ("versions", lambda found: f"{found.versions:.0f}"),
        ("updates", lambda found: f"{found.updates:.0f}"),
        ("counted", lambda found: f"{_counted(found):.0%}"),
        ("staleness", lambda found: f"{found.mean_staleness:.2f}"),
        ("p95", lambda found: f"{found.first.staleness.p95:.0f}"),
        ("round", lambda found: span(found.round_s) if found.round_s else "-"),
        ("updates/min", lambda found: f"{60 * found.updates_per_s:.3g}"),
        ("Jain", lambda found: f"{found.jain:.2f}"),
    ]


def _of(report: Report) -> str:
    return f"{report.policy.goal}/{report.policy.concurrency}"


def _counted(summary: Summary) -> float:
    updates = sum(report.updates for report in summary.reports)
    return sum(report.counted for report in summary.reports) / updates if updates else 0.0


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _charts(summaries: Mapping[str, Summary]) -> list[str]:
    firsts = {label: summary.first for label, summary in summaries.items()}
    width = max(len(label) for label in firsts)
    until = max(report.virtual_s for report in firsts.values())
    lines = []
    curves = {label: curve_blocks(each, until, CURVE_COLUMNS) for label, each in firsts.items()}
    if any(curves.values()):
        lines += ["", f"accuracy, 0 to 1, over {span(until)}"]
        lines += [f"{label.ljust(width)}  {curves[label]}" for label in firsts]
    lines += ["", "staleness of counted updates, 0 to the most"]
    for label, report in firsts.items():
        lines.append(
            f"{label.ljust(width)}  {bar_blocks(report.by_staleness)}  "
            f"max {report.staleness.max:.0f}"
        )
    lines += ["", "workers by their counted updates, 0 to the most"]
    for label, report in firsts.items():
        most = int(report.by_participation[-1].high) - 1 if report.by_participation else 0
        lines.append(
            f"{label.ljust(width)}  {bar_blocks(report.by_participation)}  "
            f"up to {most}; {report.taking_part:.0%} took part"
        )
    short = [label for label, report in firsts.items() if not report.warm]
    over = [label for label, report in firsts.items() if report.ended == "rounds"]
    if over:
        lines += [
            "",
            f"Over with the last round (run.rounds), not with the time: {', '.join(over)}.",
        ]
    if short:
        lines += [
            "",
            f"Too short for means of a long run, so the beginning is in them: {', '.join(short)}.",
        ]
    return lines


def page_of(summaries: Mapping[str, Summary]) -> str:
    """The plots as one SVG."""
    return svg_of({label: summary.first for label, summary in summaries.items()})
