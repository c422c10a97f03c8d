"""The coordinator of a world."""

from __future__ import annotations

import contextlib

from coordinator.errors import StoreError
from coordinator.evaluation import Initial
from coordinator.service import CoordinatorService
from coordinator.startup import Surroundings
from settings import Settings
from simulation.disk import SimulatedDisk
from simulation.mishaps import Crash
from simulation.process import EPOCH_S, Process, Site, is_the_disks


class CoordinatorProcess(Process):
    """The coordinator.

    Attributes:
        clock_error_s: What its clock is ahead of the true time; a new value with each start.
    """

    def __init__(self, site: Site, settings: Settings) -> None:
        super().__init__("coordinator", site)
        self.settings = settings
        self.clock_error_s = self._error_s = 0.0
        self.service: CoordinatorService | None = None

    def _clock(self) -> float:
        return EPOCH_S + self.site.time.now + self._error_s

    def _open(self, disk: SimulatedDisk) -> CoordinatorService | None:
        site = self.site
        around = Surroundings(
            disk,
            lambda settings: Initial(site.oracle.layout, bytes(site.oracle.initial_model)),
            lambda: f"{site.rng.getrandbits(128):032x}",
        )
        self._error_s = self.clock_error_s
        try:
            self.service = CoordinatorService(
                self.settings,
                self._connect,
                clock=self._clock,
                around=around,
            )
        except StoreError as error:
            if not is_the_disks(error):
                raise
            self._tell(str(error))
            return None
        self.service.begin()
        return self.service

    def _is_over(self) -> bool:
        return self.service is not None and self.service.over

    def _closed(self, power_cut: bool) -> None:
        if self.service is not None:
            with contextlib.suppress(Crash):  # one that has ended tidies nothing up
                self.service.close()
            self.service = None
