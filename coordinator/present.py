"""Who is there, as far as can be told: for the status line, and to tell workers of changes.

Best effort by design: an answer that does not arrive is asked for again by the worker.

Rules: how many are there is asked after each transaction, so it takes no time that grows with their
number: workers are kept in the order in which they were heard of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import nsmallest

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
    """Workers heard of lately, and those that were and have gone.

    Args:
        shown: Of how many that have gone the names are told.
    """

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self._lately: dict[str, _Present] = {}  # the longest unheard first
        self._silent: dict[str, _Present] = {}  # for longer than was asked for last; likewise
        self._gone: dict[str, None] = {}
        self._within_s = 0.0
        self._names: tuple[str, ...] | None = ()  # of the silent and gone; None: not known now

    def see(self, presence: Presence, to: AnswerTo | None, waiting: bool, now: float) -> None:
        """A worker said that it is there; `waiting` if it was told that it may not take a task."""
        worker_id = presence.worker_id
        self._lately.pop(worker_id, None)
        if worker_id in self._silent or worker_id in self._gone or presence.leaving:
            self._silent.pop(worker_id, None)
            self._gone.pop(worker_id, None)
            self._names = None
        if presence.leaving:
            self._gone[worker_id] = None
            if len(self._gone) > REMEMBERED_MAX:
                del self._gone[next(iter(self._gone))]
            return
        self._lately[worker_id] = _Present(to, presence, now, waiting)
        if len(self._lately) + len(self._silent) > REMEMBERED_MAX:
            longest = self._silent or self._lately
            del longest[next(iter(longest))]
            self._names = None

    def last_said(self, worker_id: str) -> Presence | None:
        """What a worker last said of itself, None if that is not remembered."""
        known = self._lately.get(worker_id) or self._silent.get(worker_id)
        return None if known is None else known.presence

    def forget_addresses(self) -> None:
        """After a reconnect nobody is where they were."""
        for worker in self._all():
            worker.to = None

    def waiting(self, held: Callable[[Presence], bool]) -> list[tuple[AnswerTo, Presence]]:
        """Those to tell that they may take a task, but who is held; they are not told twice."""
        told = []
        for worker in self._all():
            if worker.waiting and worker.to is not None and not held(worker.presence):
                worker.waiting = False
                told.append((worker.to, worker.presence))
        return told

    def everyone(self) -> list[tuple[AnswerTo, Presence]]:
        """Those to tell that the run is over."""
        return [(w.to, w.presence) for w in self._all() if w.to is not None]

    def online(self, now: float, within_s: float) -> int:
        """How many were heard of within the last seconds."""
        self._look(now, within_s)
        return len(self._lately)

    def offline(self, now: float, within_s: float) -> tuple[str, ...]:
        """The ids of those that left or were not heard of for so long, the first by name."""
        self._look(now, within_s)
        if self._names is None:
            self._names = tuple(nsmallest(self._shown, (*self._silent, *self._gone)))
        return self._names

    def _all(self) -> list[_Present]:
        """Those that did not leave, the longest unheard first."""
        return [*self._silent.values(), *self._lately.values()]

    def _look(self, now: float, within_s: float) -> None:
        """Who was not heard of for so long is silent."""
        if within_s > self._within_s:  # it was set anew
            self._lately, self._silent = self._silent | self._lately, {}
            self._names = None
        self._within_s = within_s
        while self._lately:
            worker_id, worker = next(iter(self._lately.items()))
            if now - worker.seen_at <= within_s:
                return
            self._silent[worker_id] = self._lately.pop(worker_id)
            self._names = None
