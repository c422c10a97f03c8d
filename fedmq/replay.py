"""`fedmq replay`: make model versions again, and compare."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from coordinator.records import VersionRow
from coordinator.replay import Replay, Replayed
from coordinator.wording import count_of
from settings import SettingsError, load
from settings.command import or_unsaid, say_result

DESCRIPTION = (
    "Make each model version of a run again, from the version before it and the updates that the "
    "ledger counts, and compare digests. The state folder is only read; the coordinator may be "
    "running. Exit code 0: at least one version was made again, and nothing differs or is damaged. "
    "1: something does or is (a model file, too), or nothing could be made again, because neither "
    "updates nor models of long ago are kept (coordinator.spool_keep_rounds, "
    "coordinator.keep_versions)."
)
EXIT_NOT_PROVED = 1
FILES_NAMED = 10  # versions whose files are wrong, in the last line; JSON names all
_SPAN = re.compile(r"(?P<first>\d{1,9})?(?P<to>-)?(?P<last>\d{1,9})?", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fedmq replay`."""
    parser.add_argument(
        "run",
        nargs="?",
        default="",
        metavar="RUN",
        help="its id or how it begins (default: newest)",
    )
    parser.add_argument("--config", type=Path, help="the federation.toml (default: none)")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="instead of coordinator.state_dir of the settings"
    )
    parser.add_argument(
        "--versions", default="", metavar="A-B", help="only these, or one (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Make the versions again, and say what was found."""
    overrides = {"coordinator.state_dir": arguments.state_dir}
    settings = load(arguments.config, os.environ, overrides)
    first, last = span_of(arguments.versions)
    keep = settings.coordinator
    with contextlib.closing(Replay(keep.state_dir, arguments.run, keep.keep_versions)) as replay:
        rows = replay.select(first, last)
        with _watching(rows) as (watch, tell):
            show = ignore if arguments.json else lambda found: tell(line_of(found))
            results = list(_shown(replay.replay(rows, watch), show))
    summary = summary_of(results)
    if arguments.json:
        found = [asdict(result) for result in results]
        say_result(json.dumps({"run": replay.run.run_id, **summary, "versions": found}))
    else:
        say_result(words_of(summary))
    return 0 if summary["proved"] else EXIT_NOT_PROVED


def span_of(text: str) -> tuple[int | None, int | None]:
    """The first and the last version that "3-7", "3-", "-7" or "3" means; None: no bound.

    Raises:
        SettingsError: If it is none of these.
    """
    found = _SPAN.fullmatch(text)
    first, last = (None, None) if found is None else (found["first"], found["last"])
    low, high = (None if digits is None else int(digits) for digits in (first, last))
    if found is not None and not found["to"]:
        high = low
    if found is None or text == "-" or (low is not None and high is not None and low > high):
        raise SettingsError("--versions", 'a span of versions such as "3-7", or one', text)
    return low, high


def ignore(found: Replayed) -> None:
    """Show nothing."""


def line_of(found: Replayed) -> str:
    """What a version is found to be, in one line."""
    parts = [f"version {found.version:>4}  {found.outcome}", f"{found.digest[:12]}…"]
    if found.outcome == "the same":
        parts.append(f"made again of {count_of(found.updates, 'update')}")
    elif found.outcome == "initial":
        parts.append("made of nothing" + (": its file has its digest" * (found.file == "whole")))
    elif found.outcome == "differs":
        parts.append(f"came {found.came[:12]}… from {count_of(found.updates, 'update')}")
    if found.detail:
        parts.append(found.detail)
    return "  ".join(parts)


def summary_of(results: Iterable[Replayed]) -> dict[str, Any]:
    """How many versions were found to be what, and whose own files are not what they should be.

    "proved" is what the exit code says.
    """
    counts = {"the same": 0, "differs": 0, "damaged": 0, "not recomputed": 0, "initial": 0}
    files: dict[str, list[int]] = {"damaged": [], "missing": []}
    wrong = False
    for result in results:
        counts[result.outcome] += 1
        if result.file in files:
            files[result.file].append(result.version)
        wrong = wrong or result.wrong
    return {
        "same": counts["the same"],
        "differs": counts["differs"],
        "damaged": counts["damaged"],
        "not_recomputed": counts["not recomputed"],
        "files_damaged": files["damaged"],
        "files_missing": files["missing"],
        "proved": bool(counts["the same"]) and not wrong,
    }


def words_of(summary: dict[str, Any]) -> str:
    """A summary in one line."""
    text = (
        f"{summary['same']} the same, {summary['differs']} differ, {summary['damaged']} damaged, "
        f"{summary['not_recomputed']} cannot be made again"
    )
    for state in ("damaged", "missing"):
        versions: list[int] = summary[f"files_{state}"]
        if versions:
            named = ", ".join(map(str, versions[:FILES_NAMED]))
            more = ", …" if len(versions) > FILES_NAMED else ""
            text += f", {count_of(len(versions), 'model file')} {state} (version {named}{more})"
    if not summary["same"]:
        return f"{text}: nothing is proved"
    return text


def _shown(results: Iterable[Replayed], show: Callable[[Replayed], None]) -> Iterator[Replayed]:
    """The results, each shown as soon as it is there."""
    for result in results:
        show(result)
        yield result


@contextlib.contextmanager
def _watching(
    rows: list[VersionRow],
) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """Who watches the updates that are added, and who prints a line: in a terminal, with a bar."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield (lambda updates: None), say_result
        return
    from tqdm import tqdm

    total = sum(row.counted for row in rows)
    with tqdm(total=total, unit=" updates", file=sys.stderr, leave=False) as bar:

        def tell(line: str) -> None:
            with or_unsaid():
                tqdm.write(line, file=sys.stdout)

        yield bar.update, tell
