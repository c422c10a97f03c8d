"""A model of a gigabyte goes round, through a broker that takes no message above 16 MiB.

    python -m benchmarks.big [--params 250000000] [--workers 4] [--rounds 1] [--keep]

Real workers that share a process, one training process, everything durable and confirmed; the model
and each update travel in parts. Before it begins, free memory and disk are looked at: it needs
about ten models of memory and thirty of disk. Seconds a round after a first one that is not
measured, and the most memory that the coordinator had, and the agents with what trains for them.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
import tempfile
import threading
from itertools import pairwise
from pathlib import Path

import pika

from benchmarks.federation import settings_file
from benchmarks.node import broker
from benchmarks.processes import Measured
from benchmarks.record import Record, parser_of

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
LIMIT = f"[{{rabbit,[{{max_message_size,{MESSAGE_BYTES_MAX}}}]}}].\n"
MEMORY_MODELS, DISK_MODELS = 10, 30
PEAK_MODELS = 2.6  # of the coordinator: two and a half, and what Python and its libraries take
BIG_BYTES = 500_000_000
WARM_UP = 1
LIMIT_S = 1800.0


def main() -> None:
    """Look whether there is room, measure, and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--params", type=int, default=250_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    model_bytes = 4 * given.params
    require_room(model_bytes)
    names = ("params", "workers", "rounds")
    record = Record("big", {name: getattr(given, name) for name in names})
    name = f"big{os.getpid()}"
    with (
        broker(advanced_config=LIMIT) as where,
        settings_file(where, name, given.workers, given.rounds + WARM_UP) as config,
    ):
        require_limit(where.url)
        words, environ = ("--config", str(config)), {"BENCH_PARAMS": str(given.params)}
        crowd = ("--workers", str(given.workers), "--processes", "1")
        with (
            Measured("benchmarks.roles.coordinator", *words, environ=environ) as coordinator,
            Measured("benchmarks.roles.workers", *words, *crowd, environ=environ) as agents,
        ):
            watch = threading.Timer(LIMIT_S, coordinator.kill)
            watch.start()
            made = [
                float(coordinator.line("version")[2]) for _ in range(given.rounds + WARM_UP + 1)
            ]
            coordinator_mb, agents_mb = coordinator.peak_mb(), agents.peak_mb()
            watch.cancel()
            coordinator.line("ended")
    each_s = [round(after - before, 2) for before, after in pairwise(made[WARM_UP:])]
    seconds = statistics.median(each_s)
    what = f"{model_bytes / 1e9:.2g} GB with {given.workers} workers"
    moved_bytes = 2 * given.workers * model_bytes
    record.figure(
        what,
        seconds_a_round=seconds,
        each=", ".join(map(str, each_s)),
        mb_a_second=moved_bytes / 1e6 / seconds,
        coordinators_peak_in_models=coordinator_mb * 1e6 / model_bytes,
        agents_peak_in_models=agents_mb * 1e6 / model_bytes,
    )
    peak = coordinator_mb * 1e6 / model_bytes
    claim = f"{what}, no message above 16 MiB: the coordinator's peak"
    if model_bytes >= BIG_BYTES:
        record.at_most(claim, peak, PEAK_MODELS, " models")
    else:
        record.skip(claim, "at most", PEAK_MODELS, "a small model beside Python itself", " models")
    record.end(keep=given.keep)


def require_room(model_bytes: int) -> None:
    """End the program where a run would end for want of memory or disk."""
    available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    memory_bytes = int(available[1]) * 1024 if available else 0
    folder = tempfile.gettempdir()
    disk_bytes = shutil.disk_usage(folder).free
    for what, there, needed in (
        ("memory", memory_bytes, MEMORY_MODELS * model_bytes),
        (f"disk in {folder}", disk_bytes, DISK_MODELS * model_bytes),
    ):
        if there < needed:
            sys.exit(
                f"expected {needed / 1e9:.1f} GB of {what}, there are {there / 1e9:.1f}: "
                "free some, or take a smaller model (--params)"
            )


def require_limit(url: str) -> None:
    """End the program if the broker takes a message that is larger than it is to take."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        channel.basic_publish("", "nowhere", bytes(MESSAGE_BYTES_MAX + 1))
    except pika.exceptions.ChannelClosedByBroker:
        connection.close()
        return
    sys.exit(f"expected a broker that refuses more than {MESSAGE_BYTES_MAX} bytes, it took more")


if __name__ == "__main__":
    main()
