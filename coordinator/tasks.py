"""The open tasks of a run, as a persistent table: a changed table shares what did not change.

Rules: a lease begins no earlier than every lease before it and all are of one length, so the first
of the queue ends first; `restore` keeps that true when a setting changed between two starts.
Every operation costs O(log n) in the open tasks, and none in the tasks that ever were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from immutables import Map

from schemas.frozen import replace


@dataclass(frozen=True)
class OpenTask:
    """A task in flight.

    Attributes:
        version: The version it was offered in.
        worker_id: Who took it first, "" while nobody has; of a direct task, who was drawn.
        lease_end: When another is offered in its place; None while it is untaken.
        lease: Its place in the queue of leases, -1 while untaken.
        replaces: The task whose lease ended, "" if none.
        number: Its number in the run.
        base_version: The version that a direct task pins, None for a pool task.
    """

    task_id: str
    version: int
    worker_id: str = ""
    lease_end: float | None = None
    lease: int = -1
    replaces: str = ""
    number: int = -1
    base_version: int | None = None

    @property
    def direct(self) -> bool:
        """It was offered to one worker, and not to the pool."""
        return self.base_version is not None

    @property
    def offered_to(self) -> str:
        """The worker of a direct task, "" for a pool task."""
        return self.worker_id if self.direct else ""


@dataclass(frozen=True, slots=True)
class OpenTasks:
    """All tasks in flight.

    Attributes:
        leases: Those under a lease, in the order in which their leases began.
        asked: Workers with a direct task, each with its id.
    """

    by_id: Map[str, OpenTask]
    leases: Map[int, str]
    asked: Map[str, str]
    first_lease: int = 0
    next_lease: int = 0

    @classmethod
    def restore(
        cls, tasks: Iterable[OpenTask], now: float, lease_s: float, grace_s: float = 0.0
    ) -> OpenTasks:
        """The table from stored tasks.

        No lease is longer than one that begins now, and none ends before `grace_s` are over.
        """
        table = NO_TASKS
        limit, first = now + lease_s, now + min(grace_s, lease_s)

        def order(task: OpenTask) -> tuple[float, int]:
            return limit if task.lease_end is None else task.lease_end, task.number

        for task in sorted(tasks, key=order):
            table = table.offer(replace(task, worker_id="", lease_end=None, lease=-1))
            if task.lease_end is not None:
                lease_end = min(max(task.lease_end, first), limit)
                table = table.take(task.task_id, task.worker_id, lease_end)
        return table

    def __len__(self) -> int:
        return len(self.by_id)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self.by_id

    def get(self, task_id: str) -> OpenTask | None:
        """The task, if it is open."""
        return self.by_id.get(task_id)

    def offer(self, task: OpenTask) -> OpenTasks:
        """With one more task, untaken."""
        by_id = self.by_id.set(task.task_id, task)
        return OpenTasks(by_id, self.leases, self.asked, self.first_lease, self.next_lease)

    def take(self, task_id: str, worker_id: str, lease_end: float) -> OpenTasks:
        """With an untaken task taken; a direct one as soon as it is offered."""
        task = self.by_id[task_id]
        lease = self.next_lease
        return self.ask(replace(task, worker_id=worker_id, lease_end=lease_end, lease=lease))

    def ask(self, task: OpenTask) -> OpenTasks:
        """With a task that has a worker, and the next place in the queue of leases."""
        assert task.lease == self.next_lease
        task_id, worker_id = task.task_id, task.worker_id
        return OpenTasks(
            self.by_id.set(task_id, task),
            self.leases.set(self.next_lease, task_id),
            self.asked.set(worker_id, task_id) if task.direct else self.asked,
            self.first_lease,
            self.next_lease + 1,
        )

    def remove(self, task_id: str) -> OpenTasks:
        """Without a task."""
        task = self.by_id[task_id]
        leases, first = self.leases, self.first_lease
        if task.lease >= 0:
            leases = leases.delete(task.lease)
            while first < self.next_lease and first not in leases:
                first += 1
        asked = self.asked.delete(task.worker_id) if task.offered_to else self.asked
        return OpenTasks(self.by_id.delete(task_id), leases, asked, first, self.next_lease)

    def first_leased(self) -> OpenTask | None:
        """The task whose lease began first, None if no task is under one."""
        first = self.leases.get(self.first_lease)
        return None if first is None else self.by_id[first]

    def next_lease_end(self) -> float | None:
        """When the first lease ends, None if no task is under one."""
        task = self.first_leased()
        return None if task is None else task.lease_end

    def lapsed(self, now: float) -> OpenTask | None:
        """The task whose lease ended first, if one has."""
        task = self.first_leased()
        if task is None:
            return None
        return task if task.lease_end is not None and task.lease_end <= now else None

    def in_order(self) -> list[OpenTask]:
        """All tasks by their ids; O(n log n), for rare events.

        The table itself is in an order that differs from process to process.
        """
        return sorted(self.by_id.values(), key=lambda task: task.task_id)

    def untaken(self) -> list[OpenTask]:
        """Tasks that nobody has taken, by their ids; O(n log n), for rare events."""
        return [task for task in self.in_order() if task.lease_end is None]

    def taken(self) -> list[OpenTask]:
        """Tasks under a lease, by their ids; O(n log n), for rare events."""
        return [task for task in self.in_order() if task.lease_end is not None]


NO_TASKS = OpenTasks(Map(), Map(), Map())
