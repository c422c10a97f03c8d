"""`fedmq explain`: why was this not counted?"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from coordinator.explaining.answer import Explanation, Reading
from coordinator.explaining.asked import READINGS, explain
from settings import load
from settings.command import say_result

DESCRIPTION = (
    "Say in words what became of a round, an update, a task or a worker, and why. A number is a "
    "round: that of the model version its updates are added to. Six or more hexadecimal digits "
    "begin the id of an update or a task, or the digest of a stray. Anything may be a worker's "
    "name. Where a word can be several of these it says which was taken; --as takes another."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fedmq explain`."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="a round, an update id or a task id or how it begins, or a worker's name",
    )
    parser.add_argument("--config", type=Path, help="the federation.toml (default: none)")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="instead of coordinator.state_dir of the settings"
    )
    parser.add_argument(
        "--run", default="", metavar="ID", help="whose round is meant (default: the newest run's)"
    )
    parser.add_argument(
        "--as", dest="reading", choices=READINGS, help="what it is, if it could be several things"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation."""
    overrides = {"coordinator.state_dir": arguments.state_dir}
    settings = load(arguments.config, os.environ, overrides)
    found, others = explain(settings, arguments.what, time.time(), arguments.run, arguments.reading)
    if arguments.json:
        say_result(json.dumps(object_of(found, others)))
    else:
        say_result("\n".join([*found.words, *hints_of(arguments.what, found, others)]))
    return 0


def object_of(found: Explanation, others: list[Reading]) -> dict[str, object]:
    """An explanation as JSON has it."""
    return {
        "as": found.reading,
        "subject": found.subject,
        "known": found.known,
        "also": others,
        **found.facts,
        "words": found.words,
    }


def hints_of(asked: str, found: Explanation, others: list[Reading]) -> list[str]:
    """How else the word could be read."""
    return [
        f"({asked} was read as a {found.reading}; --as {other} says what is known of the {other} "
        "of that name.)"
        for other in others
    ]
