"""Doing errands at a depot, which may take long, beside a service that must not wait."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from depot.errors import DepotError, DepotUnreachable

_log = logging.getLogger(__name__)
_ResultT = TypeVar("_ResultT")
CLOSING_S = 0.5  # how long an errand under way is waited for; what it leaves expires


class Porter(Protocol):
    """Does errands one after another, in the order in which they were given."""

    @property
    def is_busy(self) -> bool:
        """Whether an errand is under way, also one that nobody waits for any more, or waits."""
        ...

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

    def do_instead(
        self, errand: Callable[[], _ResultT], tell: Callable[[_ResultT | DepotError], object]
    ) -> None:
        """The same in the place of all that wait: nobody is told of those.

        For who is interested in the last only: while a depot hangs no more than that one waits.
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
        self._errands: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()  # of all that follows
        self._under_way = False
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def is_busy(self) -> bool:
        """See `Porter.is_busy`."""
        with self._changed:
            return self._under_way or bool(self._errands)

    def do(
        self, errand: Callable[[], _ResultT], tell: Callable[[_ResultT | DepotError], object]
    ) -> None:
        """See `Porter.do`."""
        with self._changed:
            self._give(errand, tell)

    def do_instead(
        self, errand: Callable[[], _ResultT], tell: Callable[[_ResultT | DepotError], object]
    ) -> None:
        """See `Porter.do_instead`."""
        with self._changed:
            self._errands.clear()
            self._give(errand, tell)

    def close(self) -> None:
        """See `Porter.close`."""
        with self._changed:
            self._closed = True
            self._errands.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSING_S)

    def _give(
        self, errand: Callable[[], _ResultT], tell: Callable[[_ResultT | DepotError], object]
    ) -> None:
        if self._closed:
            return
        if self._thread is None:
            # As a daemon: a process that ends does not wait for a store that does not answer.
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

        def run() -> None:
            result = _whatever_comes_of(errand)
            with self._changed:
                self._under_way = False  # who is told may look at once
                if self._closed:
                    return
            tell(result)

        self._errands.append(run)
        self._changed.notify()

    def _work(self) -> None:
        while (errand := self._next()) is not None:
            try:
                errand()
            except BaseException:  # the next errand is done all the same
                _log.exception("a bug: what came of an errand at the depot was told to nobody")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._errands)
            if self._closed:
                return None
            self._under_way = True
            return self._errands.popleft()


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
