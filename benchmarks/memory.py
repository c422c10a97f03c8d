"""How much memory a coordinator needs for a round, by the number of its updates.

    python -m benchmarks.memory [--params 10000000] [--updates 10,100] [--rounds 2] [--keep]

Scripted workers send their updates over RabbitMQ; the coordinator's process is looked at a hundred
times a second. Above baseline: what it has at most, less the same with a model of ten parameters;
in models, of 4 bytes for each parameter. Pages of files that it has mapped count like all else;
what no file backs is shown beside.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.federation import settings_file
from benchmarks.node import Broker, broker
from benchmarks.processes import Measured
from benchmarks.record import Record, parser_of

BOUND_MODELS, BOUND_GROWTH = 2.5, 1.05
TINY = 10
WINDOW = 4  # updates on their way at a time


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that was seen, in 10^6 bytes."""

    all_mb: float
    anonymous_mb: float


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--params", type=int, default=10_000_000)
    parser.add_argument("--updates", default="10,100")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    names = ("params", "updates", "rounds")
    record = Record("memory", {name: getattr(given, name) for name in names})
    model_mb = 4 * given.params / 1e6
    above: list[float] = []
    with broker(given.url) as where:
        for updates in map(int, given.updates.split(",")):
            base = _peak(where, updates, TINY, given.rounds)
            peak = _peak(where, updates, given.params, given.rounds)
            above.append(peak.all_mb - base.all_mb)
            what = f"K={updates}, {given.params:,} parameters"
            record.figure(
                what,
                updates=updates,
                baseline_mb=base.all_mb,
                peak_mb=peak.all_mb,
                above_in_models=above[-1] / model_mb,
                above_without_files_in_models=(peak.anonymous_mb - base.anonymous_mb) / model_mb,
            )
            claim = f"coordinator's peak above baseline, {what}"
            record.at_most(claim, above[-1] / model_mb, BOUND_MODELS, " models")
    if len(above) > 1:
        claim = f"the same, K={given.updates.split(',')[-1]} over K={given.updates.split(',')[0]}"
        record.at_most(claim, above[-1] / above[0], BOUND_GROWTH, " times")
    record.end(keep=given.keep)


def _peak(where: Broker, updates: int, params: int, rounds: int) -> Peak:
    name = f"memory{os.getpid()}-{updates}-{params}"
    with settings_file(where, name, updates, rounds) as config:
        words = ("--config", str(config))
        size = ("--workers", str(updates), "--params", str(params), "--window", str(WINDOW))
        environ = {"BENCH_PARAMS": str(params)}
        with (
            Measured("benchmarks.roles.coordinator", *words, environ=environ) as coordinator,
            Measured("benchmarks.roles.crowd", *words, *size),
        ):
            coordinator.line("version")
            ended = threading.Event()
            seen: list[Mapping[str, float]] = []
            watch = threading.Thread(target=_watch, args=(coordinator, seen, ended))
            watch.start()
            coordinator.line("ended")
            ended.set()
            watch.join()
    return Peak(max(each["VmHWM"] for each in seen), max(each["RssAnon"] for each in seen))


def _watch(process: Measured, seen: list[Mapping[str, float]], ended: threading.Event) -> None:
    while not ended.wait(0.01):
        found = process.memory_mb()
        if found:  # none of a process that is just ending
            seen.append(found)


if __name__ == "__main__":
    main()
