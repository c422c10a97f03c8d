"""Own queues are declared when they are needed, once, and nothing depends on one of them."""

from __future__ import annotations

from functools import partial

import pytest

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names, Queue, Topology
from broker.transport import Event, Provided
from coordinator import ownqueues
from coordinator.ownqueues import KNOWN_MAX, KNOWN_S, NEW_MAX, NEW_S, OwnQueues

NAMES = Names("demo")


class Bench:
    """Own queues over an in-process broker, whose events are handed on when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: list[Event] = []
        self.done: list[tuple[str, bool]] = []
        self.declared = 0
        self.transport = MemoryTransport(MemoryBroker(lambda: self.now), self.events.append)
        self.transport.start()
        self.transport.declare(NAMES.topology)
        self.queues = OwnQueues(self.transport, NAMES, lambda: self.now)

    def ask(self, worker_id: str, what: str, purpose: ownqueues.Purpose = "answer") -> None:
        self.queues.when_there(worker_id, purpose, partial(self._do, what))

    def _do(self, what: str, there: bool) -> None:
        self.done.append((what, there))

    def hand_on(self) -> None:
        events = [event for event in self.events if isinstance(event, Provided)]
        self.events.clear()
        self.declared += len(events)
        for event in events:
            self.queues.handle(event)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_waits_for_a_queue_is_done_once_it_stands(bench: Bench) -> None:
    bench.ask("a", "answer")
    bench.ask("a", "task", "task")
    assert bench.done == []
    bench.hand_on()
    assert bench.done == [("answer", True), ("task", True)]
    assert bench.declared == 1


def test_of_what_waits_for_one_purpose_the_newest_is_done(bench: Bench) -> None:
    bench.ask("a", "an older answer")
    bench.ask("a", "the newest answer")
    bench.hand_on()
    assert bench.done == [("the newest answer", True)]


def test_a_queue_that_is_known_is_not_declared_again_for_a_while(bench: Bench) -> None:
    bench.ask("a", "first")
    bench.hand_on()
    bench.now += KNOWN_S - 1.0
    bench.ask("a", "at once")
    assert bench.done[-1] == ("at once", True)
    bench.now += 1.0
    bench.ask("a", "after a look")
    assert bench.done[-1] == ("at once", True)
    bench.hand_on()
    assert bench.done[-1] == ("after a look", True)
    assert bench.declared == 2


def test_a_queue_in_doubt_is_declared_again(bench: Bench) -> None:
    bench.ask("a", "first")
    bench.hand_on()
    bench.queues.doubt("a")
    bench.ask("a", "second")
    bench.hand_on()
    assert bench.declared == 2


def test_a_lost_connection_forgets_what_was_known_and_what_waits(bench: Bench) -> None:
    bench.ask("a", "first")
    bench.hand_on()
    bench.ask("b", "nobody hears this")
    bench.queues.disconnected()
    bench.hand_on()
    assert bench.done == [("first", True)]
    bench.ask("a", "again")
    assert bench.done == [("first", True)]


def test_a_queue_that_the_broker_refuses_is_told_of_now_and_then(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        other = Queue(NAMES.worker_queue(name).name, "quorum")
        bench.transport.declare(Topology((), (other,), ()))
    for name in "ab":
        bench.ask(name, name)
    bench.hand_on()
    assert bench.done == [("a", False), ("b", False)]
    assert [line.count("has no queue of its own") for line in caplog.messages] == [1]


def test_who_does_not_fit_in_has_to_ask_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownqueues, "ASKED_MAX", 2)
    for name in "abc":
        bench.ask(name, name)
    bench.hand_on()
    assert bench.done == [("a", True), ("b", True)]
    bench.ask("c", "c")
    bench.hand_on()
    assert bench.done[-1] == ("c", True)


def test_what_is_known_has_a_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KNOWN_MAX >= 10_000
    monkeypatch.setattr(ownqueues, "KNOWN_MAX", 2)
    for name in "abc":
        bench.ask(name, name)
        bench.hand_on()
    bench.ask("b", "known")
    assert bench.done[-1] == ("known", True)
    bench.ask("a", "not known any more")
    assert bench.done[-1] == ("known", True)


def test_workers_that_only_say_that_they_are_there_have_so_many_queues_made_a_day(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(NEW_MAX + 50):
        bench.ask(f"forged-{number}", f"{number}")
    bench.hand_on()
    assert bench.declared == NEW_MAX
    assert bench.done.count((f"{NEW_MAX}", False)) == 1, "it is answered all the same"
    assert len(bench.done) == NEW_MAX + 50
    assert caplog.text.count("no more queues are made") == 1
    bench.now += NEW_S
    bench.ask("later", "the next day")
    bench.hand_on()
    assert bench.done[-1] == ("the next day", True)


def test_a_worker_that_was_drawn_gets_its_queue_whoever_else_came(bench: Bench) -> None:
    for number in range(NEW_MAX + 1):
        bench.ask(f"forged-{number}", f"{number}")
    bench.ask("drawn", "task", "task")
    bench.hand_on()
    assert bench.done[-1] == ("task", True)
    bench.ask("drawn", "answer")
    assert bench.done[-1] == ("answer", True)


def test_a_queue_that_is_known_is_declared_again_whoever_else_came(bench: Bench) -> None:
    for number in range(NEW_MAX + 1):
        bench.ask(f"forged-{number}", f"{number}")
    bench.hand_on()
    bench.now += KNOWN_S
    bench.ask("forged-0", "again")
    bench.hand_on()
    assert bench.done[-1] == ("again", True)
    assert bench.declared == NEW_MAX + 1
