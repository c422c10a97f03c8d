"""The demo within one process: a broker in memory, workers as threads, two training processes."""

from __future__ import annotations

import random
import sys
import threading
from dataclasses import replace
from pathlib import Path

from broker.memory import MemoryBroker, MemoryTransport
from broker.transport import Post, Transport
from coordinator.cli import stop_on_signals
from coordinator.display import display_for
from coordinator.service import CoordinatorService
from settings import Settings
from worker.config import WorkerConfig, worker_config
from worker.service import WorkerService
from worker.trainer import ProcessTrainer

TRAINING_PROCESSES = 2
KILLS = 4  # workers killed while they train; the last never comes back
KILL_EVERY_S = (1.5, 4.0)
AWAY_S = (1.0, 5.0)
LOOK_EVERY_S = 0.01


def federate(settings: Settings, count: int) -> bool:
    """Run the federation to its end; False if it was stopped."""
    broker = MemoryBroker()

    def connect(post: Post, name: str) -> Transport:
        return MemoryTransport(broker, post, name)

    with display_for(sys.stdout) as display:
        coordinator = CoordinatorService(
            settings, lambda post: connect(post, "coordinator"), display.show
        )
        stop_on_signals(coordinator)
        crowd = Crowd(settings, count, broker)
        try:
            crowd.start()
            return coordinator.run().state == "ended"
        finally:
            crowd.close()


class Crowd:
    """The demo's workers, and what befalls them."""

    def __init__(self, settings: Settings, count: int, broker: MemoryBroker) -> None:
        self._broker = broker
        self._trainer = ProcessTrainer(TRAINING_PROCESSES)
        self._configs = [_config(settings, number, count) for number in range(1, count + 1)]
        self._workers: dict[str, WorkerService] = {}
        self._rng = random.Random(settings.run.seed)
        self._over = threading.Event()
        self._fate = threading.Thread(target=self._befall, name="fate", daemon=True)

    def start(self) -> None:
        """Start all workers, and the accidents."""
        for config in self._configs:
            self._begin(config)
        self._fate.start()

    def close(self) -> None:
        """End all workers and their training processes."""
        self._over.set()
        if self._fate.ident is not None:
            self._fate.join()
        for worker in self._workers.values():
            worker.kill()
        self._trainer.close()

    def _begin(self, config: WorkerConfig) -> None:
        def connect(post: Post) -> Transport:
            return MemoryTransport(self._broker, post, config.worker_id)

        worker = WorkerService(config, connect, self._trainer)
        worker.start()
        self._workers[config.worker_id] = worker

    def _befall(self) -> None:
        for kill in range(KILLS):
            if self._over.wait(self._rng.uniform(*KILL_EVERY_S)):
                return
            victim = self._await_one_that_trains()
            if victim is None:
                return
            victim.kill()
            if kill == KILLS - 1 or self._over.wait(self._rng.uniform(*AWAY_S)):
                return
            self._begin(victim.config)  # its folder is as the kill left it

    def _await_one_that_trains(self) -> WorkerService | None:
        while not self._over.wait(LOOK_EVERY_S):
            for worker in self._workers.values():
                if worker.report.doing == "training":
                    return worker
        return None


def _config(settings: Settings, number: int, count: int) -> WorkerConfig:
    name = f"worker-{number:02d}"
    config = worker_config(settings, name)
    return replace(config, folder=Path(config.folder) / name, data=f"{number}/{count}")
