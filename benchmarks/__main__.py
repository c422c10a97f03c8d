"""Runs benchmarks one after the other, keeps what they find, and writes their page.

    python -m benchmarks [rounds] [wire] …       all but the long ones if none is named

A machine that does anything else meanwhile gives figures of that, too. Ends with 1 if a claim does
not hold, or a benchmark fails.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks import page

ALL = {
    "rounds": (
        *("--params", "10000,1000000,10000000", "--rounds", "30,15,5", "--turns", "2"),
        *("--duties", "--syncs", "--keep"),
    ),
    "aggregation": ("--keep",),
    "wire": ("--keep",),
    "crowd": ("--keep",),
    "memory": ("--keep",),
    "idle": ("--keep",),
    "deadline": ("--keep",),
    "recovery": ("--keep",),
    "million": (),
    "agreement": (),
}
LONG = {"beside_peers": ("--keep",), "big": ("--keep",)}


def main() -> int:
    """Run those that are named; 0 if all is well."""
    names = sys.argv[1:] or list(ALL)
    known = {**ALL, **LONG}
    for name in names:
        if name not in known:
            sys.exit(f"expected benchmarks of {', '.join(known)}, came {name!r}")
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *known[name]]
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    page.main()
    outcomes = [
        (name, claim["claim"])
        for name, result in page.results().items()
        for claim in result["claims"]
        if name in names and claim["outcome"] == "FAIL"
    ]
    for name, claim in outcomes:
        print(f"does not hold: {name}: {claim}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed or outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
