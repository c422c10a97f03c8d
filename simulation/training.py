"""Training in virtual time: the work of the training process, done when its time is over."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable
from dataclasses import dataclass

from simulation.clock import VirtualTime
from simulation.disk import SimulatedDisk
from simulation.mishaps import Mishaps
from simulation.platter import Platter
from worker.trainer import Broken, Finished, Job, Moved, Notify, Report
from worker.training import Loaded, Workshop, run_job

UNHEARD = 0.05
"""How often a training process dies between its commit and its word."""


@dataclass(eq=False)
class _Running:
    """A job in the training process.

    Attributes:
        notify: Takes its reports, None once its agent is no more.
    """

    job: Job
    notify: Notify | None
    cancelled: bool = False
    over: bool = False


class VirtualTrainer:
    """A training process of one agent. A `worker.trainer.Trainer`.

    Args:
        time: When trainings end.
        rng: How long they take.
        platter: The machine's disk, which agent and training process share.
        learner: What trains.
        duration_s: The mean time of a training.
        told: Takes what happened, for the history.
    """

    def __init__(
        self,
        time: VirtualTime,
        rng: random.Random,
        platter: Platter,
        learner: Loaded,
        duration_s: float,
        told: Callable[[str], None],
    ) -> None:
        self._time = time
        self._rng = rng
        self._platter = platter
        self._learner = learner
        self._duration_s = duration_s
        self._told = told
        self._running: _Running | None = None
        self.mishaps = Mishaps(told, rng)

    @property
    def busy(self) -> bool:
        """Whether something is being trained."""
        return self._running is not None and not self._running.over

    # what happens to the process

    def die(self) -> None:
        """The training process is killed, and its agent sees it."""
        running = self._running
        if running is not None and not running.over:
            self._end(running, Broken(running.job.task_id, "crash", "its process was killed"))

    def lose_agent(self, lingers: bool) -> None:
        """The agent is killed: its training process ends too, at once or after a moment."""
        running, self._running = self._running, None
        if running is not None:
            running.notify = None
            running.over |= not lingers

    def end_lingering(self) -> None:
        """A new agent begins: what outlived the last one is gone by now."""
        self._platter.end_process(self.mishaps)
        self.mishaps.ended = True

    # `Trainer`

    def submit(self, job: Job, notify: Notify) -> bool:
        """See `Trainer.submit`."""
        assert not self.busy, "one training at a time"
        running = self._running = _Running(job, notify)
        self._time.call_in(0.1, lambda: self._report(running, Moved(job.task_id, 0.0)))
        duration_s = self._rng.lognormvariate(0.0, 0.8) * self._duration_s
        self._time.call_in(duration_s, lambda: self._finish(running))
        return False

    def cancel(self, key: str) -> None:
        """See `Trainer.cancel`."""
        running = self._running
        if running is not None and running.job.key == key and not running.over:
            running.cancelled = True
            self._time.call_in(self._rng.random(), lambda: self._finish(running))

    def kill(self, key: str) -> None:
        """See `Trainer.kill`."""
        if self._running is not None and self._running.job.key == key:
            self.die()

    def close(self) -> None:
        """See `Trainer.close`."""

    def _finish(self, running: _Running) -> None:
        if running.over or self.mishaps.ended:
            return
        disk = SimulatedDisk(self._platter, self.mishaps)
        # Payloads in files of their own: in a row nothing could befall them.
        workshop = Workshop(lambda spec: self._learner, disk, inline_bytes=0)
        with contextlib.redirect_stderr(io.StringIO()):  # a training says why it failed
            report: Report = run_job(
                running.job, lambda: running.cancelled, lambda fraction: None, None, workshop
            )
        self._platter.end_process(self.mishaps)
        if self.mishaps.ended:
            self.mishaps = Mishaps(self._told, self._rng)
        elif isinstance(report, Finished) and self._rng.random() < UNHEARD:
            self._told("a training process is killed before it can say that it is done")
            report = Broken(running.job.task_id, "crash", "its process was killed")
        self._end(running, report)

    def _end(self, running: _Running, report: Report) -> None:
        running.over = True
        self._report(running, report, ended=True)

    def _report(self, running: _Running, report: Report, ended: bool = False) -> None:
        if running.notify is not None and (ended or not running.over):
            running.notify(report)
