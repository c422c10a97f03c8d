"""A child process that runs user code, so that its crash, its hang and its memory are its own.

    owner                                     child (own session, no terminal)
      ChildProcess ── socket pair ── messages ──▶ serve(handle), one message after another
                   ◀── messages ─── link.send
                   ── lifeline (a pipe) ────────▶ guard: kills the whole group when it closes

Rules of the file:

- The child never imports the owner's `__main__`, has no terminal, and prints to the owner's
  stderr. It is not daemonic: it may start processes of its own (a DataLoader's).
- The child is deaf to SIGINT and SIGTERM, which a service manager sends to all of a service at
  once: when it ends is the owner's to say. What the child starts is not deaf.
- However the owner ends, `kill -9` included, the child and all it started in its group end: the
  guard is a shell that waits for the lifeline to close. It needs nothing of the child, so it also
  works while a C call of the child holds the interpreter lock.
- However the child ends, what is left of its group is killed, and then `on_end` is called, once.
- Messages are msgpack maps of primitives. Nothing is unpickled.
- Nothing here imports numpy.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgpack

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Set to 1 in a child unless the user has set them: devices are small, and children are many."""

Fields = Mapping[str, Any]

_ROOT = str(Path(__file__).resolve().parent.parent)
# `-m` would need the packages to be installed; this also works from a bare clone. Appended, so
# that our folder (site-packages, say) hides nothing of the standard library.
_BOOT = (
    "import sys, importlib; r = sys.argv[2]; r in sys.path or sys.path.append(r); "
    "importlib.import_module(sys.argv[1]).main(int(sys.argv[3]), int(sys.argv[4]))"
)
_GUARD = ("/bin/sh", "-c", "read -r _; kill -9 0")
_NOT_HEARD = (signal.SIGINT, signal.SIGTERM)
_LAST_WORDS_S = 1.0  # for messages still in the socket when the child has ended


class ChildProcess:
    """The owner's side of a child.

    Args:
        module: A module with `main(link_fd, lifeline_fd)`, which calls `serve`.
        on_message: Takes each message of the child, on a thread of this object.
        on_end: Takes how the child ended, for people; called once, after the last message.
        environ: The child's environment; this process's own if None.

    Attributes:
        left_unread: Once it has ended: that was not the doing of the newest message, which it has
            not read. Where that cannot be told it is False.
    """

    def __init__(
        self,
        module: str,
        on_message: Callable[[dict[str, Any]], None],
        on_end: Callable[[str], None],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._lock = threading.Lock()
        self._ended = False
        self.left_unread = False
        self._socket, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        fds = (theirs.fileno(), lifeline)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, module, _ROOT, *map(str, fds)],
                stdin=subprocess.DEVNULL,
                stdout=2,  # the owner's own stdout may carry its result
                pass_fds=fds,
                start_new_session=True,
                env={
                    **dict.fromkeys(ONE_THREAD, "1"),
                    **(os.environ if environ is None else environ),
                },
            )
        except BaseException:
            self._socket.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline)
        self._link = Connection(os.dup(self._socket.fileno()))
        self._reader = threading.Thread(target=self._read, name=f"{module}-reader", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name=f"{module}-waiter", daemon=True)
        self._reader.start()
        self._waiter.start()

    @property
    def pid(self) -> int:
        """The child's process id, which is also that of its session and its group."""
        return self._process.pid

    def send(self, message: Fields) -> None:
        """Send a message; if the child has ended nothing happens, `on_end` tells."""
        with self._lock:
            if self._ended:
                self.left_unread = True
                return
            try:
                self._link.send_bytes(msgpack.packb(dict(message)))
            except OSError:
                self.left_unread = True

    def cancel(self) -> None:
        """Ask the child to give up the newest message it was sent (`link.cancelled()`)."""
        self.send({"cancel": True})

    def kill(self) -> None:
        """Kill the child and its group; `on_end` follows. Safe to call again."""
        with self._lock:
            if not self._ended:
                _kill_group(self.pid)

    def close(self, timeout_s: float = 5.0) -> None:
        """Kill, and wait until all of it is gone. Not to be called from a callback."""
        self.kill()
        self._waiter.join(timeout_s)

    def _read(self) -> None:
        while True:
            try:
                body = self._link.recv_bytes(MESSAGE_BYTES_MAX)
            except ConnectionResetError:  # what Linux says where not all was read
                self.left_unread = True
                return
            except (EOFError, OSError):
                return
            self._on_message(msgpack.unpackb(body))

    def _wait(self) -> None:
        if hasattr(os, "waitid"):
            # Without reaping: until the group is killed nobody else may get its number.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            _kill_group(self.pid)
        code = self._process.wait()
        with self._lock:
            self._ended = True
        self._reader.join(_LAST_WORDS_S)
        # A process that left the group may hold the socket open; do not wait for it.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._link.close()
        self._socket.close()
        os.close(self._lifeline)
        self._on_end(_how_it_ended(code))


def _kill_group(pid: int) -> None:
    # macOS says that it is not permitted of a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class Link:
    """The child's side: the way back to the owner while one message is handled."""

    def __init__(self, connection: Connection, lock: threading.Lock) -> None:
        self._connection = connection
        self._lock = lock
        self._cancelled = threading.Event()

    def send(self, message: Fields) -> None:
        """Send a message to the owner, from any thread."""
        with self._lock:
            self._connection.send_bytes(msgpack.packb(dict(message)))

    def cancelled(self) -> bool:
        """Whether the owner has given up the message being handled."""
        return self._cancelled.is_set()

    def wait_cancelled(self, timeout_s: float) -> bool:
        """Wait a while; True as soon as the message is given up."""
        return self._cancelled.wait(timeout_s)

    def cancel(self) -> None:
        """What the owner's `cancel` comes down to."""
        self._cancelled.set()


def _begin_guard(lifeline_fd: int) -> subprocess.Popen[bytes]:
    """Start what outlives a signal to the whole group; call before `_turn_deaf`."""
    for number in _NOT_HEARD:
        signal.signal(number, signal.SIG_IGN)  # the guard inherits this
    guard = subprocess.Popen(_GUARD, stdin=lifeline_fd, stdout=subprocess.DEVNULL)
    os.close(lifeline_fd)
    return guard


def _turn_deaf() -> None:
    """Hear no signal to end, and see that processes started from here do.

    A handler that does nothing, since what is ignored stays ignored in a program that is started.
    """

    def hold() -> None:  # or a signal between fork and `listen` would be lost
        signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_HEARD)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_HEARD)

    def listen() -> None:
        for number in _NOT_HEARD:
            signal.signal(number, signal.SIG_DFL)
        release()

    for number in _NOT_HEARD:
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)  # a learner's own system calls go on
    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=listen)


def note(text: str) -> None:
    """Print lines on stderr, if that takes them: no work is worth less for a full log."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def note_failure() -> None:
    """Print the traceback of what is being handled, likewise."""
    note(traceback.format_exc().rstrip())


def serve(link_fd: int, lifeline_fd: int, handle: Callable[[dict[str, Any], Link], None]) -> None:
    """Be a child: hand each message to `handle`, on this thread, until the owner is gone.

    Never returns: the process ends with its group when the owner closes the link, and alone if
    `handle` raises.
    """
    guard = _begin_guard(lifeline_fd)
    _turn_deaf()
    connection, lock = Connection(link_fd), threading.Lock()
    work: queue.SimpleQueue[tuple[dict[str, Any], Link]] = queue.SimpleQueue()

    def read() -> None:
        newest = Link(connection, lock)
        while True:
            try:
                message = msgpack.unpackb(connection.recv_bytes(MESSAGE_BYTES_MAX))
            except (EOFError, OSError):
                _kill_group(os.getpgrp())
                os._exit(0)
            if "cancel" in message:
                newest.cancel()
            else:
                newest = Link(connection, lock)
                work.put((message, newest))

    threading.Thread(target=read, name="owner", daemon=True).start()
    try:
        while True:
            message, link = work.get()
            handle(message, link)
    except BaseException:
        note_failure()
    finally:
        guard.kill()
        os._exit(1)
