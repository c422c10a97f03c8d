"""How much memory a coordinator needs for a round, by the number of its updates.

    python -m benchmarks.memory [--params 10000000] [--updates 10,100] [--rounds 2] [--limit 900]
        [--keep]

Scripted workers send their updates over RabbitMQ; the coordinator's process is looked at a hundred
times a second. Above baseline: what it has at most, less the same with a model of ten parameters;
in models, of 4 bytes for each parameter. Pages of files that it has mapped count like all else;
what no file backs is shown beside.

A peak is the most of many moments, so all runs move as many updates: where rounds are smaller there
are more of them. 200 updates of 10^7 parameters are 8 GB, through the broker and into two folders.
So it says how far it is, and a run that takes longer than the limit ends the benchmark.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.federation import settings_file
from benchmarks.node import Broker, broker
from benchmarks.processes import Measured
from benchmarks.record import Record, parser_of

BOUND_MODELS, BOUND_GROWTH = 2.5, 1.05
TINY = 10
WINDOW = 4  # updates on their way at a time
SAID_EACH_S = 10.0


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
    parser.add_argument("--rounds", type=int, default=2, help="of the most updates")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of one run")
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    names = ("params", "updates", "rounds")
    record = Record("memory", {name: getattr(given, name) for name in names})
    model_mb = 4 * given.params / 1e6
    above: list[float] = []
    with broker(given.url) as where:
        counts = [int(each) for each in given.updates.split(",")]
        for updates in counts:
            rounds = given.rounds * max(1, max(counts) // updates)
            base = _peak(where, updates, TINY, rounds, given.limit)
            peak = _peak(where, updates, given.params, rounds, given.limit)
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


def _peak(where: Broker, updates: int, params: int, rounds: int, limit_s: float) -> Peak:
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
            what = f"K={updates}, {params:,} parameters"
            watch = threading.Thread(
                target=_watch, args=(coordinator, seen, ended, what, limit_s), daemon=True
            )
            watch.start()
            try:
                coordinator.line("ended")
            finally:
                ended.set()
                watch.join()
    return Peak(max(each["VmHWM"] for each in seen), max(each["RssAnon"] for each in seen))


def _watch(
    process: Measured,
    seen: list[Mapping[str, float]],
    ended: threading.Event,
    what: str,
    limit_s: float,
) -> None:
    """Look at a process until it has ended; end it if that takes too long."""
    began = said = time.monotonic()
    while not ended.wait(0.01):
        found = process.memory_mb()
        if found:  # none of a process that is just ending
            seen.append(found)
        now = time.monotonic()
        if found and now - said > SAID_EACH_S:
            said, size = now, found["VmRSS"]
            print(f"  … {what}: {now - began:.0f} s, {size:.0f} MB", file=sys.stderr, flush=True)
        if now - began > limit_s:
            print(f"  {what}: not done in {limit_s:.0f} s", file=sys.stderr, flush=True)
            process.kill()
            return


if __name__ == "__main__":
    main()
