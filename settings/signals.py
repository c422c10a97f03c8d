"""Signals that ask a service to stop, or to read its settings again.

    signal ──▶ the interpreter notes it ──▶ a pipe ──▶ a thread ──▶ what is asked for
                       ╰──▶ the main thread, when it looks: a second one ends the process

Rules:
    - Python looks for signals in the main thread only, and not while that waits. One that comes
      between its last look and its wait, or to another thread, is seen when the wait ends: hours
      later where nothing happens. The pipe is written to at once, whatever thread it comes to.
    - What is asked for is done by that thread, so it must be a thing that any thread may do.
    - Once asked to end, a process stays mortal: a second signal ends it, also while it tidies up.
    - Processes are started by `exec`: one that is only forked would hold the pipe.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

_log = logging.getLogger(__name__)

ENDING = (signal.SIGINT, signal.SIGTERM)
_READ_BYTES = 64  # a byte a signal


@contextlib.contextmanager
def heeding(
    stop: Callable[[], object], reload: Callable[[], object] | None = None
) -> Iterator[None]:
    """Heed signals, in the main thread.

    Args:
        stop: Asks for an end in good order: Ctrl-C or SIGTERM. A second one ends the process.
        reload: Asks for the settings to be read again: SIGHUP.
    """
    asked: dict[int, Callable[[], object]] = dict.fromkeys(ENDING, stop)
    if reload is not None:
        asked[signal.SIGHUP] = reload
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    listener = threading.Thread(target=_listen, args=(reader, asked), name="signals", daemon=True)
    listener.start()
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _seen) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _seen:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(woken)
        os.close(writer)
        listener.join()
        os.close(reader)


def _listen(reader: int, asked: Mapping[int, Callable[[], object]]) -> None:
    while numbers := os.read(reader, _READ_BYTES):
        for number in numbers:
            if number in asked:  # others may have handlers too
                _do(asked[number])


def _do(asked: Callable[[], object]) -> None:
    try:
        asked()
    except Exception:  # or the next signal would find nobody
        _log.exception("a bug in what a signal asks for")


def _seen(number: int, frame: FrameType | None) -> None:
    """One was enough: whoever sends another has waited long enough."""
    if number in ENDING:
        for each in ENDING:
            signal.signal(each, signal.SIG_DFL)
