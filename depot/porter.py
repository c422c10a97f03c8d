"""Doing errands at a depot, which may take long, beside a service that must not wait."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from depot.errors import DepotError, DepotUnreachable

_log = logging.getLogger(__name__)
_ResultT = TypeVar("_ResultT")
CLOSING_S = 0.5  # how long an errand under way is waited for; what it leaves expires


class Porter(Protocol):
    """Does errands one after another, in the order in which they were given."""

    def do(
        self, errand: Callable[[], _ResultT], tell: Callable[[_ResultT | DepotError], object]
    ) -> None:
        """Do an errand, and tell what came of it.

        Args:
            errand: May wait for a disk or a network.
            tell: Takes what it returned, or the error; on any thread. It is not called any more
                after `close`.
        """
        ...

    def close(self) -> None:
        """Do nothing more. Safe to call twice."""
        ...


class ThreadPorter:
    """A porter with a thread of its own, which begins with the first errand.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._errands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def do(
        self, errand: Callable[[], _ResultT], tell: Callable[[_ResultT | DepotError], object]
    ) -> None:
        """See `Porter.do`."""
        if self._thread is None:
            # As a daemon: a process that ends does not wait for a store that does not answer.
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

        def run() -> None:
            result = _whatever_comes_of(errand)
            if not self._closed:
                tell(result)

        self._errands.put(run)

    def close(self) -> None:
        """See `Porter.close`."""
        self._closed = True
        self._errands.put(None)
        if self._thread is not None:
            self._thread.join(CLOSING_S)

    def _work(self) -> None:
        while (errand := self._errands.get()) is not None:
            try:
                if not self._closed:
                    errand()
            except BaseException:  # the next errand is done all the same
                _log.exception("a bug: what came of an errand at the depot was told to nobody")


def _whatever_comes_of(errand: Callable[[], _ResultT]) -> _ResultT | DepotError:
    """The same of all that can be raised: on its own thread nobody else would hear of it.

    A library in Rust that panics raises what is no `Exception`.
    """
    try:
        return outcome_of(errand)
    except BaseException as error:
        _log.exception("a bug in an errand at the depot")
        return DepotUnreachable(f"a bug, see the log: {type(error).__name__}")


def outcome_of(errand: Callable[[], _ResultT]) -> _ResultT | DepotError:
    """What an errand returns, or its error; a bug in it counts as one that may pass."""
    try:
        return errand()
    except DepotError as error:
        return error
    except Exception as error:
        _log.exception("a bug in an errand at the depot")
        return DepotUnreachable(f"a bug, see the log: {type(error).__name__}")
