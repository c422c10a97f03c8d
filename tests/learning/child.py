"""A child process that does what a test tells it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from learning.process import Link, serve


def main(link_fd: int, lifeline_fd: int) -> None:
    serve(link_fd, lifeline_fd, handle)


def handle(message: dict[str, Any], link: Link) -> None:
    match message:
        case {"echo": value}:
            link.send({"echo": value})
        case {"describe": True}:
            link.send(_description())
        case {"exit": code}:
            link.send({"last": "words"})
            os._exit(code)
        case {"signal": number}:
            os.kill(os.getpid(), number)
        case {"raise": text}:
            raise RuntimeError(text)
        case {"wait": True}:
            link.send({"waits": True})
            link.send({"cancelled": link.wait_cancelled(60)})
        case {"spawn": True}:
            link.send({"spawned": _grandchild()})
        case {"spawn on a thread": True}:
            thread = threading.Thread(target=lambda: link.send({"spawned": _grandchild()}))
            thread.start()
            thread.join()
        case {"run": command}:
            link.send({"spawned": subprocess.Popen(command).pid})
        case {"hold the interpreter lock": True}:
            link.send({"spawned": _grandchild(), "pid": os.getpid()})
            # A C call that does not let go of the lock: no thread of this process runs.
            ctypes.PyDLL(None).sleep(120)
        case _:
            raise AssertionError(f"unexpected {message}")


def _grandchild() -> int:
    """As a DataLoader's worker does, it holds the child's sockets open."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def _description() -> dict[str, Any]:
    return {
        "session": os.getsid(0) == os.getpid(),
        "daemonic": multiprocessing.current_process().daemon,
        "stdin_is_empty": sys.stdin.read() == "",
        "stdout_is_stderr": os.path.sameopenfile(1, 2),
        "safe_path": sys.flags.safe_path,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "main": getattr(sys.modules["__main__"], "__file__", None),
        "cwd_on_path": "" in sys.path or os.getcwd() in sys.path[:1],
        "on_main_thread": threading.current_thread() is threading.main_thread(),
    }
