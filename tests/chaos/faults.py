"""What is broken, and how it is seen from outside that it really was.

Each function breaks one thing for a while, mends it, and says whether the fault happened:

| fault | it happened if |
|---|---|
| kill -9 | the process lived, and its end is by SIGKILL |
| freeze | the process was in state T, and lived when it was let go on |
| cut, reset | connections on which both sides had spoken were ended |
| half-open | bytes were swallowed, and the client gave the connection up |
| slow | bytes were delayed |
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.broker.tcp_proxy import Side, Slowness, TcpProxy
from tests.support.rabbitmq_node import RabbitmqNode

STATE_LIMIT_S = 10.0
NOTICE_LIMIT_S = 90.0
"""pika notices a dead line after two heartbeats and 10 s; the process may be frozen for a while."""


class Cell(NamedTuple):
    """What is broken how: a cell of the table."""

    actor: str
    fault: str


_LINE = ("cut", "reset", "half-open", "slow")
CELLS: tuple[Cell, ...] = tuple(
    Cell(actor, fault)
    for actor, faults in (
        ("coordinator", ("kill -9", "freeze", "long freeze", *_LINE)),
        ("agent", ("kill -9", "freeze", "long freeze", *_LINE)),
        ("training", ("kill -9", "freeze")),
        ("broker", ("kill -9", "freeze")),
        ("updates", ("sent again",)),
    )
    for fault in faults
)


SENT_AGAIN = Cell("updates", "sent again")
"""Counted at the end, by what the ledger says."""


class Tally:
    """How often what happened; threads count at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Cell] = Counter()

    def count(self, cell: Cell, times: int = 1) -> None:
        """It happened."""
        with self._lock:
            self._counts[cell] += times

    def counts(self) -> Mapping[Cell, int]:
        """All cells, those that are zero too."""
        with self._lock:
            return {cell: self._counts[cell] for cell in CELLS}

    def total(self) -> int:
        """All faults."""
        return sum(self.counts().values())


def freeze_process(pid: int, seconds: float, wait: Callable[[float], object]) -> bool:
    """Stop a process for a while (SIGSTOP, SIGCONT)."""
    try:
        os.kill(pid, signal.SIGSTOP)
        stopped = until(lambda: process_state(pid) in ("T", ""), STATE_LIMIT_S)
        stopped = stopped and process_state(pid) == "T"
        wait(seconds)
        return stopped and process_state(pid) == "T"
    except ProcessLookupError:
        return False
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill_training(pid: int, mark: Path) -> bool:
    """Kill a training process; `mark` is there as long as it trains, and stays if it is killed."""
    if not is_training(pid, mark):
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    gone = until(lambda: process_state(pid) in ("", "Z"), STATE_LIMIT_S)
    return gone and trainer_of(mark) == pid


def freeze_training(pid: int, mark: Path, seconds: float, wait: Callable[[float], object]) -> bool:
    """Stop a training process for a while, in a training."""
    return is_training(pid, mark) and freeze_process(pid, seconds, wait)


def is_training(pid: int, mark: Path) -> bool:
    """Whether a process is a training process that trains now."""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"worker.training" in command and trainer_of(mark) == pid
    return False


def trainer_of(mark: Path) -> int:
    """The process that a learner's mark names, 0 if there is none."""
    try:
        return int(mark.read_text())
    except (OSError, ValueError):
        return 0


def half_open(proxy: TcpProxy, *sides: Side) -> bool:
    """Lose what these sides say until the client has noticed.

    Raises:
        AssertionError: It has not: there is a client that waits for ever.
    """
    wires = proxy.mute(*sides)
    for wire in wires:
        assert wire.ended.wait(NOTICE_LIMIT_S), (
            f"a connection whose {' and '.join(sides)} was mute is still there after "
            f"{NOTICE_LIMIT_S:.0f} s"
        )
    return any(wire.swallowed_bytes for wire in wires)


def slow_down(
    proxy: TcpProxy, slowness: Slowness, seconds: float, wait: Callable[[float], object]
) -> bool:
    """Make a line slow for a while."""
    before = proxy.delayed_bytes
    proxy.slow(slowness)
    wait(seconds)
    proxy.slow(None)
    return proxy.delayed_bytes > before


def kill_broker(node: RabbitmqNode, away_s: float, wait: Callable[[float], bool]) -> bool:
    """Kill the broker as a power cut would, and start it again on its data."""
    pid = node.pid
    lived = process_state(pid) != ""
    node.kill(settle=False)
    died = process_state(pid) == "" and not node.answers()
    if not wait(away_s):
        node.start()
    return lived and died


def freeze_broker(node: RabbitmqNode, seconds: float, wait: Callable[[float], object]) -> bool:
    """Stop the broker for a while."""
    node.pause()
    try:
        stopped = until(lambda: process_state(node.pid) == "T", STATE_LIMIT_S)
        wait(seconds)
        return stopped
    finally:
        node.resume()


def process_state(pid: int) -> str:
    """The kernel's letter for it: R, S, D, T, Z …; "" if there is none of that id."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def until(condition: Callable[[], bool], limit_s: float) -> bool:
    """Wait for a condition; False if it does not come true in time."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
