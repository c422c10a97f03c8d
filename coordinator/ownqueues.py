"""The queues of single workers, declared when they are needed.

    when_there(worker) ─▶ provide ─▶ Provided ─▶ what waited for it is done
           ╰── known to stand ──────────────────▶ done at once

Rules: what waits is a hint or an answer, never work; a lost connection forgets it, and the worker's
next presence brings it back. A queue that the broker refuses is told of, and of what waited for it
only that is done which does not need it. A worker that was drawn gets its queue in any case; of
those that only say that they are there, so many a day: whoever may publish can say so in any name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from broker.topology import Names
from broker.transport import Provided, Transport
from coordinator.saying import Sayings

_log = logging.getLogger(__name__)

KNOWN_MAX = 100_000
"""Queues known to stand; the longest known is declared again."""
ASKED_MAX = 10_000
"""Queues being declared at a time; who does not fit in asks again, and a task stays offered."""
KNOWN_S = 600.0
"""After so long it is declared again: somebody may have deleted it, or nobody used it."""
NEW_MAX = 5_000
"""Queues that are not known to stand and are made in `NEW_S` for workers that were not drawn."""
NEW_S = 86_400.0

Purpose = Literal["answer", "task"]
Then = Callable[[bool], None]
"""What is done when a queue stands, or is known not to."""


@dataclass(slots=True)
class _Asked:
    """A queue that is being declared, and what waits for it: the newest of each purpose."""

    then: dict[Purpose, Then] = field(default_factory=dict)


class OwnQueues:
    """Which workers have a queue of their own, as far as is known in this connection."""

    def __init__(self, transport: Transport, names: Names, now: Callable[[], float]) -> None:
        self._transport = transport
        self._names = names
        self._now = now
        self._known: dict[str, float] = {}  # worker to when its queue was last declared
        self._asked: dict[str, _Asked] = {}
        self._new, self._new_since = 0, now()
        self._worker_of = dict[str, str]()  # by the name of a queue that is being declared
        self._sayings = Sayings()

    def when_there(self, worker_id: str, purpose: Purpose, then: Then) -> None:
        """Do something once a worker's queue stands; in place of the last of this purpose."""
        asked = self._asked.get(worker_id)
        if asked is not None:
            asked.then[purpose] = then
        elif self._now() - self._known.get(worker_id, -KNOWN_S) < KNOWN_S:
            then(True)
        elif purpose == "answer" and worker_id not in self._known and not self._may_make():
            then(False)
        elif len(self._asked) < ASKED_MAX:
            self._asked[worker_id] = _Asked({purpose: then})
            queue = self._names.worker_queue(worker_id)
            self._worker_of[queue.name] = worker_id
            self._transport.provide(queue, self._names.worker_binding(worker_id))

    def doubt(self, worker_id: str) -> None:
        """What was published for a worker came back: its queue has gone."""
        self._known.pop(worker_id, None)

    def handle(self, event: Provided) -> None:
        """Do what waited for a queue."""
        worker_id = self._worker_of.pop(event.queue, None)
        asked = None if worker_id is None else self._asked.pop(worker_id, None)
        if worker_id is None or asked is None:
            return
        if event.problem:
            self._complain(worker_id, event.problem)
        else:
            self._remember(worker_id)
        for then in asked.then.values():
            then(not event.problem)

    def disconnected(self) -> None:
        """Nothing is known, and nothing waits."""
        self._known.clear()
        self._asked.clear()
        self._worker_of.clear()

    def _may_make(self) -> bool:
        """Whether a worker that was not drawn may have a queue made; that it was is noted."""
        now = self._now()
        if not self._new_since <= now < self._new_since + NEW_S:
            self._new, self._new_since = 0, now
        self._new += 1
        if self._new == NEW_MAX + 1:
            _log.warning(
                "%d workers have had queues made within a day: no more queues are made but for "
                "those that are drawn. If you have fewer workers, somebody speaks in other names",
                NEW_MAX,
            )
        return self._new <= NEW_MAX

    def _remember(self, worker_id: str) -> None:
        self._known.pop(worker_id, None)
        self._known[worker_id] = self._now()
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def _complain(self, worker_id: str, problem: str) -> None:
        text = f"worker {worker_id} has no queue of its own: {problem}"
        now = self._now()
        for line in (*self._sayings.overdue(now), self._sayings.add("queues", text, now)):
            if line is not None:
                _log.warning("%s", line)
