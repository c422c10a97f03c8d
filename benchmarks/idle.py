"""What an agent costs that has nothing to do, and the coordinator that it is connected to.

    python -m benchmarks.idle [--seconds 60] [--keep]

One worker trains one task over RabbitMQ; then the run is over, and both stay connected. The share
of a core that each takes, its children included, and how often a second one of its threads wakes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from benchmarks.federation import settings_file
from benchmarks.node import broker
from benchmarks.processes import Measured, activity
from benchmarks.record import Record, parser_of

BOUND_PERCENT = 0.1
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Idle:
    """What a process did in a while in which it had nothing to do."""

    percent: float
    wakeups: float


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    record = Record("idle", {"seconds": given.seconds})
    with broker(given.url) as where:
        name = f"idle{os.getpid()}"
        with settings_file(where, name, 1, 1, drain=f"{given.seconds + 60:.0f}s") as config:
            words, environ = ("--config", str(config)), {"BENCH_PARAMS": "10000"}
            with (
                Measured("benchmarks.roles.coordinator", *words, environ=environ) as coordinator,
                Measured(
                    "benchmarks.roles.workers", *words, "--workers", "1", environ=environ
                ) as agent,
            ):
                while coordinator.line("version")[1] != "1":
                    pass
                time.sleep(SETTLE_S)
                found = _watch({"agent": agent, "coordinator": coordinator}, given.seconds)
                coordinator.kill()
    for who, idle in found.items():
        record.figure(f"idle {who}", percent_of_a_core=idle.percent, wakeups_a_second=idle.wakeups)
    record.at_most("an idle agent", found["agent"].percent, BOUND_PERCENT, " % of a core")
    record.end(keep=given.keep)


def _watch(processes: dict[str, Measured], seconds: float) -> dict[str, Idle]:
    before = {who: activity(each.pid) for who, each in processes.items()}
    time.sleep(seconds)
    found = {}
    for who, each in processes.items():
        now = activity(each.pid)
        spent_s = now.cpu_s - before[who].cpu_s
        wakeups = now.wakeups - before[who].wakeups
        found[who] = Idle(100 * spent_s / seconds, wakeups / seconds)
    return found


if __name__ == "__main__":
    main()
