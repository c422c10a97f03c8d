"""Showing how a run goes: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from coordinator.progress import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live


class Display(AbstractContextManager["Display"], Protocol):
    """Something that shows progress while it is entered."""

    def show(self, progress: Progress) -> None:
        """Show how the run stands."""
        ...


def display_for(stream: TextIO) -> Display:
    """The live view if the stream is a terminal, plain lines if not."""
    return LiveDisplay(stream) if stream.isatty() else PlainDisplay(stream)


class PlainDisplay:
    """One line for each new version and each change of state."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
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
    """A few lines that are drawn again in place."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream)
        self._live = Live(console=console, refresh_per_second=8)
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Draw the view again."""
        if self._live is not None:
            self._live.update(_view(progress))


def line_of(progress: Progress) -> str:
    """How a run stands, in one line."""
    parts = [f"round {min(progress.version + 1, progress.rounds)}/{progress.rounds}"]
    parts.append(progress.state + (f" ({progress.note})" if progress.note else ""))
    if progress.state == "collecting":
        parts.append(f"{progress.counted}/{progress.goal} updates")
    parts.append(f"{progress.online} online")
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


def _view(progress: Progress) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_row("run", f"{progress.run_id[:8]}  {progress.state}  {progress.note}")
    grid.add_row(
        "rounds",
        ProgressBar(progress.rounds, progress.version, width=40),
        f"{progress.version}/{progress.rounds}",
    )
    grid.add_row(
        "updates",
        ProgressBar(progress.goal, progress.counted, width=40),
        f"{progress.counted}/{progress.goal}",
    )
    grid.add_row("workers", f"{progress.online} online, {progress.open_tasks} tasks in flight")
    about = [*metrics_of(progress.metrics, progress.evaluated), updates_of(progress.updates)]
    return Group(grid, Text("  ".join(about)))
