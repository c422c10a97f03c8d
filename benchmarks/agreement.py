"""Does a simulated federation do what a real one does? The same settings, both ways.

    python -m benchmarks.agreement [--workers 12] [--tasks 8] [--goal 4] [--task-s 4] [--for-s 120]

Really: a coordinator and workers (threads of this process, trainings in processes that sleep) over
RabbitMQ, everything durable and confirmed. Simulated: `simulation.planning` with devices whose
tasks last as long. Updates a second and mean staleness are compared after five times as many
updates as there are tasks in flight. The simulation leaves out what broker, disks and processes
cost, so it is run a second time with what a task really took beyond its training.

Without --url a private RabbitMQ node is started from an installed rabbitmq-server.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import tempfile
import time
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.node import broker
from benchmarks.processes import ROOT
from broker.connect import open_transport
from coordinator.accounts import Wanted, each_update
from coordinator.service import CoordinatorService
from coordinator.startup import policy_of
from coordinator.store import Store
from settings import Settings, load
from simulation.planning.crowd import Crowd
from simulation.planning.devices import SETS, Network
from simulation.planning.fleet import Fleet
from simulation.planning.report import WARM_UP, report_of
from simulation.planning.training import Synthetic
from worker.config import worker_config
from worker.service import WorkerService
from worker.trainer import ProcessTrainer


@dataclass(frozen=True)
class Seen:
    """What is compared: updates a second, mean staleness, its 95 % quantile, versions a second.

    `beyond_s` is what a task took beyond its training, from its offer to its verdict.
    """

    updates_per_s: float
    staleness: float
    p95: float
    versions_per_s: float
    beyond_s: float = 0.0


def settings_of(arguments: argparse.Namespace, url: str, folder: str) -> Settings:
    """Of the federation, for both ways."""
    return load(
        None,
        {},
        {
            "federation.name": "agreement",
            "broker.url": url,
            "learner.path": str(ROOT / "benchmarks" / "learners" / "sleepy.py"),
            "run.rounds": 10_000_000,
            "run.evaluate": False,
            "run.max_seconds": arguments.for_s,
            "rounds.goal": arguments.goal,
            "rounds.concurrency": arguments.tasks,
            "rounds.max_staleness": 1000,
            "rounds.lease": "10m",
            "rounds.drain": "1ms",
            "coordinator.keep_versions": "all",
            "coordinator.state_dir": f"{folder}/coordinator",
            "worker.state_dir": f"{folder}/workers",
        },
    )


def real(settings: Settings, workers: int, tasks: int) -> Seen:
    """Run it over RabbitMQ."""
    url = settings.broker.url
    coordinator = CoordinatorService(
        settings, lambda post: open_transport(url, post, "coordinator")
    )
    trainer = ProcessTrainer(tasks)
    crowd = []
    for number in range(workers):
        config = worker_config(settings, f"w{number}")
        config = replace(config, folder=config.folder / f"w{number}")
        crowd.append(WorkerService(config, lambda post: open_transport(url, post, "w"), trainer))
    for worker in crowd:
        worker.start()
    coordinator.run()
    for worker in crowd:
        worker.kill()
    trainer.close()
    coordinator.close()
    store = Store.open_to_read(settings.coordinator.state_dir / "coordinator.db")
    try:
        rows = list(each_update(store, Wanted(verdict="counted")))
        with store.reading() as work:
            tasks_of = {row.task_id: work.task(row.task_id) for row in rows}
    finally:
        store.close()
    rows = rows[WARM_UP * tasks :]
    seconds = rows[-1].received_at - rows[0].received_at
    staleness = np.array([row.staleness for row in rows])
    offered = [tasks_of[row.task_id] for row in rows]
    beyond = [
        row.received_at - task.offered_at - row.train_s
        for row, task in zip(rows, offered, strict=True)
        if task is not None
    ]
    return Seen(
        (len(rows) - 1) / seconds,
        float(staleness.mean()),
        float(np.percentile(staleness, 95)),
        (rows[-1].round_version - rows[0].round_version) / seconds,
        float(np.mean(beyond)),
    )


def simulated(
    settings: Settings, workers: int, task_s: float, updates: int, beyond_s: float = 0.0
) -> Seen:
    """Run it in virtual time; `beyond_s` is as if the model took so long to come."""
    policy = replace(policy_of(settings), max_seconds=0.0)
    devices = replace(SETS["fedbuff"].lasting(task_s), network=Network(bits_per_s=8e6))
    crowd = Crowd(devices, workers, 1, transfer_bytes=round(beyond_s * 1e6))
    fleet = Fleet(policy, crowd, Synthetic(), 1)
    fleet.run(math.inf, lambda fleet: fleet.tally.arrived >= updates)
    report = report_of(fleet, "simulated", 1, None, "time")
    return Seen(
        report.updates_per_s, report.staleness.mean, report.staleness.p95, 1 / report.round_s.mean
    )


def tell(beyond_s: float, seen: Seen, simulated: Seen) -> None:
    print(f"simulated with {beyond_s:.3f} s a task beyond its training:")
    for name in ("updates_per_s", "staleness", "p95", "versions_per_s"):
        ours, theirs = getattr(simulated, name), getattr(seen, name)
        print(f"  {name:<15} real {theirs:8.3f}  simulated {ours:8.3f}  {ours / theirs - 1:+.1%}")


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--goal", type=int, default=4)
    parser.add_argument("--task-s", type=float, default=4.0)
    parser.add_argument("--for-s", type=float, default=120.0)
    parser.add_argument("--url", default="")
    arguments = parser.parse_args()
    os.environ["BENCH_TASK_S"] = str(arguments.task_s)
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(
        f"{arguments.workers} workers, {arguments.tasks} tasks in flight, goal {arguments.goal}, "
        f"half-normal tasks of {arguments.task_s} s, {arguments.for_s} s; load {os.getloadavg()[0]}"
    )
    with tempfile.TemporaryDirectory() as folder, broker(arguments.url) as where:
        settings = settings_of(arguments, where.url, folder)
        began = time.monotonic()
        workers = arguments.workers
        seen = real(settings, workers, arguments.tasks)
        took_s = time.monotonic() - began
    print(f"a task took {seen.beyond_s:.3f} s beyond its training")
    for beyond_s in (0.0, seen.beyond_s):
        tell(beyond_s, seen, simulated(settings, workers, arguments.task_s, 20_000, beyond_s))
    print(f"the real one took {took_s:.0f} s")


if __name__ == "__main__":
    main()
