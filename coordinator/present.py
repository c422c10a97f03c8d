"""Who is there, as far as can be told: for the status line, and to tell workers of changes.

Best effort by design: an answer that does not arrive is asked for again by the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.transport import AnswerTo
from schemas.messages import Presence

REMEMBERED_MAX = 10_000  # workers told of changes; the longest unheard give way


@dataclass(slots=True)
class _Present:
    to: AnswerTo | None
    presence: Presence
    seen_at: float
    waiting: bool


class PresentWorkers:
    """Workers heard of lately, and those that were and have gone."""

    def __init__(self) -> None:
        self._workers: dict[str, _Present] = {}
        self._gone: dict[str, None] = {}

    def see(self, presence: Presence, to: AnswerTo | None, waiting: bool, now: float) -> None:
        """A worker said that it is there; `waiting` if it was told that it may not take a task."""
        self._workers.pop(presence.worker_id, None)
        self._gone.pop(presence.worker_id, None)
        if presence.leaving:
            self._gone[presence.worker_id] = None
            if len(self._gone) > REMEMBERED_MAX:
                del self._gone[next(iter(self._gone))]
            return
        self._workers[presence.worker_id] = _Present(to, presence, now, waiting)
        if len(self._workers) > REMEMBERED_MAX:
            del self._workers[next(iter(self._workers))]

    def last_said(self, worker_id: str) -> Presence | None:
        """What a worker last said of itself, None if that is not remembered."""
        known = self._workers.get(worker_id)
        return None if known is None else known.presence

    def forget_addresses(self) -> None:
        """After a reconnect nobody is where they were."""
        for worker in self._workers.values():
            worker.to = None

    def waiting(self, held: Callable[[Presence], bool]) -> list[tuple[AnswerTo, Presence]]:
        """Those to tell that they may take a task, but who is held; they are not told twice."""
        told = []
        for worker in self._workers.values():
            if worker.waiting and worker.to is not None and not held(worker.presence):
                worker.waiting = False
                told.append((worker.to, worker.presence))
        return told

    def everyone(self) -> list[tuple[AnswerTo, Presence]]:
        """Those to tell that the run is over."""
        return [(w.to, w.presence) for w in self._workers.values() if w.to is not None]

    def online(self, now: float, within_s: float) -> int:
        """How many were heard of within the last seconds."""
        return sum(now - worker.seen_at <= within_s for worker in self._workers.values())

    def offline(self, now: float, within_s: float, most: int) -> tuple[str, ...]:
        """The ids of those that left or were not heard of for so long, the first by name."""
        silent = (n for n, worker in self._workers.items() if now - worker.seen_at > within_s)
        return tuple(sorted([*silent, *self._gone])[:most])
