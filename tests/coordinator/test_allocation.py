"""Memory of messages that come and go is not asked of the system each time."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MESSAGES = """
import resource
import sys
import threading

from coordinator.allocation import keep_memory_of_messages

if sys.argv[1] == "kept":
    assert keep_memory_of_messages()


def faults_of(size, count):
    message = bytearray(size)  # what is kept is there after the first
    del message
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        held = [bytearray(size) for _ in range(4)]
        del held
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / count


def both():
    print(faults_of(400_000, 200), faults_of(4_000_000, 20))


thread = threading.Thread(target=both)  # it has a heap of its own, as who receives messages has
thread.start()
thread.join()
"""


def faults(how: str) -> tuple[float, float]:
    """Page faults for every four messages of 400 KB, and of 4 MB."""
    words = [sys.executable, "-c", MESSAGES, how]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    small, large = map(float, done.stdout.split())
    return small, large


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_of_messages_is_kept_and_that_of_large_ones_given_back() -> None:
    small, large = faults("kept")
    assert small < 40, "each of the four takes a hundred pages"
    assert large > 1000, "each of the four takes a thousand pages"
    assert small < faults("not kept")[0] / 2
