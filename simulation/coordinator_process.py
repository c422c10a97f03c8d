"""The coordinator of a world."""

from __future__ import annotations

import contextlib

from coordinator.errors import Restored, StoreError
from coordinator.evaluation import Initial
from coordinator.service import CoordinatorService
from coordinator.startup import Surroundings
from settings import Settings
from simulation.disk import SimulatedDisk
from simulation.mishaps import Crash
from simulation.platter import FolderNode
from simulation.process import AWAY_S, EPOCH_S, Process, Site, is_the_disks

RESTORED = "restored from a backup"
FOUND_OUT = "restore found out"


class CoordinatorProcess(Process):
    """The coordinator.

    Attributes:
        was_restored: Its disk was put back from a backup: then it may stop with `Restored`.
        clock_error_s: What its clock is ahead of the true time; a new value with each start.
    """

    stops_with = (Restored,)

    def __init__(self, site: Site, settings: Settings, segment_bytes: int) -> None:
        super().__init__("coordinator", site)
        self.settings = settings
        self._segment_bytes = segment_bytes
        self.clock_error_s = self._error_s = 0.0
        self.service: CoordinatorService | None = None
        self.was_restored = False
        self._tell_it = False  # start it with --restored

    def restore(self, backup: FolderNode) -> None:
        """Put its disk back; it may be started as restored, or have to find out."""
        if self.running:
            self.end(power_cut=False, away_s=self.site.rng.uniform(0.5, AWAY_S))
        self._tell("its disk is restored from a backup")
        self.platter.restore(backup)
        self.was_restored = True
        self._tell_it = self.site.rng.random() < 0.25
        self.site.count(RESTORED)

    def _stopped(self) -> None:
        assert self.was_restored, "it was not restored, and says so"
        self.site.count(FOUND_OUT)
        self._tell_it = True

    def _clock(self) -> float:
        return EPOCH_S + self.site.time.now + self._error_s

    def _open(self, disk: SimulatedDisk) -> CoordinatorService | None:
        site = self.site
        around = Surroundings(
            disk,
            lambda settings: Initial(site.oracle.layout, bytes(site.oracle.initial_model)),
            lambda: f"{site.rng.getrandbits(128):032x}",
            lambda settings: site.depot,
            self._porter,
            self._segment_bytes,
        )
        self._error_s = self.clock_error_s
        try:
            self.service = CoordinatorService(
                self.settings,
                self._connect,
                restored=self._tell_it,
                clock=self._clock,
                around=around,
            )
        except StoreError as error:
            if not is_the_disks(error):
                raise
            self._tell(str(error))
            return None
        self._tell_it = False
        self.service.begin()
        return self.service

    def _is_over(self) -> bool:
        return self.service is not None and self.service.over

    def _closed(self, power_cut: bool) -> None:
        if self.service is not None:
            with contextlib.suppress(Crash):  # one that has ended tidies nothing up
                self.service.close()
            self.service = None
