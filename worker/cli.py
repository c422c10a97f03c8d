"""`fedmq worker`."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from broker.connect import open_transport
from broker.topology import is_worker_id
from depot import Depot, DepotUnusable, depot_of
from settings import Settings, SettingsError, load, require
from settings.command import complain, say_result
from settings.duration import parse_duration
from settings.errors import show
from settings.health import VARIABLE, HealthSocket
from settings.logging import LEVELS, configure_logging
from settings.signals import heeding
from worker.availability import is_open
from worker.config import WorkerConfig, default_worker_id, worker_config
from worker.errors import StateInUseError
from worker.numbering import NUMBERS_MAX, free_numbers, is_numbered, with_number
from worker.options import Forever, Once, Plan, UntilRunEnds
from worker.report import WorkerReport
from worker.service import WorkerService, local_minute
from worker.trainer import ProcessTrainer

_log = logging.getLogger("worker")

DESCRIPTION = (
    "Run a worker: it takes tasks from the broker, trains on data that stay here, and sends back "
    "what it learned. It may be stopped (Ctrl-C), lose its connection or its power at any time: "
    "the same command goes on where it stopped."
)

WAIT = "30s"  # with --once; not argparse's default, since --wait without --once is refused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the worker's arguments."""
    parser.add_argument("--config", type=Path, help="the federation.toml (default: none)")
    parser.add_argument(
        "--id",
        metavar="NAME",
        help="who this worker is: 1 to 64 of A-Z a-z 0-9 _ -, its own in the federation "
        "(default: this machine's name). A * in it is the lowest number that no other worker on "
        "this machine has, and stands for it in --data too",
    )
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="instead of worker.state_dir of the settings; the worker keeps its state in a folder "
        "of its name in it",
    )
    parser.add_argument("--data", help="instead of learner.data of the settings")
    parser.add_argument(
        "--once",
        action="store_true",
        help="send what is still to be sent, take at most one task, see it through, and leave",
    )
    parser.add_argument(
        "--wait",
        metavar="TIME",
        help=f"with --once: how long to wait for the broker and for a task (default: {WAIT})",
    )
    parser.add_argument(
        "--health",
        default=os.environ.get(VARIABLE, ""),
        metavar="SOCKET",
        help=f"where `fedmq health` may ask how it is (default: {VARIABLE} of the environment, or "
        "nowhere)",
    )
    parser.add_argument(
        "--until-run-ends", action="store_true", help="leave when the run has ended"
    )
    parser.add_argument(
        "--log-level",
        choices=LEVELS,
        default=os.environ.get("FEDMQ_LOG_LEVEL", "info"),
        help="how much is logged on stderr (default: info)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print what was done as one JSON object on the last line",
    )


def run(arguments: argparse.Namespace) -> int:
    """Work until the plan is fulfilled or someone stops us."""
    configure_logging(arguments.log_level)
    settings = load(arguments.config, os.environ, overrides_of(arguments))
    require(settings, "learner.path")
    config = config_of(settings, arguments)
    if isinstance(config.options.plan, Once) and not is_open(config.availability, local_minute()):
        report = replace(
            WorkerReport(config.worker_id), exit_code=0, reason="outside of worker.hours"
        )
    else:
        report = _work(settings, config, arguments.health)
    return _tell(report, as_json=arguments.json)


def overrides_of(arguments: argparse.Namespace) -> dict[str, object]:
    """What the command line sets, by the setting's name."""
    return {"worker.state_dir": arguments.state_dir, "learner.data": arguments.data}


def config_of(settings: Settings, arguments: argparse.Namespace) -> WorkerConfig:
    """The worker that settings and command line describe.

    Raises:
        SettingsError: The id, the time to wait or the learner's file cannot be used.
    """
    worker_id = arguments.id if arguments.id is not None else default_worker_id()
    if not is_worker_id(with_number(worker_id, NUMBERS_MAX)):
        raise SettingsError("--id", "1 to 64 of A-Z a-z 0-9 _ -", show(worker_id))
    _check_file(settings.learner.path)
    config = worker_config(settings, worker_id, plan_of(arguments))
    return replace(config, folder=settings.worker.state_dir / worker_id)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """How long to work.

    Raises:
        SettingsError: The time to wait is no duration or waits for nothing, or two plans are named.
    """
    if arguments.once and arguments.until_run_ends:
        raise SettingsError("--once", "one of --once and --until-run-ends", "both")
    wait = WAIT if arguments.wait is None else arguments.wait
    try:
        wait_s = parse_duration(wait)
    except ValueError:
        raise SettingsError("--wait", 'a duration ("30s", "10m")', show(wait)) from None
    if arguments.once:
        return Once(wait_s)
    if arguments.wait is not None:
        raise SettingsError(
            "--wait",
            "--once with it",
            show(wait),
            hint="without --once a worker waits for as long as it runs",
        )
    return UntilRunEnds() if arguments.until_run_ends else Forever()


def _check_file(spec: str) -> None:
    """Say at once that the learner's file is missing, not when the first task has come."""
    if spec.startswith("fedmq:"):
        return
    path = Path(spec if spec.endswith(".py") else spec.rpartition(":")[0])
    if not path.is_file():
        raise SettingsError("learner.path", "a file that exists", show(str(path)))


def _work(settings: Settings, config: WorkerConfig, health: str) -> WorkerReport:
    with closing(ProcessTrainer()) as trainer:
        service = _started(settings, config, trainer)
        with heeding(service.ask_to_stop), closing(trainer):
            with HealthSocket(health, service.ask_health):
                service.join()
            trainer.join(config.options.leave_s)  # an update that is just being written is kept
    return service.report


def _started(settings: Settings, config: WorkerConfig, trainer: ProcessTrainer) -> WorkerService:
    """The worker at work, with the lowest number if its id is one of many."""
    if not is_numbered(config.worker_id):
        service = _service(settings, config, trainer)
        service.start()
        return service
    for numbered in free_numbers(config):
        service = _service(settings, numbered, trainer)
        try:
            service.start()
        except StateInUseError:  # another one was quicker
            continue
        _log.info("%s: this worker is %s", config.worker_id, numbered.worker_id)
        return service
    raise AssertionError("numbers do not end without an error")


def _service(settings: Settings, config: WorkerConfig, trainer: ProcessTrainer) -> WorkerService:
    broker = settings.broker
    return WorkerService(
        config,
        lambda post: open_transport(
            broker.url,
            post,
            config.worker_id,
            heartbeat_s=math.ceil(broker.heartbeat_s),
            connect_timeout_s=broker.connect_timeout_s,
            linger_s=settings.worker.reader_linger_s,
            driven=True,
        ),
        trainer,
        depot=_depot_of(settings),
    )


def _depot_of(settings: Settings) -> Depot | None:
    """The depot that is set.

    Raises:
        SettingsError: It cannot be used.
    """
    try:
        return depot_of(settings)
    except DepotUnusable as error:
        raise SettingsError("depot.url", "a depot that can be used", str(error)) from error


def _tell(report: WorkerReport, *, as_json: bool) -> int:
    code = 1 if report.exit_code is None else report.exit_code
    if code:
        complain(report.reason)
    if as_json:
        say_result(json.dumps(report.as_json()))
    return code
