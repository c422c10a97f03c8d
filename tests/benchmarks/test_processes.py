"""What is measured of a process is what it did."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.processes import Measured, activity, cpu_s, kind_of_file

SPEND = (
    "import time, sys\n"
    "while time.process_time() < 0.5: pass\n"
    "print('spent', flush=True)\n"
    "sys.stdin.read()\n"
)
SPEND_BELOW = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPEND!r}])"


@pytest.mark.slow
@pytest.mark.parametrize("program", [SPEND, SPEND_BELOW])
def test_what_children_spend_counts(program: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"spent\n"
        assert cpu_s(process.pid) >= 0.49
        assert activity(process.pid).cpu_s >= 0.49
        process.kill()


@pytest.mark.slow
def test_the_peak_is_of_all_below() -> None:
    """A process that starts Python in another has both in memory."""
    with Measured("tests.benchmarks.two_processes") as two:
        two.line("both")
        assert two.peak_mb() > 1.5 * two.memory_mb()["VmHWM"]


def test_what_is_not_there_spends_nothing() -> None:
    assert cpu_s(2**22 + 1) == 0.0
    assert cpu_s(os.getpid()) > 0.0


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/tmp/fedmq-bench-x1/workers/w7/outbox/.new-0123456789ab-1", "workers/w*/outbox/.new-*-*"),
        ("/tmp/fedmq-bench-x1/coordinator/coordinator.db-wal", "coordinator/coordinator.db-wal"),
        ("/elsewhere", "/elsewhere"),
    ],
)
def test_files_of_a_kind_are_counted_together(path: str, kind: str) -> None:
    assert kind_of_file(path) == kind
