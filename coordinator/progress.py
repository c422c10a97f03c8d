"""How a run stands, for whoever looks on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """A look at a run.

    Attributes:
        state: "connecting", "collecting", "paused", "closed", "draining" or "ended".
        version: The current model version, `rounds` in the end.
        counted: Updates counted in the open round, of `goal`.
        updates: Verdict to count, over the whole run.
        online: Workers heard of lately.
        offline: Ids of workers that were there and are not now; the first of them by name.
        metrics: Of the newest version that was evaluated, `evaluated`.
    """

    run_id: str
    state: str
    version: int
    rounds: int
    counted: int
    goal: int
    open_tasks: int
    online: int
    updates: Mapping[str, int]
    evaluated: int = -1
    metrics: Mapping[str, float] = field(default_factory=dict)
    offline: tuple[str, ...] = ()
    note: str = ""


Observer = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """An observer that does not look."""
