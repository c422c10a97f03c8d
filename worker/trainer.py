"""The seam between the agent and training: a job goes in, reports come out.

    ProcessTrainer   one or more child processes, shared by any number of workers (the default: one)
    InlineTrainer    in the caller's own thread, for tests and virtual time (`worker.inline`)

Rules of the file:

- A job carries everything, so any process can do it for any worker.
- Each job ends in exactly one `Finished` or `Broken`. `Finished` means that the update is in the
  outbox, on disk, and the task out of the inbox.
- A process is started when it is first needed, used again, and replaced when it died or was killed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal, Protocol

from learning.process import ChildProcess

CANCEL_S = 5.0
"""How long a learner may take to notice that it was cancelled."""

Failure = Literal["crash", "unfit", "model", "cancelled", "disk"]
"""As in `worker.events.TrainingFailed`."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training or evaluation, as primitives.

    Attributes:
        folder: The worker's state folder, absolute.
        task: The task's frame.
        start: The frame of what to train on; its model is in the cache.
        learner: "path/file.py:name", the path absolute.
        data: The worker's own data setting.
        device: "auto", "cpu" or "cuda:N".
        deadline_s: Seconds left of the lease, None if unknown.
        examples: How many examples there are, as the owner says; 0 if he does not.
        life: `Store.life` of the worker's store.
        model_is_fresh: The agent has just read the whole model and looked at its digest.
    """

    worker_id: str
    task_id: str
    folder: str
    task: bytes
    start: bytes
    learner: str
    data: str = ""
    device: str = "auto"
    deadline_s: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    examples: int = 0
    life: str = ""
    model_is_fresh: bool = False

    @property
    def key(self) -> str:
        """The job's name among those of all workers."""
        return f"{self.worker_id}/{self.task_id}"


@dataclass(frozen=True, slots=True)
class Moved:
    """The job has begun, or made progress.

    Attributes:
        fraction: Done, 0 to 1.
    """

    task_id: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The job's update is in the outbox."""

    task_id: str
    update_id: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The job ended without an update, and why."""

    task_id: str
    kind: Failure
    reason: str


Report = Moved | Finished | Broken
Notify = Callable[[Report], None]
"""Takes reports on any thread, perhaps under a lock: it neither waits nor calls the trainer."""


class Trainer(Protocol):
    """What does the training. Methods return at once and may be called from any thread."""

    def submit(self, job: Job, notify: Notify) -> bool:
        """Begin a job, now or when there is room.

        Returns:
            Whether it has begun already; else a first `Moved` says when.
        """
        ...

    def cancel(self, key: str) -> None:
        """Ask a job to end; it is killed if it does not in time. Unknown jobs are ignored."""
        ...

    def kill(self, key: str) -> None:
        """End a job at once; it counts as a crash."""
        ...

    def close(self) -> None:
        """End everything. Safe to call twice."""
        ...


@dataclass(slots=True, eq=False)
class _Work:
    job: Job
    notify: Notify
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class _Seat:
    """A place for a process, which may be empty."""

    child: ChildProcess | None = None
    work: _Work | None = None
    killed: bool = False  # its process, which is gone soon
    heard: bool = False  # something of its process

    def is_innocent(self, work: _Work) -> bool:
        """Whether a process that has ended died idle, and its work is another's to begin."""
        left = self.child is not None and self.child.left_unread
        return left and self.heard and not self.killed and not work.cancelled


class ProcessTrainer:
    """Trains in child processes, each with one job at a time; further jobs wait in a queue.

    Args:
        processes: How many jobs may run at once.
        cancel_s: How long a cancelled job may take to end by itself.
    """

    def __init__(self, processes: int = 1, cancel_s: float = CANCEL_S) -> None:
        self._cancel_s = cancel_s
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)  # some work has ended
        self._queue: deque[_Work] = deque()
        self._seats = [_Seat() for _ in range(processes)]
        self._closed = False

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the children there are."""
        with self._lock:
            return tuple(seat.child.pid for seat in self._seats if seat.child is not None)

    def submit(self, job: Job, notify: Notify) -> bool:
        """See `Trainer.submit`."""
        with self._lock:
            if not self._closed:
                work = _Work(job, notify)
                self._queue.append(work)
                return work in self._fill_seats()
        notify(Broken(job.task_id, "cancelled", "the trainer is closed"))
        return False

    def cancel(self, key: str) -> None:
        """See `Trainer.cancel`."""
        with self._lock:
            waiting = self._unqueue(key)
            seat = self._seat_of(key)
            if seat is not None and seat.child is not None and seat.work is not None:
                seat.work.cancelled = True
                seat.child.cancel()
                timer = threading.Timer(self._cancel_s, self._kill_work, (seat, seat.work))
                timer.daemon = True
                timer.start()
        if waiting is not None:
            waiting.notify(Broken(waiting.job.task_id, "cancelled", "cancelled before it began"))

    def kill(self, key: str) -> None:
        """See `Trainer.kill`."""
        with self._lock:
            waiting = self._unqueue(key)
            seat = self._seat_of(key)
            work = None if seat is None else seat.work
        if seat is not None and work is not None:
            self._kill_work(seat, work)
        if waiting is not None:
            waiting.notify(Broken(waiting.job.task_id, "cancelled", "killed before it began"))

    def join(self, timeout_s: float) -> bool:
        """Wait until every job has ended by itself; False if it takes longer.

        What is cancelled and being written to the outbox is kept so.
        """
        with self._quiet:
            return self._quiet.wait_for(self._is_quiet, timeout_s)

    def close(self) -> None:
        """See `Trainer.close`."""
        with self._lock:
            self._closed = True
            waiting = list(self._queue)
            self._queue.clear()
            children = [seat.child for seat in self._seats if seat.child is not None]
            for seat in self._seats:
                if seat.work is not None:
                    seat.work.cancelled = True
        for work in waiting:
            work.notify(Broken(work.job.task_id, "cancelled", "the trainer is closed"))
        for child in children:
            child.close()

    def _is_quiet(self) -> bool:
        return not self._queue and all(seat.work is None for seat in self._seats)

    def _unqueue(self, key: str) -> _Work | None:
        found = next((work for work in self._queue if work.job.key == key), None)
        if found is not None:
            self._queue.remove(found)
            self._quiet.notify_all()
        return found

    def _seat_of(self, key: str) -> _Seat | None:
        return next((s for s in self._seats if s.work is not None and s.work.job.key == key), None)

    def _kill_work(self, seat: _Seat, work: _Work) -> None:
        with self._lock:  # or the process could have begun another job meanwhile
            if seat.work is work and seat.child is not None:
                seat.killed = True
                seat.child.kill()

    def _go_on(self) -> None:
        """Something has ended: begin what waits. Under the lock."""
        for work in self._fill_seats():
            work.notify(Moved(work.job.task_id, 0.0))
        self._quiet.notify_all()

    def _fill_seats(self) -> list[_Work]:
        """Give waiting jobs to free processes, those already started first. Under the lock.

        Returns:
            Those that have begun with that. A process that has to be started says so by itself.
        """
        begun = []
        for seat in sorted(self._seats, key=lambda seat: seat.child is None):
            if seat.work is None and not seat.killed and self._queue:
                seat.work = work = self._queue.popleft()
                if seat.child is not None:
                    begun.append(work)
                try:
                    seat.child = seat.child or self._start(seat)
                except OSError as error:
                    seat.work = None
                    reason = f"no training process can be started: {error}"
                    work.notify(Broken(work.job.task_id, "crash", reason))
                else:
                    seat.child.send(_fields(work.job))
        return begun

    def _start(self, seat: _Seat) -> ChildProcess:
        return ChildProcess(
            "worker.training", partial(self._heard, seat), partial(self._ended, seat)
        )

    def _heard(self, seat: _Seat, message: dict[str, Any]) -> None:
        with self._lock:
            work, seat.heard = seat.work, True
            if work is None:
                return
            report = _report(work.job.task_id, message)
            if not isinstance(report, Moved):
                seat.work = None
                self._go_on()
        work.notify(report)

    def _ended(self, seat: _Seat, how: str) -> None:
        with self._lock:
            work = seat.work
            if work is not None and seat.is_innocent(work):
                self._queue.appendleft(work)
                work = None
            seat.work, seat.child, seat.killed, seat.heard = None, None, False, False
            self._go_on()
        if work is not None:
            kind: Failure = "cancelled" if work.cancelled else "crash"
            work.notify(Broken(work.job.task_id, kind, f"the training process {how}"))


def _fields(job: Job) -> dict[str, Any]:
    """A job as a message. Its fields are primitives: `asdict` would look through each of them."""
    return {field.name: getattr(job, field.name) for field in fields(job)}


def _report(task_id: str, message: Mapping[str, Any]) -> Report:
    """What a child's message means."""
    match message:
        case {"finished": update_id}:
            return Finished(task_id, update_id)
        case {"broken": kind, "reason": reason}:
            return Broken(task_id, kind, reason)
        case _:
            return Moved(task_id, float(message.get("moved", 0.0)))
