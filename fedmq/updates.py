"""`fedmq updates`: every update that came, and what became of it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import get_args

from coordinator.events import Verdict
from coordinator.listing import Listing, facts_of
from coordinator.records import LedgerRow, StrayRow
from coordinator.wording import moment
from settings import SettingsError, load
from settings.command import write_result
from settings.errors import one_line, show

DESCRIPTION = (
    "List every update that the coordinator received, and its one verdict; then the messages that "
    "could take no update id (strays), by the digest of their bytes. `fedmq explain ID` says more "
    "about one. A round has the number of the model version that its updates are added to."
)
HEADINGS = (
    "id",
    "worker",
    "task",
    "run",
    "kind",
    "base",
    "round",
    "verdict",
    "weight",
    "staleness",
    "copies",
    "examples",
    "received",
    "reason",
)
RIGHT = ("base", "round", "weight", "staleness", "copies", "examples")  # numbers
MEASURED_ROWS = 200  # decide how wide the columns are; what is wider later moves its row
ID_SHOWN = 12
ROUND_MAX = 999_999_999  # more than a store can hold

Write = Callable[[str], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fedmq updates`."""
    parser.add_argument("--config", type=Path, help="the federation.toml (default: none)")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="instead of coordinator.state_dir of the settings"
    )
    parser.add_argument(
        "--run",
        default="",
        metavar="ID",
        help="only of the run whose id begins so (default: all runs; with --round the newest)",
    )
    parser.add_argument(
        "--round",
        type=int,
        metavar="N",
        help="only what came while model version N was the current one",
    )
    parser.add_argument(
        "--worker", metavar="NAME", help="only of this worker, and strays that say so"
    )
    parser.add_argument(
        "--verdict", choices=get_args(Verdict), metavar="V", help="only with this verdict"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON array, an update on each line"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the list."""
    overrides = {"coordinator.state_dir": arguments.state_dir}
    settings = load(arguments.config, os.environ, overrides)
    _check_round(arguments.round)
    listing = Listing(
        settings.coordinator.state_dir,
        arguments.run,
        arguments.round,
        arguments.worker,
        arguments.verdict,
    )
    with contextlib.closing(listing):
        if arguments.json:
            write_json(listing, write_result)
        else:
            write_table(listing, write_result)
    return 0


def _check_round(version: int | None) -> None:
    if version is not None and not 0 <= version <= ROUND_MAX:
        raise SettingsError("--round", f"a model version from 0 to {ROUND_MAX}", show(version))


def write_json(rows: Iterable[LedgerRow | StrayRow], write: Write) -> None:
    """Write rows as one JSON array, one at a time."""
    before = "["
    for row in rows:
        write(f"{before}\n{json.dumps(facts_of(row))}")
        before = ","
    write("[]\n" if before == "[" else "\n]\n")


def write_table(rows: Iterable[LedgerRow | StrayRow], write: Write) -> None:
    """Write rows as a table, one at a time."""
    cells = map(cells_of, rows)
    first = list(islice(cells, MEASURED_ROWS))
    if not first:
        write("no updates\n")
        return
    widths = [max(map(len, column)) for column in zip(HEADINGS, *first, strict=True)]
    for line in chain([HEADINGS], first, cells):
        write("  ".join(_aligned(line, widths)).rstrip() + "\n")


def cells_of(row: LedgerRow | StrayRow) -> tuple[str, ...]:
    """A row's cells; what a stray claims stands in brackets."""
    if isinstance(row, StrayRow):
        worker, task = (row.claims.get(name) for name in ("worker_id", "task_id"))
        return (
            f"stray {row.digest[:ID_SHOWN]}",
            f"({worker})" if worker else "-",
            f"({task[:ID_SHOWN]})" if task else "-",
            "-",
            "-",
            "-",
            "-",
            row.verdict if row.accepted_at is None else "accepted",
            "-",
            "-",
            str(row.copies),
            "-",
            moment(row.received_at),
            _why(row),
        )
    return (
        row.update_id[:ID_SHOWN],
        row.worker_id,
        row.task_id[:ID_SHOWN],
        row.run_id[:8],
        row.kind,
        str(row.base_version),
        str(row.round_version),
        row.verdict,
        f"{row.weight:g}",
        str(row.staleness),
        str(row.copies),
        str(row.num_examples),
        moment(row.received_at),
        one_line(row.reason),
    )


def _why(row: StrayRow) -> str:
    if row.accepted_at is None:
        return one_line(row.reason)
    return f"{moment(row.accepted_at)}; before: {row.verdict} ({one_line(row.reason)})"


def _aligned(cells: Iterable[str], widths: list[int]) -> Iterator[str]:
    for heading, cell, width in zip(HEADINGS, cells, widths, strict=True):
        yield cell.rjust(width) if heading in RIGHT else cell.ljust(width)
