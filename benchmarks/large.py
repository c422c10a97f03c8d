"""A model of 1 GB goes round with four workers, through a broker that takes 16 MiB a message.

    make large        # looks first whether memory and disk are there

Each worker adds its number to every parameter, so the next version shows that each counted once.
Needs about seven models of memory and twenty of disk. What is told of memory is what processes have
of their own: pages of files that they look at are the system's to take back.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.machine import ROOT
from benchmarks.processes import FOLDER
from benchmarks.record import Record
from coordinator.models import ModelFolder
from schemas.tensors import layout_of
from tests.e2e.services import Federation, wait_until
from tests.support.rabbitmq_install import find_server
from tests.support.rabbitmq_node import RabbitmqNode

MESSAGE_BYTES = 16 * 1024 * 1024
PART_BYTES = "4MiB"
LONG = "6h"
ARRAYS = 10
LOOK_S = 0.05
GIB = 2**30

LEARNER = """
import numpy as np
from fedmq import TrainResult

class Large:
    \"\"\"Adds the worker's number to every parameter.\"\"\"

    def initial_parameters(self):
        return {{f"layer{{n}}": np.zeros({count}, np.float32) for n in range({arrays})}}

    def train(self, parameters, request):
        for array in parameters.values():
            array += int(request.worker_id.rpartition("-")[2])
        return TrainResult(parameters, 1)

learner = Large
"""


def main() -> None:
    """Measure one round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=float, default=2.5e8)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/large.json")
    asked = parser.parse_args()
    params, workers = int(asked.parameters), asked.workers
    model_bytes = 4 * params
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        require_room(Path(folder), model_bytes, workers)
        record = Record("large", {"parameters": params, "workers": workers})
        with node() as url:
            measure(record, Path(folder), url, params, workers)
    record.end(keep=asked.keep)


def require_room(folder: Path, model_bytes: int, workers: int) -> None:
    """End with what is missing, if memory or disk are too small."""
    # The sum, and what each training writes to; the broker's share. Then: versions, the spool,
    # caches and outboxes, the stream and the queue of updates.
    memory = (2 + workers + 1) * model_bytes + 2 * GIB
    disk = (2 + 4 * workers + 4) * model_bytes + 2 * GIB
    has_memory, has_disk = available_bytes(), shutil.disk_usage(folder).free
    for what, needed, found in (("memory", memory, has_memory), ("disk", disk, has_disk)):
        if found < needed:
            sys.exit(
                f"expected {needed / GIB:.0f} GiB of {what} for {workers} workers and a model of "
                f"{model_bytes / GIB:.2f} GiB, found {found / GIB:.0f} GiB: take fewer --parameters"
            )


def available_bytes() -> int:
    """Memory that processes can have without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def node() -> Iterator[str]:
    """The URL of a private node that takes no larger messages."""
    script = find_server()
    if script is None:
        sys.exit("no rabbitmq-server is installed: apt-get install rabbitmq-server")
    made = RabbitmqNode(script, f"[{{rabbit, [{{max_message_size, {MESSAGE_BYTES}}}]}}].\n")
    made.start()
    try:
        yield made.url()
    finally:
        made.stop()


def measure(record: Record, folder: Path, url: str, params: int, workers: int) -> None:
    """One round, from the first worker's start to the next version."""
    (folder / "large.py").write_text(LEARNER.format(count=params // ARRAYS, arrays=ARRAYS))
    rounds: dict[str, object] = {
        "rounds": 1,
        "goal": workers,
        "quorum": workers,
        "concurrency": workers,
        "deadline": LONG,
        "lease": LONG,
        "part_bytes": PART_BYTES,
    }
    federation = Federation(folder, url, "large", f"{folder}/large.py:learner", **rounds)
    environ = {"PYTHONPATH": str(ROOT)}
    try:
        coordinator = federation.coordinator(environ=environ)
        wait_until(lambda: any(folder.glob("coordinator/models/*/000000.*")), "the first version")
        baseline = own_bytes(coordinator.pid)
        peaks = Peaks(coordinator)
        begun = time.monotonic()
        names = [f"worker-{number}" for number in range(1, workers + 1)]
        started = [federation.worker(name, "--until-run-ends", environ=environ) for name in names]
        agents = [Peaks(process) for process in started]
        coordinator.wait()
        took_s = time.monotonic() - begun
        result = federation.ended(coordinator)
        for process in started:
            federation.ended(process)
        assert result["updates"] == {"counted": workers}, result
        check(folder, params, workers)
        model_bytes = 4 * params
        above = (peaks.own_bytes - baseline) / model_bytes
        agent = max(each.own_bytes for each in agents)
        megabytes = 2 * workers * model_bytes / 1e6
        record.figure("round", seconds=took_s, mb_per_s=megabytes / took_s)
        record.figure("coordinator", models_above_baseline=above, peak_mib=peaks.own_bytes / 2**20)
        record.figure("agent of a worker", peak_mib=agent / 2**20)
        record.at_most("coordinator's peak above baseline, in models", above, 2.5)
        record.at_most("agent's peak", agent / 2**20, 100.0, " MiB")
    finally:
        federation.close()


def check(folder: Path, params: int, workers: int) -> None:
    """Each worker counted once: the mean of their numbers was added to zeros."""
    layout = layout_of({f"layer{n}": np.zeros(params // ARRAYS, np.float32) for n in range(ARRAYS)})
    (file,) = folder.glob("coordinator/models/*/000001.safetensors")
    models = ModelFolder(folder / "coordinator" / "models")
    made = np.frombuffer(models.view(f"{file.parent.name}/{file.name}", layout), "<f4")
    expected = np.float32((1 + workers) / 2)
    assert (made.min(), made.max()) == (expected, expected), "a worker counted twice, or not"


class Peaks:
    """The most memory of its own that a process had, looked at often until it ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.own_bytes = 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while self._process.poll() is None:
            self.own_bytes = max(self.own_bytes, own_bytes(self._process.pid))
            time.sleep(LOOK_S)


def own_bytes(pid: int) -> int:
    """What a process has of its own: no pages of files."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
