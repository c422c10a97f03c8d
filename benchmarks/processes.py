"""Processes that are measured: what they say, the CPU time they take, and how often they sync.

    with Measured("benchmarks.roles.workers", "--config", path) as process:
        for line in process.lines():
            …
        process.cpu_s()        # of it and all below it, those that have ended included

A process gets a pipe as its input, and is to end in good order when that closes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "fedmq-bench-"  # how the name of a measured folder begins
END_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_STRACE = ("strace", "-f", "-y", "-qq", "-ttt", "--seccomp-bpf", "-e", "trace=fsync,fdatasync")
_SYNC = re.compile(r"^(?:\d+ +)?(?P<at>\d+\.\d+) (?:fsync|fdatasync)\(\d+<(?P<path>.*?)>(?:\)| <)")
_NUMBERS = re.compile(r"[0-9a-f]{8,}|\d+")


class Measured:
    """A module of Python that runs as a process of its own.

    Args:
        module: As `python -m` takes it.
        words: Its arguments.
        environ: Added to the environment.
        syncs: Where to keep what strace says of its fsyncs; it is not traced if None. Tracing
            slows down, so what is traced is not timed.
    """

    def __init__(
        self,
        module: str,
        *words: str,
        environ: Mapping[str, str] | None = None,
        syncs: Path | None = None,
    ) -> None:
        self.module = module
        self._syncs = syncs
        tracing = () if syncs is None else (*_STRACE, "-o", str(syncs))
        self._process = subprocess.Popen(
            [*tracing, sys.executable, "-m", module, *words],
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Measured:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Of the process, or of its strace."""
        return self._process.pid

    def lines(self) -> Iterator[list[str]]:
        """The words of each line that it prints, as it prints them."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.split()

    def line(self, first: str) -> list[str]:
        """The next line that begins with a word.

        Raises:
            RuntimeError: It ended without one.
        """
        for words in self.lines():
            if words[:1] == [first]:
                return words
        raise RuntimeError(f"{self.module} ended before it said {first!r}")

    def cpu_s(self) -> float:
        """Seconds of CPU that it and all below it took so far."""
        return cpu_s(self.pid)

    def memory_mb(self) -> Mapping[str, float]:
        """What it has in memory, in 10^6 bytes: now, at most so far, and what no file backs."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|VmHWM|RssAnon):\s+(\d+) kB", status, re.MULTILINE))
        return {name: int(kib) * 1024 / 1e6 for name, kib in found.items()}

    def peak_mb(self) -> float:
        """The most that it and all below it had in memory, in 10^6 bytes, each at its own time."""
        return sum(_peak_mb(process) for process in _below(self.pid))

    def syncs_between(self, began: float, ended: float) -> Counter[str]:
        """How often it synced which files, between two times of day; call it when it has ended."""
        assert self._syncs is not None
        found: Counter[str] = Counter()
        for line in self._syncs.read_text().splitlines():
            match = _SYNC.match(line)
            if match and began <= float(match["at"]) <= ended:
                found[kind_of_file(match["path"])] += 1
        return found

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self) -> None:
        """Close its input and wait; kill it if it does not end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def kind_of_file(path: str) -> str:
    """A file's place below the measured folder, without ids and numbers."""
    return _NUMBERS.sub("*", path.partition(FOLDER)[2].partition("/")[2] or path)


@dataclass(frozen=True, slots=True)
class Activity:
    """What a process and its children did so far.

    Attributes:
        cpu_s: To the nanosecond; of the threads that there are, not of those that have ended.
        wakeups: How often one of them went to sleep by itself, and so was woken.
    """

    cpu_s: float
    wakeups: int


def activity(pid: int) -> Activity:
    """What a process and all that came of it did, for processes in which no thread ends."""
    spent_ns, wakeups = 0, 0
    for process in _below(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            spent_ns += int((task / "schedstat").read_text().split()[0])
            status = (task / "status").read_text()
            found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)
            wakeups += int(found[1]) if found else 0
    return Activity(spent_ns / 1e9, wakeups)


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0  # it has ended meanwhile
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    cpu_s: float


def cpu_s(pid: int) -> float:
    """Seconds of CPU of a process and all that came of it: those alive, and those waited for."""
    return sum(stat.cpu_s for stat in _below(pid).values())


def _below(pid: int) -> dict[int, _Stat]:
    """A process, and all that came of it and is alive."""
    stats = {int(entry): _stat(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    below: dict[int, _Stat] = {}
    for child in sorted(stats):  # a parent has the smaller id, but for a rare wrap
        stat = stats[child]
        if stat is not None and (child == pid or stat.parent in below):
            below[child] = stat
    return below


def _stat(pid: str) -> _Stat | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)
