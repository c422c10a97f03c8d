"""The demo over a real broker: coordinator and each worker as processes of their own."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

from coordinator.errors import StoreError
from coordinator.store import Store
from settings import Settings
from settings.duration import format_duration
from settings.signals import heeding

KILLS = 3  # workers killed while they hold a task; the last never comes back
KILL_EVERY_S = (3.0, 8.0)
AWAY_S = (2.0, 6.0)
LOOK_EVERY_S = 0.1
LEAVE_S = 15.0  # for the workers to notice that the run is over

_GUARD = ("/bin/sh", "-c", "read -r _; kill -9 0")
_FEDMQ = "import sys; from fedmq.cli import main; sys.exit(main())"


def federate(settings: Settings, count: int, log_level: str) -> bool:
    """Run the federation to its end; False if it was stopped."""
    folder = settings.coordinator.state_dir.parent
    config = folder / "federation.toml"
    config.write_text(_toml(settings), encoding="utf-8")
    with Family(log_level) as family:
        coordinator = family.begin(["coordinator", "--config", str(config)])
        crowd = Crowd(settings, config, count, family)
        with heeding(lambda: _end(coordinator)):
            try:
                crowd.start()
                return coordinator.wait() == 0
            finally:
                _end(coordinator)
                crowd.close()


class Family:
    """Processes that end with this one, however it ends: `kill -9` and a second Ctrl-C included.

    They are in one group, which is not the terminal's, so Ctrl-C reaches only this process. A shell
    in it waits for a pipe that only this process holds open, and kills the group when it closes.
    """

    def __init__(self, log_level: str) -> None:
        self._log_level = log_level
        lifeline, self._lifeline = os.pipe()
        self._guard = subprocess.Popen(_GUARD, stdin=lifeline, process_group=0)
        os.close(lifeline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._guard.kill()
        self._guard.wait()
        os.close(self._lifeline)

    def begin(self, words: list[str]) -> subprocess.Popen[bytes]:
        """Start `fedmq` with some words."""
        command = [sys.executable, "-P", "-c", _FEDMQ, *words, "--log-level", self._log_level]
        return subprocess.Popen(command, process_group=self._guard.pid)


class Crowd:
    """The demo's worker processes, and what befalls them."""

    def __init__(self, settings: Settings, config: Path, count: int, family: Family) -> None:
        self._family = family
        self._settings = settings
        self._config = config
        self._count = count
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._rng = random.Random(settings.run.seed)
        self._over = threading.Event()
        self._fate = threading.Thread(target=self._befall, name="fate", daemon=True)

    def start(self) -> None:
        """Start all workers, and the accidents."""
        for number in range(1, self._count + 1):
            self._begin(f"worker-{number:02d}")
        self._fate.start()

    def close(self) -> None:
        """Let the workers leave by themselves, and end those that do not."""
        self._over.set()
        if self._fate.ident is not None:
            self._fate.join()
        began = time.monotonic()
        for wait_s, end in ((LEAVE_S, _end), (2 * LEAVE_S, _kill)):
            for worker in self._workers.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(max(0.0, began + wait_s - time.monotonic()))
            for worker in self._workers.values():
                end(worker)
        for worker in self._workers.values():
            worker.wait()

    def _begin(self, name: str) -> None:
        number = int(name.rpartition("-")[2])
        self._workers[name] = self._family.begin(
            [
                "worker",
                "--config",
                str(self._config),
                "--id",
                name,
                "--state-dir",
                str(self._settings.worker.state_dir),
                "--data",
                f"{number}/{self._count}",
                "--until-run-ends",
            ]
        )

    def _befall(self) -> None:
        for kill in range(KILLS):
            if self._over.wait(self._rng.uniform(*KILL_EVERY_S)):
                return
            victim = self._await_one_with_a_task()
            if victim is None:
                return
            self._workers[victim].kill()
            self._workers[victim].wait()
            if kill == KILLS - 1 or self._over.wait(self._rng.uniform(*AWAY_S)):
                return
            self._begin(victim)  # its folder is as the kill left it

    def _await_one_with_a_task(self) -> str | None:
        path = self._settings.coordinator.state_dir / "coordinator.db"
        while not self._over.wait(LOOK_EVERY_S):
            if path.exists():
                for name in _with_a_task(path):
                    if name in self._workers and self._workers[name].poll() is None:
                        return name
        return None


def _with_a_task(path: Path) -> list[str]:
    try:
        store = Store.open_to_read(path)
    except StoreError:  # its file is there, and its tables are about to be
        return []
    try:
        with store.reading() as work:
            run = work.last_run()
            tasks = [] if run is None else work.open_tasks(run.run_id)
        return [task.worker_id for task in tasks if task.worker_id]
    finally:
        store.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()


def _toml(settings: Settings) -> str:
    """The settings that coordinator and workers of the demo share, as a file."""
    rounds, worker, run = settings.rounds, settings.worker, settings.run
    config = settings.learner.config
    return f"""\
[federation]
name = "{settings.federation.name}"

[broker]
url = "{settings.broker.url}"

[learner]
path = "{settings.learner.path}"
config = {{ alpha = {config["alpha"]}, partition_seed = {config["partition_seed"]} }}

[run]
rounds = {run.rounds}
seed = {run.seed}

[rounds]
goal = {rounds.goal}
quorum = {rounds.quorum}
concurrency = {rounds.concurrency}
deadline = "{format_duration(rounds.deadline_s)}"
lease = "{format_duration(rounds.lease_s)}"
drain = "{format_duration(rounds.drain_s)}"

[coordinator]
state_dir = "{settings.coordinator.state_dir}"

[worker]
on_for = "{format_duration(worker.on_for_s)}"
off_for = "{format_duration(worker.off_for_s)}"
presence = "{format_duration(worker.presence_s)}"
device = "{worker.device}"
"""
