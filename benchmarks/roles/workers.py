"""Logical workers that share a process, and its training processes, until its input closes.

python -m benchmarks.roles.workers --config federation.toml --workers 10 --processes 2
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from broker.connect import open_transport
from settings import load
from settings.logging import configure_logging
from worker.config import worker_config
from worker.service import WorkerService
from worker.trainer import ProcessTrainer


def main() -> None:
    """Serve until standard input closes."""
    configure_logging(os.environ.get("FEDMQ_LOG_LEVEL", "warning"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    parser.add_argument("--processes", type=int, default=2, help="that train")
    arguments = parser.parse_args()
    settings = load(arguments.config, {}, {})
    url = settings.broker.url
    trainer = ProcessTrainer(arguments.processes)
    crowd = []
    for number in range(arguments.first, arguments.first + arguments.workers):
        config = worker_config(settings, f"w{number}")
        config = replace(config, folder=config.folder / f"w{number}")
        crowd.append(
            WorkerService(config, lambda post: open_transport(url, post, "w", driven=True), trainer)
        )
    for worker in crowd:
        worker.start()
    print("started", flush=True)
    sys.stdin.read()
    for worker in crowd:
        worker.kill()
    trainer.close()


if __name__ == "__main__":
    main()
