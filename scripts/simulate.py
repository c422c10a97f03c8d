"""Try many seeds of the simulated world; `make simulate SEEDS=1000`.

Each seed is a federation of its own in virtual time, with crashes at any step of store and broker,
power cuts that forget what was not synced, full disks, rotten bytes, restored backups, lost
connections, duplicates and clocks that jump. A seed that breaks a law is printed with its history,
and can be run again alone: `make simulate SEEDS=1 FIRST=<seed>`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from simulation.explore import Finding, explore

TOLD_EVERY_S = 10.0
_EVIDENCE = """\
# Evidence of the simulator

<!-- Written by `make simulate SEEDS={seeds} EVIDENCE=FILE`; not by hand. -->

{seeds} federations of 2 to 4 workers, the services themselves in virtual time, were broken
at random ([decision 0017](../decisions/0017-the-simulated-world-runs-the-services.md)).
After each step it was looked whether a verdict had changed, an update or a task was lost, a
worker had counted twice, or a model version held anything but what its algorithm (the mean,
momentum or CA2FL) makes of what the ledger counts. After all was healed, each had to come to its
end with a verdict for every finished update.

Python {python} on {machine}, {cores} cores, {seconds:.0f} s.

| what came of it | |
|---|---:|
| seeds | {seeds} |
| updates finished on a worker's disk | {finished} |
{verdicts}
| beside these: given up, since a worker's disk had changed them | {given_up} |
| beside these: judged after a backup from which the coordinator was restored | {lost} |
| **finished updates without a verdict** | {without} |
| **seeds that break a law** | {broken} |

| faults that happened | |
|---|---:|
{faults}
| **all faults** | {all_faults} |
"""


@dataclass(frozen=True)
class Sum:
    """What came of all seeds."""

    findings: list[Finding]
    seconds: float

    @property
    def faults(self) -> Counter[str]:
        """How often each kind of fault happened."""
        return sum((finding.faults for finding in self.findings), Counter())

    @property
    def verdicts(self) -> Counter[str]:
        """How many updates have each verdict."""
        return sum((finding.verdicts for finding in self.findings), Counter())

    @property
    def finished(self) -> int:
        """How many updates were finished."""
        return sum(finding.finished for finding in self.findings)

    @property
    def broken(self) -> list[int]:
        """The seeds that break a law."""
        return [finding.seed for finding in self.findings if finding.broken]

    def in_words(self) -> str:
        """For the terminal."""
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.most_common())
        return "\n".join(
            [
                f"{len(self.findings)} seeds in {self.seconds:.0f} s; faults that happened:",
                *(f"{count:>8}  {kind}" for kind, count in self.faults.most_common()),
                f"{self.finished} updates were finished; verdicts: {verdicts}",
                f"seeds that break a law: {', '.join(map(str, self.broken)) or 'none'}",
            ]
        )

    def as_page(self) -> str:
        """For the documentation."""
        return _EVIDENCE.format(
            seeds=len(self.findings),
            python=platform.python_version(),
            machine=platform.machine(),
            cores=os.cpu_count(),
            seconds=self.seconds,
            finished=self.finished,
            verdicts=_rows(self.verdicts, "… of these "),
            without=self.finished - sum(self.verdicts.values()),
            given_up=sum(finding.given_up for finding in self.findings),
            lost=sum(finding.lost for finding in self.findings),
            broken=len(self.broken),
            faults=_rows(self.faults),
            all_faults=sum(self.faults.values()),
        )


def _rows(counts: Counter[str], before: str = "") -> str:
    return "\n".join(f"| {before}{name} | {count} |" for name, count in counts.most_common())


def main() -> int:
    """Try the seeds; 1 if one of them breaks a law."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--evidence", metavar="FILE", help="write what came of it as a page")
    arguments = parser.parse_args()
    result = tried(arguments.first, arguments.seeds)
    print(result.in_words())
    if arguments.evidence:
        Path(arguments.evidence).write_text(result.as_page())
    return int(bool(result.broken) or len(result.findings) < arguments.seeds)


def tried(first: int, seeds: int) -> Sum:
    """Try seeds, and tell of those that break a law as they come; Ctrl-C ends it early."""
    began = told = time.monotonic()
    findings: list[Finding] = []
    try:
        for finding in explore(first, seeds):
            findings.append(finding)
            if finding.broken:
                print(f"{finding.broken}\nseed {finding.seed} breaks a law\n", flush=True)
            if time.monotonic() - told > TOLD_EVERY_S:
                told = time.monotonic()
                print(f"{len(findings)} of {seeds} seeds", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return Sum(findings, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
