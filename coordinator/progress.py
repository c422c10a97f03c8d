"""How a run stands, for whoever looks on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)


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


class Sheltered:
    """An observer whose trouble is not that of the run it looks at.

    Where it shows things may be a full disk, or a pipe that nobody reads any more.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told = False

    def __call__(self, progress: Progress) -> None:
        """Let the observer look; that it cannot show what it saw is logged once."""
        try:
            self._observer(progress)
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            if not self._told:
                self._told = True
                _log.warning("how the run stands cannot be shown (%s); the run goes on", error)
