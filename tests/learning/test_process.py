"""Real processes; every wait is for a condition, with a deadline."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from learning.process import ChildProcess

DEADLINE_S = 30.0
ROOT = Path(__file__).parents[2]


class Owner:
    """A child, and what was heard of it."""

    def __init__(self, module: str = "tests.learning.child", **options: Any) -> None:
        self.messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.ends: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.child = ChildProcess(module, self.messages.put, self.ends.put, **options)

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.child.send(message)
        return self.messages.get(timeout=DEADLINE_S)

    def end(self) -> str:
        return self.ends.get(timeout=DEADLINE_S)


@contextmanager
def owning(**options: Any) -> Iterator[Owner]:
    owner = Owner(**options)
    try:
        yield owner
    finally:
        owner.child.close()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """No such process, or only its entry, which whoever adopted it has yet to remove."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def children_of(pid: int) -> list[int]:
    """Those of a process that there are."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def test_messages_come_back_in_order_from_one_process() -> None:
    with owning() as owner:
        answers = [owner.ask({"echo": number})["echo"] for number in range(5)]
    assert answers == [0, 1, 2, 3, 4]


def test_a_child_is_its_own_session_without_terminal() -> None:
    with owning() as owner:
        described = owner.ask({"describe": True})
    threads = described.pop("threads")
    assert threads == os.environ.get("OMP_NUM_THREADS", "1")
    assert described == {
        "session": True,
        "daemonic": False,
        "stdin_is_empty": True,
        "stdout_is_stderr": True,
        "safe_path": True,
        "main": None,
        "cwd_on_path": False,
        "on_main_thread": True,
    }


def test_the_number_of_threads_is_the_users_if_they_said_so() -> None:
    with owning(environ={**os.environ, "OMP_NUM_THREADS": "3"}) as owner:
        assert owner.ask({"describe": True})["threads"] == "3"


@pytest.mark.parametrize(
    ("message", "how"),
    [
        ({"exit": 3}, "ended with exit code 3"),
        ({"signal": int(signal.SIGSEGV)}, "was killed by SIGSEGV"),
        ({"raise": "no"}, "ended with exit code 1"),
    ],
)
def test_how_a_child_ended_is_told_once(message: dict[str, Any], how: str) -> None:
    with owning() as owner:
        owner.child.send(message)
        assert owner.end() == how
        owner.child.send({"echo": 1})  # nobody is there; nothing happens
    assert owner.ends.empty()


def test_the_last_words_come_before_the_end() -> None:
    with owning() as owner:
        owner.child.send({"exit": 0})
        owner.end()
        assert owner.messages.get_nowait() == {"last": "words"}


def test_a_child_hears_that_it_was_cancelled_and_is_used_again() -> None:
    with owning() as owner:
        assert owner.ask({"wait": True}) == {"waits": True}
        owner.child.cancel()
        assert owner.messages.get(timeout=DEADLINE_S) == {"cancelled": True}
        assert owner.ask({"echo": "again"}) == {"echo": "again"}


def test_killing_a_child_kills_what_it_started() -> None:
    with owning() as owner:
        grandchild = owner.ask({"spawn": True})["spawned"]
        owner.child.kill()
        assert owner.end() == "was killed by SIGKILL"
        wait_until(lambda: is_gone(grandchild))


def test_what_a_child_leaves_behind_is_killed_and_does_not_delay_the_news() -> None:
    with owning() as owner:
        grandchild = owner.ask({"spawn": True})["spawned"]
        owner.child.send({"exit": 0})
        assert owner.end() == "ended with exit code 0"
        wait_until(lambda: is_gone(grandchild))


def test_closing_twice_does_nothing_more() -> None:
    with owning() as owner:
        owner.child.close()
        owner.child.close()
    assert owner.end() == "was killed by SIGKILL"


OWNER = """
import sys, time
from learning.process import ChildProcess
child = ChildProcess("tests.learning.child", lambda m: print(m["pid"], m["spawned"], flush=True),
                     lambda how: None)
child.send({"hold the interpreter lock": True})
time.sleep(600)
"""


def test_killing_the_owner_leaves_no_orphan_even_while_the_child_holds_its_lock() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        child, grandchild = map(int, owner.stdout.readline().split())
        assert not is_gone(child)
        owner.kill()
        owner.wait(DEADLINE_S)
    wait_until(lambda: is_gone(child) and is_gone(grandchild))


SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_the_whole_group_ends_neither_child_nor_guard(number: int) -> None:
    with owning() as owner:
        described = owner.ask({"describe": True})
        os.killpg(owner.child.pid, number)
        assert owner.ask({"describe": True}) == described
        (guard,) = children_of(owner.child.pid)
        assert not is_gone(guard)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "message", [{"spawn": True}, {"spawn on a thread": True}, {"run": ["sleep", "600"]}]
)
def test_a_signal_ends_what_a_child_started(message: dict[str, Any], number: int) -> None:
    with owning() as owner:
        grandchild = owner.ask(message)["spawned"]
        os.kill(grandchild, number)
        wait_until(lambda: is_gone(grandchild))


def test_a_signal_does_not_cut_short_what_a_child_does() -> None:
    with owning() as owner:
        assert owner.ask({"wait": True}) == {"waits": True}
        os.kill(owner.child.pid, signal.SIGTERM)
        owner.child.cancel()
        assert owner.messages.get(timeout=DEADLINE_S) == {"cancelled": True}


def test_a_file_of_the_working_directory_hides_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("learning", "msgpack", "queue"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    with owning() as owner:
        assert owner.ask({"echo": 1}) == {"echo": 1}


def test_it_does_not_import_numpy() -> None:
    code = "import sys, learning.process; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
