"""`fedmq export`: write a model version to a file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import cast

from coordinator.reports import Which, export_model
from settings import SettingsError, load
from settings.command import say_result

DESCRIPTION = (
    "Write a model version to a safetensors file: of a run that stopped early the best, of any "
    "other the newest, unless told otherwise."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fedmq export`."""
    parser.add_argument("--config", type=Path, help="the federation.toml (default: none)")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="instead of coordinator.state_dir of the settings"
    )
    parser.add_argument("--run", default="", metavar="ID", help="a run's id or how it begins")
    parser.add_argument(
        "--model-version",
        type=_version,
        default="",
        metavar="N",
        help='its number, "newest", or "best" by what was evaluated',
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="where to write it"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    overrides = {"coordinator.state_dir": arguments.state_dir}
    settings = load(arguments.config, os.environ, overrides)
    output: Path = arguments.output
    if not output.parent.is_dir():
        raise SettingsError("--output", "a file in a folder that exists", str(output))
    row, why = export_model(settings, output, arguments.run, arguments.model_version)
    size = output.stat().st_size
    about = f" ({why})" if why else ""
    say_result(f"{output}: version {row.version}{about} of run {row.run_id[:8]}, {size} bytes")
    return 0


def _version(text: str) -> int | Which:
    if text in ("newest", "best"):
        return cast(Which, text)
    try:
        return int(text)
    except ValueError:
        expected = f'expected a number, "newest" or "best", came {text!r}'
        raise argparse.ArgumentTypeError(expected) from None
