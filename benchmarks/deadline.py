"""How late a round closes whose goal is not reached by its deadline.

    python -m benchmarks.deadline [--workers 5] [--rounds 6] [--deadline 2] [--keep]

More updates are the goal than there are workers, so that only the deadline closes a round: what it
took from version to version, less the deadline.
"""

from __future__ import annotations

import os
import statistics
from itertools import pairwise

from benchmarks.federation import settings_file
from benchmarks.node import broker
from benchmarks.processes import Measured
from benchmarks.record import Record, parser_of

BOUND_S = 0.25


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--deadline", type=int, default=2, help="seconds")
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    names = ("workers", "rounds", "deadline")
    record = Record("deadline", {name: getattr(given, name) for name in names})
    policy = f'deadline = "{given.deadline}s"\nquorum = 1'
    with broker(given.url) as where:
        name, goal = f"deadline{os.getpid()}", 2 * given.workers
        with settings_file(where, name, goal, given.rounds + 1, policy) as config:
            words, environ = ("--config", str(config)), {"BENCH_PARAMS": "10000"}
            crowd = ("benchmarks.roles.workers", *words, "--workers", str(given.workers))
            with (
                Measured("benchmarks.roles.coordinator", *words, environ=environ) as coordinator,
                Measured(*crowd, environ=environ),
            ):
                lines = [coordinator.line("version") for _ in range(given.rounds + 2)]
                coordinator.line("ended")
    stamps = [float(at) for _, _, at, _ in lines][1:]  # to version 1 everybody has to connect
    late = [after - before - given.deadline for before, after in pairwise(stamps)]
    record.figure("overrun", median_s=statistics.median(late), most_s=max(late), least_s=min(late))
    record.at_most("the most that a deadline is overrun", max(late), BOUND_S, " s")
    record.end(keep=given.keep)


if __name__ == "__main__":
    main()
