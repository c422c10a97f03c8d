"""`fedmq coordinator`."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from broker.connect import open_transport
from coordinator.allocation import keep_memory_of_messages
from coordinator.display import display_for
from coordinator.errors import Damaged, StoreError
from coordinator.progress import Progress
from coordinator.service import CoordinatorService
from settings import Settings, load, require
from settings.command import say, say_result
from settings.health import VARIABLE, HealthSocket
from settings.logging import LEVELS, configure_logging
from settings.signals import heeding

ADVICE = (
    "put a backup of the state folder back and start with --restored, or begin another run with "
    "--new-run"
)
DESCRIPTION = (
    "Run the coordinator of a federation: it publishes tasks to the broker, counts the updates "
    "that come back, and makes the next model version of them. Stop it with Ctrl-C; the same "
    "command goes on where it stopped. SIGHUP has it read [run], [rounds], [algorithm], "
    "[selection] and [wire] of its settings again."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the coordinator's arguments."""
    add_common_arguments(parser)
    parser.add_argument(
        "--new-run", action="store_true", help="begin another run, even if the last has not ended"
    )
    parser.add_argument(
        "--restored",
        action="store_true",
        help="the state folder was restored from a backup: go on from it in a new incarnation",
    )
    parser.add_argument(
        "--health",
        default=os.environ.get(VARIABLE, ""),
        metavar="SOCKET",
        help=f"where `fedmq health` may ask how it is (default: {VARIABLE} of the environment, or "
        "nowhere)",
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command that reads the coordinator's settings takes."""
    parser.add_argument("--config", type=Path, help="the federation.toml (default: none)")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="instead of coordinator.state_dir of the settings"
    )
    parser.add_argument(
        "--log-level",
        choices=LEVELS,
        default=os.environ.get("FEDMQ_LOG_LEVEL", "warning"),
        help="how much is logged on stderr (default: warning)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object on the last line"
    )


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings that the arguments name."""
    overrides = {"coordinator.state_dir": arguments.state_dir}
    return load(arguments.config, os.environ, overrides)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the run has ended or someone stops us."""
    configure_logging(arguments.log_level)
    keep_memory_of_messages()
    settings = settings_of(arguments)
    require(settings, "learner.path")
    try:
        return _serve(arguments, settings)
    except Damaged as error:
        raise StoreError(f"{error}; {ADVICE}") from error


def _serve(arguments: argparse.Namespace, settings: Settings) -> int:
    began = time.monotonic()
    with display_for(sys.stdout) as display:
        service = CoordinatorService(
            settings,
            lambda post: open_transport(
                settings.broker.url,
                post,
                "coordinator",
                heartbeat_s=math.ceil(settings.broker.heartbeat_s),
                connect_timeout_s=settings.broker.connect_timeout_s,
            ),
            display.show,
            new_run=arguments.new_run,
            restored=arguments.restored,
            read_again=lambda: settings_of(arguments),
        )
        with (
            contextlib.closing(service),
            HealthSocket(arguments.health, service.ask_health),
            heeding(service.stop, service.reload),
        ):
            if service.finished_before:
                say(ended_before(service, settings.rounds.drain_s))
            end = service.run()
    if arguments.json:
        say_result(json.dumps(result_of(end, time.monotonic() - began)))
    return 0 if end.state == "ended" else 130


def ended_before(service: CoordinatorService, drain_s: float) -> str:
    """What becomes of a run that had ended before this start."""
    had = f"run {service.run_id[:8]} had ended"
    if service.makes_versions:
        return f"{had}, and goes on: by the settings of today it is not over"
    return f"{had}; what still comes is recorded for {drain_s:g} s. --new-run begins another"


def result_of(end: Progress, seconds: float) -> dict[str, Any]:
    """The result of a run as JSON has it."""
    return {
        "run": end.run_id,
        "state": end.state,
        "version": end.version,
        "rounds": end.rounds,
        "updates": dict(end.updates),
        "metrics": dict(end.metrics),
        "seconds": round(seconds, 3),
    }
