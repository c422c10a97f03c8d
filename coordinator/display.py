"""Showing how a run goes: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Protocol, Self, TextIO

from coordinator.progress import Progress

if TYPE_CHECKING:
    from tqdm import tqdm


class Display(AbstractContextManager["Display"], Protocol):
    """Something that shows progress while it is entered."""

    def show(self, progress: Progress) -> None:
        """Show how the run stands."""
        ...


def display_for(stream: TextIO | None) -> Display:
    """The live view if the stream is a terminal, plain lines if not; None was closed: neither."""
    if stream is not None and stream.isatty():
        return LiveDisplay(stream)
    return PlainDisplay(stream)


class PlainDisplay:
    """One line for each new version and each change of state."""

    def __init__(self, stream: TextIO | None = sys.stdout) -> None:
        self._stream = stream
        self._last = ("", -1, -1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def show(self, progress: Progress) -> None:
        """Print a line if there is something new to say."""
        key = (progress.state, progress.version, progress.evaluated)
        if key != self._last and progress.state != "closed":
            self._last = key
            print(line_of(progress), file=self._stream, flush=True)


class LiveDisplay:
    """Two bars and two lines, drawn again in place."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._bars: list[tqdm[NoReturn]] = []

    def __enter__(self) -> Self:
        from tqdm import tqdm

        forms = (
            "rounds   {bar:30} {n_fmt}/{total_fmt}  {desc}",
            "updates  {bar:30} {n_fmt}/{total_fmt}  {desc}",
            "         {desc}",
            "offline  {desc}",
        )
        self._bars = [
            tqdm(total=1, position=place, file=self._stream, bar_format=form, leave=True)
            for place, form in enumerate(forms)
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for bar in self._bars:
            with contextlib.suppress(OSError):  # the terminal is gone
                bar.close()

    def show(self, progress: Progress) -> None:
        """Draw the view again."""
        note = f" ({progress.note})" if progress.note else ""
        about = metrics_of(progress.metrics, progress.evaluated)
        offline = ", ".join(progress.offline) or "nobody"
        self._draw(0, f"{progress.state}{note}", progress.version, progress.rounds)
        tasks = f"{progress.online} workers online, {progress.open_tasks} tasks in flight"
        self._draw(1, tasks, progress.counted, progress.goal)
        self._draw(2, "  ".join([*about, updates_of(progress.updates)]))
        self._draw(3, offline)

    def _draw(self, place: int, text: str, done: int = 0, total: int = 1) -> None:
        bar = self._bars[place]
        bar.total, bar.n = total, min(done, total)
        bar.set_description_str(text, refresh=False)
        bar.refresh()


def line_of(progress: Progress) -> str:
    """How a run stands, in one line."""
    parts = [f"round {min(progress.version + 1, progress.rounds)}/{progress.rounds}"]
    parts.append(progress.state + (f" ({progress.note})" if progress.note else ""))
    if progress.state == "collecting":
        parts.append(f"{progress.counted}/{progress.goal} updates")
    away = f", {len(progress.offline)} offline" if progress.offline else ""
    parts.append(f"{progress.online} online{away}")
    parts.extend(metrics_of(progress.metrics, progress.evaluated))
    if progress.updates:
        parts.append(updates_of(progress.updates))
    return " | ".join(parts)


def metrics_of(metrics: Mapping[str, float], version: int) -> list[str]:
    """Accuracy and loss of a version, in words; nothing if it was not evaluated."""
    shown = [f"{name} {metrics[name]:.4f}" for name in ("accuracy", "loss") if name in metrics]
    return [f"version {version}: {', '.join(shown)}"] if shown else []


def updates_of(updates: Mapping[str, int]) -> str:
    """Verdicts and their counts, in words."""
    return "updates: " + (", ".join(f"{n} {verdict}" for verdict, n in updates.items()) or "none")
