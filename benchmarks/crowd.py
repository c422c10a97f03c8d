"""How fast a coordinator takes the updates of many workers into its sum.

    python -m benchmarks.crowd [--workers 200] [--params 100000] [--rounds 5] [--keep]

Scripted workers share a process: they hold their updates until each of them was told what to train
on, then all send. Measured from the first update sent until the next version is made: sent,
confirmed, checked, on disk, in the ledger and in the sum.
"""

from __future__ import annotations

import os
import statistics

from benchmarks.federation import settings_file
from benchmarks.node import broker
from benchmarks.processes import Measured
from benchmarks.record import Record, parser_of

BOUND = 500.0  # updates a second


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--params", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    names = ("workers", "params", "rounds")
    record = Record("crowd", {name: getattr(given, name) for name in names})
    with broker(given.url) as where:
        name = f"crowd{os.getpid()}"
        with settings_file(where, name, given.workers, given.rounds + 1) as config:
            words = ("--config", str(config))
            environ = {"BENCH_PARAMS": str(given.params)}
            size = ("--workers", str(given.workers), "--params", str(given.params))
            with (
                Measured("benchmarks.roles.coordinator", *words, environ=environ) as coordinator,
                Measured("benchmarks.roles.crowd", *words, *size) as crowd,
            ):
                seconds, cpu_s = _rounds(coordinator, crowd, given.rounds)
    rates = [given.workers / each for each in seconds]
    what = f"{given.workers} workers of {given.params:,} parameters"
    record.figure(
        what,
        updates_a_second=statistics.median(rates),
        slowest=min(rates),
        fastest=max(rates),
        coordinator_cpu_ms_an_update=1e3 * cpu_s / (given.workers * len(seconds)),
    )
    record.at_least(f"{what}: into the sum", statistics.median(rates), BOUND, " updates/s")
    record.end(keep=given.keep)


def _rounds(coordinator: Measured, crowd: Measured, rounds: int) -> tuple[list[float], float]:
    """Seconds of each round, and of the coordinator's CPU in all; the first does not count."""
    seconds: list[float] = []
    cpu_s = 0.0
    while (words := coordinator.line("version"))[1] != "0":
        pass
    for number in range(rounds + 1):
        _, fired = crowd.line("fired")
        began_cpu = coordinator.cpu_s()
        words = coordinator.line("version")
        if number:
            seconds.append(float(words[2]) - float(fired))
            cpu_s += coordinator.cpu_s() - began_cpu
    return seconds, cpu_s


if __name__ == "__main__":
    main()
