"""A worker of a world, with its training process."""

from __future__ import annotations

from collections.abc import Callable

from learning.learner import Learner
from simulation.disk import SimulatedDisk
from simulation.oracle import Oracle
from simulation.process import AWAY_S, Process, Site, is_the_disks
from simulation.training import VirtualTrainer
from worker.config import WorkerConfig
from worker.errors import StoreError
from worker.options import Forever
from worker.service import WorkerService
from worker.trainer import Job, Notify, Report
from worker.training import Loaded

LEFT = "worker left"


class WorkerProcess(Process):
    """A worker and its training process."""

    def __init__(self, site: Site, config: WorkerConfig) -> None:
        super().__init__(config.worker_id, site)
        self.config = config
        self.service: WorkerService | None = None
        self.trainer: VirtualTrainer | None = None
        self._started_at = 0.0

    def _clock(self) -> float:
        return self.site.time.now - self._started_at

    def _open(self, disk: SimulatedDisk) -> WorkerService | None:
        site, began = self.site, self.site.time.now - self.site.rng.random()
        if self.trainer is not None:
            self.trainer.end_lingering()
        self.trainer = VirtualTrainer(
            site.time,
            site.rng,
            self.platter,
            Loaded(_as_learner(site.oracle)),
            site.training_s,
            lambda what: site.told(f"{self.name}'s training", what),
        )
        self._started_at = began
        self.service = WorkerService(
            self.config,
            self._connect,
            _Poking(self.trainer, self.poke),
            clock=lambda: site.time.now - began,
            disk=disk,
            minute=lambda: 0.0,
            battery=lambda: -1.0,
            depot=site.depot,
            porter_of=self._porter,
        )
        try:
            self.service.open()
        except StoreError as error:
            if not is_the_disks(error):
                raise
            self._tell(str(error))
            return None
        return self.service

    def _is_over(self) -> bool:
        if self.service is None or self.service.report.exit_code is None:
            return False
        report = self.service.report
        may_leave = report.exit_code in (0, 1) and not isinstance(self.config.options.plan, Forever)
        assert may_leave, f"{self.name} has left: {report.reason}"
        self.site.count(LEFT)
        self._tell(f"leaves with exit code {report.exit_code}: {report.reason}")
        return True

    def _again_in(self) -> float:
        return self.site.rng.uniform(0.5, 2 * AWAY_S)

    def _closed(self, power_cut: bool) -> None:
        if self.trainer is not None:
            self.trainer.lose_agent(lingers=not power_cut and self.site.rng.random() < 0.3)
        self.service = None


class _Poking:
    """A trainer whose reports wake the agent."""

    def __init__(self, trainer: VirtualTrainer, poke: Callable[[], None]) -> None:
        self._trainer = trainer
        self._poke = poke

    def submit(self, job: Job, notify: Notify) -> bool:
        """See `Trainer.submit`."""

        def tell(report: Report) -> None:
            notify(report)
            self._poke()

        return self._trainer.submit(job, tell)

    def cancel(self, key: str) -> None:
        """See `Trainer.cancel`."""
        self._trainer.cancel(key)

    def kill(self, key: str) -> None:
        """See `Trainer.kill`."""
        self._trainer.kill(key)

    def close(self) -> None:
        """See `Trainer.close`."""


def _as_learner(oracle: Oracle) -> Learner:
    return oracle
