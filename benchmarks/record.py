"""What a benchmark found: figures, and claims that hold or do not.

    record = Record("rounds", {"rounds": 30})
    record.figure("10000 parameters, N=2", floor_ms=2.1, fedmq_ms=4.0)
    record.at_most("N=2, 10000 parameters: times the floor", 1.9, 2.5)
    record.end(keep=True)          # prints the claims; a JSON file under benchmarks/results

Each figure is printed as it is found. A claim that cannot be measured here is not left out: `skip`
says why.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, machine

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Claim:
    """A promise, and what was measured.

    Attributes:
        measured: None if it could not be; `why` then says so.
        sense: "at most" or "at least" the bound.
    """

    claim: str
    measured: float | None
    sense: str
    bound: float
    unit: str = ""
    why: str = ""

    @property
    def outcome(self) -> str:
        """PASS, FAIL or SKIPPED."""
        if self.measured is None:
            return "SKIPPED"
        met = (
            self.measured <= self.bound if self.sense == "at most" else self.measured >= self.bound
        )
        return "PASS" if met else "FAIL"

    def __str__(self) -> str:
        found = self.why if self.measured is None else f"{number(self.measured)}{self.unit}"
        bound = f"{self.sense} {number(self.bound)}{self.unit}"
        return f"{self.outcome:7} {self.claim}: {found} ({bound})"


class Record:
    """The figures and claims of one run of a benchmark.

    Args:
        name: Of the benchmark, and of its file.
        parameters: What it was started with.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        self.name = name
        self._parameters = dict(parameters)
        self._machine = machine()
        self._figures: list[dict[str, Any]] = []
        self._claims: list[Claim] = []
        shown = ", ".join(f"{key} {value}" for key, value in self._machine.items())
        print(f"{name}: {shown}; commit {commit()}")
        print("  " + ", ".join(f"{key} {value}" for key, value in self._parameters.items()))

    def figure(self, what: str, **values: Any) -> None:
        """Note some values that belong together."""
        self._figures.append({"what": what, **values})
        shown = ", ".join(f"{key} {_shown(value)}" for key, value in values.items())
        print(f"  {what}: {shown}", flush=True)

    def at_most(self, claim: str, measured: float, bound: float, unit: str = "") -> None:
        """Note a claim that something is not above a bound."""
        self._claims.append(Claim(claim, measured, "at most", bound, unit))

    def at_least(self, claim: str, measured: float, bound: float, unit: str = "") -> None:
        """Note a claim that something is not below a bound."""
        self._claims.append(Claim(claim, measured, "at least", bound, unit))

    def skip(self, claim: str, sense: str, bound: float, why: str, unit: str = "") -> None:
        """Note a claim that cannot be measured here, and why."""
        self._claims.append(Claim(claim, None, sense, bound, unit, why))

    def end(self, *, keep: bool) -> None:
        """Print the claims; if to be kept, write the file, in place of that of the run before."""
        for claim in self._claims:
            print(claim, flush=True)
        if not keep:
            return
        RESULTS.mkdir(exist_ok=True)
        found = {
            "benchmark": self.name,
            "commit": commit(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
            "command": f"python -m benchmarks.{self.name} " + " ".join(sys.argv[1:]),
            "machine": self._machine,
            "parameters": self._parameters,
            "figures": self._figures,
            "claims": [{**asdict(claim), "outcome": claim.outcome} for claim in self._claims],
        }
        file = RESULTS / f"{self.name}.json"
        file.write_text(json.dumps(found, indent=1) + "\n")
        print(f"kept in {file.relative_to(RESULTS.parent.parent)}")


def number(value: float) -> str:
    """Three digits that say something, and no power of ten below a million."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what all benchmarks know."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="write the result's JSON file")
    return parser


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key} {_shown(each)}" for key, each in value.items()) + ")"
    return str(value)
