"""What happened in a simulation, counted as it happens. Pure."""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from coordinator.events import CloseReason, RecordVerdict, Verdict

NOT_COUNTED = -1
_LINE = struct.Struct("<dBqq")
_LINES_TOGETHER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation of a version.

    Attributes:
        at: The virtual time at which the version was made.
        updates: How many had been counted by then.
    """

    at: float
    version: int
    updates: int
    metrics: Mapping[str, float]


class Tally:
    """Counts, and a digest of the whole history.

    Attributes:
        taken: Tasks that a worker took; each is answered, dropped, left or in flight.
        arrived: Updates.
        dropped: Tasks that a worker dropped.
        left: Tasks of workers that have left for good.
        staleness: Of each update that arrived, `NOT_COUNTED` if it was not counted.
        version_at: When each version was made, from version 0 on.
        arrived_by: How many updates had arrived when each version was made.
        closed: Why rounds closed.
        extended: How many deadlines passed without quorum.
        paused: How often the run was paused.
        measured: The evaluations.
    """

    def __init__(self) -> None:
        self.taken = self.arrived = self.dropped = self.left = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.staleness = array("i")
        self.version_at = array("d")
        self.arrived_by = array("q")
        self.closed: Counter[CloseReason] = Counter()
        self.extended = 0
        self.paused = 0
        self.measured: list[Measured] = []
        self._history = hashlib.sha256()
        self._lines = bytearray()

    @property
    def counted(self) -> int:
        """How many updates were counted."""
        return self.verdicts["counted"]

    @property
    def digest(self) -> str:
        """The digest of all that happened up to now, with its times."""
        history = self._history.copy()
        history.update(self._lines)
        return history.hexdigest()

    def note_taken(self, worker: int, version: int, now: float) -> None:
        """A worker took a task."""
        self.taken += 1
        self._note(0, worker, version, now)

    def note_verdict(self, worker: int, verdict: RecordVerdict, now: float) -> None:
        """An update arrived."""
        self.arrived += 1
        self.verdicts[verdict.verdict] += 1
        counted = verdict.verdict == "counted"
        self.staleness.append(verdict.staleness if counted else NOT_COUNTED)
        self._note(1, worker, verdict.staleness if counted else NOT_COUNTED, now)

    def note_dropped(self, worker: int, version: int, now: float) -> None:
        """A worker dropped its task."""
        self.dropped += 1
        self._note(2, worker, version, now)

    def note_left(self, worker: int, version: int, now: float) -> None:
        """A worker with a task has left for good."""
        self.left += 1
        self._note(3, worker, version, now)

    def note_version(self, version: int, now: float) -> None:
        """A version was made."""
        self.version_at.append(now)
        self.arrived_by.append(self.arrived)
        self._note(4, version, self.counted, now)

    def _note(self, kind: int, one: int, other: int, now: float) -> None:
        self._lines += _LINE.pack(now, kind, one, other)
        if len(self._lines) > _LINES_TOGETHER:
            self._history.update(self._lines)
            self._lines.clear()
