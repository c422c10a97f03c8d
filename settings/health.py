"""Whether a service is well: it is asked over a socket of its own, and answers from its own loop.

    fedmq health ──▶ socket ──▶ thread ──▶ the service's mailbox
                 ◀── words ◀────────────── the service's loop

Rules:
    - Nothing is done until somebody asks: no timer, no file that is touched, no connection to the
      broker. An answer is true when it is given, since the loop that does the work gives it.
    - A loop that does not answer in `ANSWER_S` is not well.
    - The socket is its owner's alone. One that a killed process left behind is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from settings.errors import SettingsError, show

VARIABLE = "FEDMQ_HEALTH"
ANSWER_S = 5.0
"""How long a loop may take to answer; a round of a large model that is being closed takes it."""
HANG_UP_S = 7.0
"""How long who asks waits for words; above `ANSWER_S`, so that it hears why there was no answer."""

_WORDS_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Health:
    """How a service is.

    Attributes:
        well: It does what it is there for.
        words: What that is, or what is wrong, in a line.
    """

    well: bool
    words: str


Reply = Callable[[Health], None]
Ask = Callable[[Reply], None]
"""Has a service's loop call `Reply` when its turn comes; must not wait itself."""


class HealthSocket:
    """The socket that a service is asked over, while it is entered.

    Args:
        path: Where it is; "" for none at all.
        ask: Passes a question on to the service.

    Raises:
        SettingsError: There can be no socket there, or another service answers at it.
    """

    def __init__(self, path: str, ask: Ask) -> None:
        self._path = path
        self._ask = ask
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        if self._path:
            self._socket = _listen(self._path)
            threading.Thread(
                target=self._serve, args=(self._socket,), name="health", daemon=True
            ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which `close` does not
            self._socket.close()
            self._socket = None

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:  # closed
                return
            with caller, contextlib.suppress(OSError):  # who asked may be gone
                caller.settimeout(HANG_UP_S)
                health = self._answer()
                caller.sendall(json.dumps([health.well, health.words]).encode())

    def _answer(self) -> Health:
        answers: queue.SimpleQueue[Health] = queue.SimpleQueue()
        self._ask(answers.put)
        try:
            return answers.get(timeout=ANSWER_S)
        except queue.Empty:
            return Health(False, f"its loop has not answered for {ANSWER_S:g} s")


def ask_health(path: str) -> Health:
    """Ask the service at a socket how it is."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(HANG_UP_S)
            line.connect(path)
            said = b""
            while chunk := line.recv(_WORDS_BYTES_MAX):
                said += chunk
        well, words = json.loads(said)
        return Health(bool(well), str(words))
    except TimeoutError:
        return Health(False, f"{path}: no answer in {HANG_UP_S:g} s")
    except OSError as error:
        return Health(False, f"{path}: no service answers there ({error.strerror or error})")
    except ValueError:
        return Health(False, f"{path}: the service ended while it was asked")


def _listen(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        _make_way(path)
        mask = os.umask(0o177)
        try:
            made.bind(path)
        finally:
            os.umask(mask)
        made.listen(8)
    except OSError as error:
        made.close()
        raise SettingsError(
            "--health", "a path where a socket can be made", f"{show(path)}: {error}"
        ) from error
    except BaseException:
        made.close()
        raise
    return made


def _make_way(path: str) -> None:
    """Take away a socket that nobody answers at."""
    if not Path(path).is_socket():
        return  # a file of another kind is not ours to remove; `bind` says that it is there
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(HANG_UP_S)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise SettingsError("--health", "a socket of its own", f"{show(path)}, of another service")
