"""`fedmq health`: whether a service on this machine is well."""

from __future__ import annotations

import argparse
import os

from settings import SettingsError
from settings.command import say_result
from settings.health import VARIABLE, ask_health

DESCRIPTION = (
    "Ask a coordinator or a worker on this machine, started with --health, how it is: it answers "
    "from its own loop. The exit code is 0 if it is well: at work, or away because it is meant to "
    "be. It is 1 if it does not answer or does not reach the broker. For health checks of "
    "containers."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fedmq health`."""
    parser.add_argument(
        "socket",
        nargs="?",
        default=os.environ.get(VARIABLE, ""),
        metavar="SOCKET",
        help=f"what it was started with as --health (default: {VARIABLE} of the environment)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print the answer."""
    if not arguments.socket:
        raise SettingsError("SOCKET", f"the socket of a service, here or in {VARIABLE}", "none")
    health = ask_health(arguments.socket)
    say_result(health.words)
    return 0 if health.well else 1
