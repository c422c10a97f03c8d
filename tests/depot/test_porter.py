"""Doing errands at a depot."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from depot.errors import DepotUnreachable, NotInDepot
from depot.porter import Porter, ThreadPorter
from tests.support.errands import PromptPorter

DEADLINE_S = 10.0


@pytest.fixture(params=[PromptPorter, lambda: ThreadPorter("porter")])
def porter(request: pytest.FixtureRequest) -> Iterator[Porter]:
    make: Callable[[], Porter] = request.param
    made = make()
    yield made
    made.close()


def told(porter: Porter, *errands: Callable[[], Any]) -> list[Any]:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for errand in errands:
        porter.do(errand, heard.put)
    return [heard.get(timeout=DEADLINE_S) for _ in errands]


def test_what_an_errand_returns_is_told(porter: Porter) -> None:
    assert told(porter, lambda: 7) == [7]


def test_errands_are_done_in_order(porter: Porter) -> None:
    assert told(porter, *[lambda n=n: n for n in range(50)]) == list(range(50))


def test_its_error_is_told(porter: Porter) -> None:
    def gone() -> None:
        raise NotInDepot("it is not there")

    (error,) = told(porter, gone)
    assert isinstance(error, NotInDepot)


def test_a_bug_is_told_as_what_may_pass_and_the_next_errand_is_done(porter: Porter) -> None:
    error, next_one = told(porter, lambda: 1 // 0, lambda: 7)
    assert isinstance(error, DepotUnreachable)
    assert "ZeroDivisionError" in str(error)
    assert next_one == 7


def test_after_its_end_a_porter_tells_nothing(porter: Porter) -> None:
    heard: list[object] = []
    porter.close()
    porter.do(lambda: 7, heard.append)
    porter.close()
    assert heard == []


def test_closing_does_not_wait_for_a_store_that_hangs() -> None:
    porter, hangs, begun = ThreadPorter("porter"), threading.Event(), threading.Event()
    heard: list[object] = []

    def hang() -> int:
        begun.set()
        hangs.wait(DEADLINE_S)
        return 7

    porter.do(hang, heard.append)
    assert begun.wait(DEADLINE_S)
    porter.close()
    assert not hangs.is_set()
    thread = porter._thread
    assert thread is not None
    assert thread.is_alive()
    hangs.set()
    thread.join(DEADLINE_S)
    assert heard == []


class PanicError(BaseException):
    """As what a library in Rust raises when it panics, which is no `Exception`."""


def test_a_panic_of_a_library_does_not_end_the_porter() -> None:
    porter = ThreadPorter("porter")

    def panic() -> None:
        raise PanicError("index out of bounds")

    error, next_one = told(porter, panic, lambda: 7)
    porter.close()
    assert isinstance(error, DepotUnreachable)
    assert "PanicError" in str(error)
    assert next_one == 7


def test_who_is_told_and_fails_does_not_end_the_porter(caplog: pytest.LogCaptureFixture) -> None:
    porter = ThreadPorter("porter")

    def fail(_: object) -> None:
        raise PanicError("nobody takes it")

    porter.do(lambda: 6, fail)
    assert told(porter, lambda: 7) == [7]
    porter.close()
    assert "nobody takes it" in caplog.text


class Hanging:
    """A porter at a depot that hangs until `go`."""

    def __init__(self) -> None:
        self.porter = ThreadPorter("porter")
        self.heard: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._begun, self._hangs = threading.Event(), threading.Event()
        self.porter.do(self._hang, self.heard.put)
        assert self._begun.wait(DEADLINE_S)

    def _hang(self) -> str:
        self._begun.set()
        self._hangs.wait(DEADLINE_S)
        return "hung"

    def go(self) -> None:
        self._hangs.set()


def test_what_waits_gives_way_to_what_is_wanted_in_its_place() -> None:
    hanging = Hanging()
    for number in range(5):
        hanging.porter.do_instead(partial(abs, number), hanging.heard.put)
    hanging.go()
    assert [hanging.heard.get(timeout=DEADLINE_S) for _ in range(2)] == ["hung", 4]
    assert told(hanging.porter, lambda: 7) == [7]
    assert hanging.heard.empty()
    hanging.porter.close()


def test_a_porter_is_busy_until_its_errand_has_returned() -> None:
    hanging = Hanging()
    assert hanging.porter.is_busy
    hanging.go()
    hanging.heard.get(timeout=DEADLINE_S)
    assert not hanging.porter.is_busy
    hanging.porter.close()


def test_what_waits_when_a_porter_is_closed_is_not_done() -> None:
    hanging = Hanging()
    hanging.porter.do(lambda: 7, hanging.heard.put)
    hanging.porter.close()
    hanging.go()
    thread = hanging.porter._thread
    assert thread is not None
    thread.join(DEADLINE_S)
    assert hanging.heard.empty()
