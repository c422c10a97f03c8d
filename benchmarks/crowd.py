"""How fast a coordinator takes the updates of many workers into its sum.

    python -m benchmarks.crowd [--workers 200] [--params 100000] [--rounds 5] [--keep]

Scripted workers share a process: they hold their updates until each of them was told what to train
on, then all send. Measured from the first update sent until the next version is made: sent,
confirmed, checked, on disk, in the ledger and in the sum.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping

from benchmarks.federation import settings_file
from benchmarks.node import Broker, broker
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
                processes: dict[str, Measured | Broker] = {
                    "coordinator": coordinator,
                    "crowd": crowd,
                    "broker": where,
                }
                seconds, cpu_s = _rounds(processes, given.rounds)
    rates = [given.workers / each for each in seconds]
    what = f"{given.workers} workers of {given.params:,} parameters"
    record.figure(
        what,
        updates_a_second=statistics.median(rates),
        slowest=min(rates),
        fastest=max(rates),
        cpu_ms_an_update={
            who: 1e3 * spent / (given.workers * len(seconds)) for who, spent in cpu_s.items()
        },
    )
    record.at_least(f"{what}: into the sum", statistics.median(rates), BOUND, " updates/s")
    record.end(keep=given.keep)


def _rounds(
    processes: Mapping[str, Measured | Broker], rounds: int
) -> tuple[list[float], Mapping[str, float]]:
    """Seconds of each round, and of each process's CPU in all; the first does not count."""
    coordinator, crowd = processes["coordinator"], processes["crowd"]
    assert isinstance(coordinator, Measured)
    assert isinstance(crowd, Measured)
    seconds: list[float] = []
    spent = dict.fromkeys(processes, 0.0)
    coordinator.line("version")
    for number in range(rounds + 1):
        _, fired = crowd.line("fired")
        before = {who: each.cpu_s() for who, each in processes.items()}
        _, _, made, _ = coordinator.line("version")
        if number:
            seconds.append(float(made) - float(fired))
            for who, each in processes.items():
                spent[who] += each.cpu_s() - before[who]
    return seconds, spent


if __name__ == "__main__":
    main()
