"""What a round costs when training costs nothing, beside what the broker itself costs.

    python -m benchmarks.rounds [--params 10000] [--workers 2,5] [--rounds 30] [--syncs] [--url …]

For each number of workers: seconds a round (median) of a federation over RabbitMQ, everything
durable and confirmed, and of the floor: bare pika that moves the same bytes over the same kinds of
queue, durable and confirmed, summed in place. Coordinator and workers are two processes, and so are
the floor's server and clients. Both in this run, on this machine. Beside them the CPU time of each
process for one update, and with --syncs, from a run of its own, how often which files are synced.

Without --url a private RabbitMQ node is started from an installed rabbitmq-server.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics

from benchmarks.federation import Rounds, federation, floor
from benchmarks.node import broker


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--params", type=int, default=10_000)
    parser.add_argument("--workers", default="2,5")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--syncs", action="store_true", help="count fsyncs, in a run of its own")
    parser.add_argument("--url", default="")
    arguments = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{arguments.params} float32 parameters, median of {arguments.rounds} rounds")
    with broker(arguments.url) as where:
        for workers in map(int, arguments.workers.split(",")):
            name = f"bench{os.getpid()}-{workers}"
            size = (workers, arguments.rounds, arguments.params)
            bare = floor(where, f"{name}-floor", *size)
            ours = federation(where, name, *size)
            _tell(workers, bare, ours)
            if arguments.syncs:
                traced = federation(where, f"{name}-traced", *size, traced=True)
                _tell_syncs(workers, traced)


def _tell(workers: int, bare: Rounds, ours: Rounds) -> None:
    ms, floor_ms = (statistics.median(each.seconds) * 1e3 for each in (ours, bare))
    times = f"{ms / floor_ms:.1f} times the floor"
    print(f"N={workers}: floor {floor_ms:.1f} ms, fedmq {ms:.1f} ms: {times}")
    for name, rounds in (("floor", bare), ("fedmq", ours)):
        updates = workers * len(rounds.seconds)
        parts = {who: 1e3 * spent / updates for who, spent in rounds.cpu_s.items()}
        shown = ", ".join(f"{who} {each:.2f}" for who, each in parts.items())
        print(f"  CPU ms an update, {name}: {sum(parts.values()):.2f} ({shown})", flush=True)


def _tell_syncs(workers: int, traced: Rounds) -> None:
    updates = workers * len(traced.seconds)
    for who, syncs in traced.syncs.items():
        print(f"  fsyncs an update, {who}: {syncs.total() / updates:.2f}")
        for file, count in syncs.most_common():
            print(f"    {count / updates:.2f} {file}", flush=True)


if __name__ == "__main__":
    main()
