"""What a worker tells about itself while it runs, and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Tally:
    """Counts since the start."""

    trained: int = 0
    evaluated: int = 0
    sent: int = 0
    declined: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker as it is now.

    Attributes:
        doing: "idle", "waiting", "keeping", "taking", "fetching", "ready", "training" or
            "declining"; "full" where the disk takes no task.
        online: The broker is reached.
        task_id: The task in hand, "" if none.
        version: The newest model version trained on, -1 if none.
        trained: Trainings finished since the start.
        evaluated: Evaluations finished since the start.
        sent: Updates that reached the broker since the start.
        declined: Tasks given up since the start.
        open_updates: Updates in the outbox.
        verdicts: How often each verdict was heard since the start.
        exit_code: None while it runs.
        reason: Why it ended.
    """

    worker_id: str
    doing: str = "idle"
    online: bool = False
    task_id: str = ""
    run_id: str = ""
    version: int = -1
    trained: int = 0
    evaluated: int = 0
    sent: int = 0
    declined: int = 0
    open_updates: int = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)
    exit_code: int | None = None
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "worker": self.worker_id,
            "trained": self.trained,
            "evaluated": self.evaluated,
            "sent": self.sent,
            "declined": self.declined,
            "outbox": self.open_updates,
            "verdicts": dict(self.verdicts),
            "run": self.run_id,
            "version": self.version,
            "exit_code": self.exit_code,
            "reason": self.reason,
        }
