"""Try many seeds of the simulated world; `make simulate SEEDS=1000`.

Each seed is a federation of its own in virtual time, with crashes at any step of store and broker,
power cuts that forget what was not synced, full disks, lost connections, duplicates and clocks that
jump. A seed that breaks a law is printed with its history, and can be run again alone:
`make simulate SEEDS=1 FIRST=<seed>`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from simulation.explore import Finding, explore

TOLD_EVERY_S = 10.0


def main() -> int:
    """Try the seeds; 1 if one of them breaks a law."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: 0)")
    arguments = parser.parse_args()
    began = told = time.monotonic()
    findings: list[Finding] = []
    try:
        for finding in explore(arguments.first, arguments.seeds):
            findings.append(finding)
            if finding.broken:
                print(f"{finding.broken}\nseed {finding.seed} breaks a law\n", flush=True)
            if time.monotonic() - told > TOLD_EVERY_S:
                told = time.monotonic()
                print(f"{len(findings)} of {arguments.seeds} seeds", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    print(summary_of(findings, time.monotonic() - began))
    return int(any(finding.broken for finding in findings))


def summary_of(findings: list[Finding], seconds: float) -> str:
    """What was tried and what came of it."""
    faults: Counter[str] = sum((finding.faults for finding in findings), Counter())
    verdicts: Counter[str] = sum((finding.verdicts for finding in findings), Counter())
    broken = [finding.seed for finding in findings if finding.broken]
    finished = sum(finding.finished for finding in findings)
    lines = [f"{count:>8}  {kind}" for kind, count in faults.most_common()]
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    return "\n".join(
        [
            f"{len(findings)} seeds in {seconds:.0f} s; faults that happened:",
            *lines,
            f"{finished} updates were finished, {sum(verdicts.values())} have a verdict: {told}",
            f"seeds that break a law: {', '.join(map(str, broken)) or 'none'}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
