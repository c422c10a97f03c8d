"""The demo within one process: a broker in memory, workers as threads, two training processes."""

from __future__ import annotations

import random
import sys
import threading

from coordinator.display import display_for
from fedmq.local import LocalFederation
from settings import Settings
from settings.signals import heeding

KILLS = 4  # workers killed while they train; the last never comes back
KILL_EVERY_S = (1.5, 4.0)
AWAY_S = (1.0, 5.0)
LOOK_EVERY_S = 0.01


def federate(settings: Settings, count: int) -> bool:
    """Run the federation to its end; False if it was stopped."""
    data = {f"worker-{number:02d}": f"{number}/{count}" for number in range(1, count + 1)}
    with (
        display_for(sys.stdout) as display,
        LocalFederation(settings, data, display.show) as federation,
        heeding(federation.coordinator.stop),
    ):
        fate = Fate(federation, random.Random(settings.run.seed))
        fate.start()
        try:
            return federation.coordinator.run().state == "ended"
        finally:
            fate.stop()


class Fate(threading.Thread):
    """Kills workers in the middle of a round, and lets all but the last come back."""

    def __init__(self, federation: LocalFederation, rng: random.Random) -> None:
        super().__init__(name="fate", daemon=True)
        self._federation = federation
        self._rng = rng
        self._over = threading.Event()

    def run(self) -> None:
        """Strike now and then."""
        for kill in range(KILLS):
            if self._over.wait(self._rng.uniform(*KILL_EVERY_S)):
                return
            victim = self._await_one_that_trains()
            if victim is None:
                return
            self._federation.workers[victim].kill()
            if kill == KILLS - 1 or self._over.wait(self._rng.uniform(*AWAY_S)):
                return
            self._federation.begin(victim)  # its folder is as the kill left it

    def stop(self) -> None:
        """No more accidents."""
        self._over.set()
        self.join()

    def _await_one_that_trains(self) -> str | None:
        while not self._over.wait(LOOK_EVERY_S):
            for name, worker in self._federation.workers.items():
                if worker.report.doing == "training":
                    return name
        return None
