"""`fedmq demo`: a federation of flaky workers that learns handwritten digits, on this machine."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from coordinator.display import updates_of
from coordinator.reports import status_of
from fedmq.chart import page
from settings import Settings, load
from settings.command import say_result
from settings.logging import LEVELS, configure_logging

DESCRIPTION = (
    "Twelve workers learn handwritten digits (scikit-learn's; Dirichlet 0.5, so each has mostly "
    "some of the digits). About 30 % of them are offline at any time, and some are killed in the "
    "middle of a round. Without --broker everything runs in this process, over a broker in memory "
    "and two training processes; with it, coordinator and each worker are processes of their own."
)
WORKERS = 12
HOLD_OUT = "359 digits, stratified, that no worker has"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fedmq demo`."""
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--broker", default="", metavar="URL", help="a RabbitMQ broker, amqp://user:password@host/"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("fedmq-demo"),
        metavar="FOLDER",
        help="where accuracy.html is written (default: fedmq-demo)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object on the last line"
    )
    parser.add_argument(
        "--log-level",
        choices=LEVELS,
        default=os.environ.get("FEDMQ_LOG_LEVEL", "error"),
        help="how much is logged on stderr (default: error)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the federation, write the page, print the result."""
    configure_logging(arguments.log_level)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fedmq-demo-") as folder:
        settings = demo_settings(Path(folder), arguments.seed, arguments.broker)
        if arguments.broker:
            from fedmq import demo_processes

            ended = demo_processes.federate(settings, WORKERS, arguments.log_level)
        else:
            from fedmq import demo_threads

            ended = demo_threads.federate(settings, WORKERS)
        status = status_of(settings)
    seconds = round(time.monotonic() - began, 1)
    result = result_of(status, seconds)
    chart = write_page(arguments.output, status, result)
    tell(result, chart)
    if arguments.json:
        say_result(json.dumps(result))
    return 0 if ended else 130


def demo_settings(folder: Path, seed: int, broker: str) -> Settings:
    """The demo's settings, for the coordinator and, but for their own folders, the workers."""
    overrides: dict[str, object] = {
        "federation.name": "demo",
        "broker.url": broker or "memory://",
        "learner.path": "fedmq:digits",
        "learner.config": {"alpha": 0.5, "partition_seed": seed},
        "run.rounds": 30,
        "run.seed": seed,
        "rounds.goal": 8,
        "rounds.quorum": 5,
        "rounds.concurrency": WORKERS,
        "rounds.deadline": "6s",
        "rounds.lease": "8s",
        "rounds.drain": "3s",
        "coordinator.state_dir": str(folder / "coordinator"),
        "worker.state_dir": str(folder / "workers"),
        "worker.on_for": "7s",
        "worker.off_for": "3s",
        "worker.presence": "2s",
        "worker.device": "cpu",
    }
    return load(None, {}, overrides)


def result_of(status: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the demo's last line says."""
    return {
        "accuracy": round(float(status["metrics"].get("accuracy", 0.0)), 4),
        "rounds": status["version"],
        "updates": status["updates"],
        "copies": status["copies"],
        "seconds": seconds,
    }


def write_page(folder: Path, status: dict[str, Any], result: dict[str, Any]) -> Path:
    """Write accuracy per version as a page; its path."""
    accuracy = [
        (version["version"], version["metrics"]["accuracy"])
        for version in status["versions"]
        if "accuracy" in version["metrics"]
    ]
    summary = (
        f"{WORKERS} flaky workers, {result['rounds']} rounds in {result['seconds']} s: accuracy "
        f"{result['accuracy']} on {HOLD_OUT}."
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "accuracy.html"
    path.write_text(page("fedmq demo", summary, accuracy, status["updates"]), encoding="utf-8")
    return path


def tell(result: dict[str, Any], chart: Path) -> None:
    """Print what the demo came to, in words."""
    copies = f"({result['copies']} copies were not counted again)"
    say_result(f"accuracy {result['accuracy']:.4f} on {HOLD_OUT}")
    say_result(f"{result['rounds']} rounds in {result['seconds']} s")
    say_result(f"{updates_of(result['updates'])} {copies}")
    say_result(f"accuracy per round: {chart}")
