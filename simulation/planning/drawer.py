"""Who is drawn in direct dispatch: the coordinator's registry and drawing, with workers as rows."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np

from coordinator.drawing import By, Terms, draw
from coordinator.events import TRY_AGAIN, EndTask, RecordVerdict
from coordinator.registry import Mask, Registry
from schemas.chance import Chance, Rows, key_of
from simulation.planning.availability import Availability

PRESENCE_S = 30.0
"""How often a worker that is there says so, as by default; it says so when it comes, too."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How workers are chosen; what a run requires of them (battery, hours) is not simulated.

    Attributes:
        candidates: Of so many drawn uniformly one is taken.
        by: Which of them.
        cool_down_s: For how long after its task a worker is given no other, in the pool too.
        seen_within_s: Only workers that were there within so long are drawn; 0: all.
    """

    candidates: int = 2
    by: By = "uniform"
    cool_down_s: float = 0.0
    seen_within_s: float = 0.0


class Drawer:
    """Draws workers, and keeps the registry as a coordinator does.

    Args:
        availability: When workers are there, and so seen.
        workers: How many there are; the coordinator knows all of them from the start.
        choice: How they are chosen.
        seed: Of the experiment.
    """

    def __init__(self, availability: Availability, workers: int, choice: Choice, seed: int) -> None:
        self.registry = Registry(workers=workers)
        self._availability = availability
        self._choice = choice
        self._key = key_of("simulated selection", seed)
        self._draws = 0
        self._open: dict[str, tuple[float, int]] = {}
        self._spent = np.full(workers, -1, np.int32)  # the version of its last verdict
        self._awaited: list[tuple[float, int]] = []  # when who had no answer is seen again

    @property
    def num_bytes(self) -> int:
        """What its arrays take in memory."""
        return self.registry.num_bytes + self._spent.nbytes

    def draw(self, count: int, version: int, now: float) -> tuple[str, ...]:
        """See `coordinator.selection.Selector`."""
        self._draws += 1
        self._hear(version, now)
        within_s = self._choice.seen_within_s

        def seen(rows: Rows) -> Mask:
            return self._availability.there_from_of(rows, now - within_s) <= now

        terms = Terms(version, now, also=seen if within_s else None)
        chance = Chance(self._key, self._draws)
        choice = self._choice
        rows = draw(self.registry, count, terms, chance, choice.candidates, choice.by)
        return tuple(map(str, rows))

    def offered(self, task_id: str, worker: int, version: int, now: float) -> None:
        """A task for a version was offered to a worker."""
        self._open[task_id] = (now, version)
        self.registry.begin_task(worker)

    def ended(self, task: EndTask, version: int, now: float) -> None:
        """A worker's task has ended, or its lease has, while a version was the current one."""
        offered_at, base_version = self._open.pop(task.task_id)
        worker = int(task.worker_id)
        if task.how != "lapsed":
            self.registry.end_task(worker, now + self._choice.cool_down_s)
            return
        self._look(worker, offered_at, now)
        self.registry.lapse_task(worker, offered_at)
        if base_version == version:  # its update may still come: no other until it is seen
            self.registry.spend(worker, version)
        self._await(worker, now)

    def _look(self, worker: int, since: float, now: float) -> None:
        """If a worker was there since then, it has said so."""
        if self.registry.last_seen[worker] < since:
            came = self._availability.there_from(worker, since)
            if came <= now:
                self.registry.see(worker, came)

    def _await(self, worker: int, now: float) -> None:
        """A worker is seen when it comes, or if it is there, when it says so again."""
        seen_at = self._availability.there_from(worker, now)
        if seen_at == now:
            seen_at = self._availability.there_from(worker, now + PRESENCE_S)
        if seen_at < math.inf:
            heapq.heappush(self._awaited, (seen_at, worker))

    def _hear(self, version: int, now: float) -> None:
        """Workers that were awaited and have come may be drawn again."""
        while self._awaited and self._awaited[0][0] <= now:
            came, worker = heapq.heappop(self._awaited)
            self.registry.see(worker, max(came, float(self.registry.last_seen[worker])))
            if self._spent[worker] < version:
                self.registry.let_try_again(worker)

    def seen(self, worker: int, now: float) -> None:
        """A worker took a task, or answered one."""
        self.registry.see(worker, now)

    def judged(
        self, worker: int, verdict: RecordVerdict, took_s: float, loss: float | None
    ) -> None:
        """An update of a worker has its verdict."""
        self.registry.measure(worker, took_s, loss=loss)
        if verdict.staleness == 0 and verdict.verdict not in TRY_AGAIN:
            self.registry.spend(worker, verdict.round_version)
            self._spent[worker] = verdict.round_version
        if verdict.verdict == "counted":
            self.registry.count(worker)
