"""The page of what benchmarks found, written from the JSON that they kept.

    python -m benchmarks.page      writes docs/explanation/benchmarks.md and its charts

It says nothing that is not in the files under benchmarks/results, but what the benchmarks are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.charts import Groups, bars
from benchmarks.record import RESULTS, Claim, number

PAGE = RESULTS.parent.parent / "docs" / "explanation" / "benchmarks.md"
CHARTS = PAGE.parent / "charts"
HEAD = """\
# What it costs: benchmarks

Written by `python -m benchmarks.page` from what is kept under
[benchmarks/results](../../benchmarks/results).

`make bench` runs all but the long ones, one after the other, and writes this page (`ONLY=rounds`
for one). `make peers` installs Flower and NVFlare, each in an environment of its own, which fedmq
never imports; `make versus` then runs the rounds of all three, in a quarter of an hour. Each
benchmark prints the machine, its parameters and its figures, and whether what is promised holds;
`million` and `agreement`, of which nothing is promised, print and keep nothing.

A figure means little without what it is compared with, so both are measured in one run. The floor
and our rounds take turns; peers run just before ours. The floor is bare pika that moves the same
bytes over the same kinds of queue, durable and confirmed, with large reads: it syncs nothing of its
own, keeps no ledger, and adds up what comes. Beside it stands, as "duties", the floor that also has
on disk what must be there, in one plain way and without any rule: what the promises cost somebody
who keeps them without a thought of speed. In "Rounds" workers share a process, as the floor's
clients do; beside peers each is a process of its own, as theirs are. Work of one thread that waits
for nothing is measured in seconds of CPU.
"""

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """What the page has of one benchmark.

    Attributes:
        chart: Title, unit and bars of its chart, from its figures; None: it has none.
    """

    name: str
    title: str
    chart: Callable[[list[Result]], tuple[str, str, Groups] | None] = lambda figures: None


def _rounds(figures: list[Result]) -> tuple[str, str, Groups]:
    bars = {"floor_ms": "the floor", "duties_ms": "the floor, on disk", "fedmq_ms": "fedmq"}
    groups = {
        figure["what"]: {label: figure[key] for key, label in bars.items() if key in figure}
        for figure in figures
        if "floor_ms" in figure
    }
    return "a round beside the floor", "milliseconds", groups


def _peers(figures: list[Result]) -> tuple[str, str, Groups]:
    groups: dict[str, dict[str, float]] = {}
    for figure in figures:
        label = f"N={figure['clients']}, {figure['params']:,} parameters"
        groups.setdefault(label, {})[figure["who"]] = figure["s"]
    return "a round beside peers", "seconds", groups


def _sums(figures: list[Result]) -> tuple[str, str, Groups]:
    groups: dict[str, dict[str, float]] = {}
    for figure in figures:
        if "fedmq_ms" in figure:
            found = {"one copy, one add": figure["least_ms"], "fedmq": figure["fedmq_ms"]}
            groups[figure["what"]] = found
        else:  # a peer's: "name version, K=…, … parameters"
            peer, _, what = figure["what"].partition(", ")
            groups[what][peer] = min(value for key, value in figure.items() if key.endswith("_ms"))
    return "the sum of K updates from wire bytes", "milliseconds of CPU", groups


SECTIONS = (
    Section("rounds", "Rounds", _rounds),
    Section("beside_peers", "Rounds beside peers", _peers),
    Section("aggregation", "Sums", _sums),
    Section("memory", "Memory"),
    Section("wire", "The wire"),
    Section("crowd", "Many workers at once"),
    Section("idle", "At rest"),
    Section("deadline", "Deadlines"),
    Section("recovery", "After a restart"),
    Section("big", "A model of a gigabyte"),
)


def results() -> dict[str, Result]:
    """What is kept, by benchmark."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}


def page(found: Mapping[str, Result]) -> str:
    """The page."""
    parts = [HEAD, *_claims(found)]
    for section in SECTIONS:
        if section.name in found:
            parts += _section(section, found[section.name])
    return "\n".join(parts)


def charts(found: Mapping[str, Result]) -> dict[str, str]:
    """Each chart as SVG, by its file's name."""
    drawn = {}
    for section in SECTIONS:
        if section.name in found:
            made = section.chart(found[section.name]["figures"])
            if made is not None:
                drawn[f"{section.name}.svg"] = bars(*made)
    return drawn


def _claims(found: Mapping[str, Result]) -> Iterator[str]:
    yield "## What is promised, and what was measured\n"
    if not found:
        yield "Nothing is kept yet.\n"
        return
    yield "| | what | measured | promised | by |\n|---|---|---|---|---|"
    for section in SECTIONS:
        for each in found.get(section.name, {}).get("claims", ()):
            claim = Claim(**{key: value for key, value in each.items() if key != "outcome"})
            measured = claim.why if claim.measured is None else _with_unit(claim.measured, claim)
            promised = f"{claim.sense} {_with_unit(claim.bound, claim)}"
            command = f"`python -m benchmarks.{section.name}`"
            yield f"| {claim.outcome} | {claim.claim} | {measured} | {promised} | {command} |"
    yield ""


def _with_unit(value: float, claim: Claim) -> str:
    return f"{number(value)}{claim.unit}"


def _section(section: Section, result: Result) -> Iterator[str]:
    yield f"## {section.title}\n"
    machine = result["machine"]
    yield (
        f"`{result['command'].strip()}`, {result['date'][:10]}, commit `{result['commit']}`: "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}, pika {machine['pika']}, numpy {machine['numpy']}.\n"
    )
    if section.chart(result["figures"]) is not None:
        yield f"![{section.title}](charts/{section.name}.svg)\n"
    for figure in result["figures"]:
        values = ", ".join(
            f"{_words(key)} {_value(value)}"
            for key, value in figure.items()
            if key not in ("what", "workers", "params", "updates", "clients", "who")
        )
        yield f"- **{figure['what']}**: {values}"
    yield ""


def _words(key: str) -> str:
    return key.replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{_words(key)} {_value(each)}" for key, each in value.items()) + ")"
    return number(value) if isinstance(value, int | float) else str(value)


def main() -> None:
    """Write the page and its charts."""
    found = results()
    CHARTS.mkdir(exist_ok=True)
    for name, drawn in charts(found).items():
        (CHARTS / name).write_text(drawn)
    PAGE.write_text(page(found))
    print(f"written: {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")


if __name__ == "__main__":
    main()
