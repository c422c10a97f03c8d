"""A transport that moves while it is driven: when `drive` returns, and that it always does."""

from __future__ import annotations

import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from pika.adapters import select_connection

from broker.rabbitmq import DrivenTransport
from broker.transport import (
    Connected,
    Disconnected,
    Doubtful,
    Event,
    Outgoing,
    Refused,
)
from tests.broker.tcp_proxy import TcpProxy
from tests.support.rabbitmq_node import free_ports

DEADLINE_S = 20.0
LONG_S = 3 * DEADLINE_S  # a `drive` that has not ended by itself until then fails the test
TOO_LONG = Outgoing("", "x" * 256, b"")
NOWHERE = Outgoing("", "q.missing", b"")


class Service:
    """Has a driven transport, and drives it in the test's own thread.

    Attributes:
        events: What was posted.
        threads: The threads that it was posted in.
        on_event: Called with each event.
    """

    def __init__(self, url: str) -> None:
        self.events: list[Event] = []
        self.threads: set[int] = set()
        self.on_event: Callable[[Event], None] = lambda event: None
        self.transport = DrivenTransport(url, self._post, "test", retry_max_s=0.5)
        self._is_late = False

    def _post(self, event: Event) -> None:
        self.events.append(event)
        self.threads.add(threading.get_ident())
        self.on_event(event)

    def drive(self, wait_s: float = LONG_S) -> None:
        """Drive, which must end long before so many seconds are over."""
        deadline = threading.Timer(DEADLINE_S, self._give_up)
        deadline.start()
        self.transport.drive(wait_s)
        deadline.cancel()
        deadline.join()
        assert not self._is_late, "it did not end by itself"

    def drive_until(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + DEADLINE_S
        while not is_so():
            assert time.monotonic() < until, f"posted: {self.events}"
            self.transport.drive(DEADLINE_S)

    def has(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    def _give_up(self) -> None:
        self._is_late = True
        self.transport.wake()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Where there is no broker; and where pika's loop does not return from time to time."""
    monkeypatch.setattr(select_connection._PollerBase, "_MAX_POLL_TIMEOUT", LONG_S)
    (port,) = free_ports(1)
    service = Service(f"amqp://guest:guest@127.0.0.1:{port}/")
    yield service
    service.transport.stop()


@pytest.fixture
def connected(amqp_url: str) -> Iterator[Service]:
    service = Service(amqp_url)
    service.transport.start()
    service.drive_until(lambda: service.has(Connected))
    yield service
    service.transport.stop()


def while_it_waits(work: Callable[[], object]) -> threading.Thread:
    """Do something in another thread as soon as this one waits in the loop."""
    waiter = threading.get_ident()

    def run() -> None:
        until = time.monotonic() + DEADLINE_S
        while (
            sys._current_frames()[waiter].f_code is not select_connection.EPollPoller.poll.__code__
        ):
            if time.monotonic() > until:
                return  # then `drive` is not woken, and the test fails
        work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


needs_epoll = pytest.mark.skipif(
    not hasattr(select_connection.select, "epoll"), reason="looks into the loop that Linux has"
)


@needs_epoll
def test_wake_of_another_thread_ends_a_drive_that_waits(alone: Service) -> None:
    waker = while_it_waits(alone.transport.wake)
    alone.drive()
    waker.join()
    assert alone.events == []


@needs_epoll
def test_wake_of_a_signals_handler_ends_a_drive_that_waits_in_the_same_thread(
    alone: Service,
) -> None:
    main, ended = threading.get_ident(), threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: alone.transport.wake())

    def send() -> None:
        # What comes between the interpreter's last look and its wait is seen when that ends.
        while not ended.wait(0.1):
            signal.pthread_kill(main, signal.SIGUSR1)

    sender = while_it_waits(send)
    try:
        alone.drive()
    finally:
        ended.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)


@needs_epoll
def test_what_another_thread_asks_for_is_done_at_once(alone: Service) -> None:
    asker = while_it_waits(lambda: alone.transport.publish(NOWHERE))
    alone.drive()
    asker.join()
    alone.drive()
    assert alone.events == [Doubtful(1)]
    assert alone.threads == {threading.get_ident()}


def test_a_wake_before_drive_is_not_lost_and_counts_once(alone: Service) -> None:
    alone.transport.wake()
    alone.drive()
    for _ in range(3):
        waking = threading.Thread(target=alone.transport.wake)
        waking.start()
        waking.join()
    alone.drive()
    is_ringing, *_ = select.select([alone.transport._bell.fileno()], [], [], 0)
    assert not is_ringing


def test_a_bell_that_is_rung_more_often_than_it_holds_keeps_nobody_waiting(alone: Service) -> None:
    for _ in range(100_000):
        alone.transport.wake()
    alone.drive()


def test_who_is_told_an_event_need_not_be_woken_for_it(alone: Service) -> None:
    alone.drive(0.0)  # from here on this thread is known to be the one that drives
    alone.on_event = lambda event: alone.transport.wake()
    alone.transport.publish(NOWHERE)
    alone.drive()
    assert alone.events == [Doubtful(1)]
    is_ringing, *_ = select.select([alone.transport._bell.fileno()], [], [], 0)
    assert not is_ringing, "the next drive would end for nothing"


def test_drive_ends_in_time_when_nothing_happens(alone: Service) -> None:
    for _ in range(3):
        alone.drive(0.001)
    assert alone.events == []


def test_it_ends_in_time_whatever_an_earlier_drive_was_to_wait(alone: Service) -> None:
    alone.transport.wake()
    alone.drive()  # ends early; its time is still to come
    alone.drive(0.001)
    alone.drive(0.0)


def test_a_publish_before_start_is_in_doubt_with_the_next_drive_which_does_not_wait(
    alone: Service,
) -> None:
    alone.drive(0.0)  # from here on this thread is known to be the one that drives
    tokens = [alone.transport.publish(NOWHERE) for _ in range(3)]
    assert alone.events == [], "nothing is posted but from within `drive`"
    alone.drive()
    assert alone.events == [Doubtful(token) for token in tokens]


def test_without_a_broker_it_says_so_and_tries_again(alone: Service) -> None:
    alone.transport.start()
    alone.drive_until(lambda: len(alone.events) >= 2)
    assert {type(event) for event in alone.events} == {Disconnected}
    assert alone.threads == {threading.get_ident()}


def test_stop_twice_is_as_once_and_nothing_is_posted_afterwards(alone: Service) -> None:
    alone.transport.start()
    alone.drive_until(lambda: alone.has(Disconnected))
    alone.transport.stop()
    assert alone.events[-1] == Disconnected("stopped", 0.0)
    num_events = len(alone.events)
    alone.transport.stop()
    alone.transport.publish(NOWHERE)
    alone.transport.start()
    alone.transport.wake()
    alone.drive()
    assert len(alone.events) == num_events


def test_one_that_was_never_started_can_be_stopped(alone: Service) -> None:
    alone.transport.stop()
    assert alone.events == []


def test_a_stop_without_time_ends_it_all_the_same(
    alone: Service, caplog: pytest.LogCaptureFixture
) -> None:
    alone.transport.start()
    alone.drive_until(lambda: alone.has(Disconnected))
    in_doubt = alone.transport.publish(NOWHERE)
    alone.transport.stop(0.0)
    assert alone.events[-2:] == [Doubtful(in_doubt), Disconnected("stopped", 0.0)]
    num_events = len(alone.events)
    alone.drive()
    assert len(alone.events) == num_events
    assert caplog.records == []


# With a broker.


class Bug(Exception):
    pass


def test_an_error_within_drive_is_met_with_another_connection(
    connected: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, Refused):
            raise Bug

    connected.on_event = fail
    connected.transport.publish(TOO_LONG)  # refused here, while it is carried out
    behind = connected.transport.publish(NOWHERE)
    connected.drive_until(lambda: connected.events.count(Connected(2)) == 1)
    told = [type(event) for event in connected.events]
    assert told.index(Refused) < told.index(Disconnected)
    lost = next(event for event in connected.events if isinstance(event, Disconnected))
    assert "internal error, please report it: Bug()" in lost.reason
    assert Doubtful(behind) in connected.events, "what was asked for behind it is not forgotten"
    assert "error in the broker's loop, connecting again" in caplog.text


def test_an_error_of_the_service_over_what_came_is_met_with_another_connection(
    connected: Service,
) -> None:
    failed: list[Event] = []

    def fail(event: Event) -> None:
        if not isinstance(event, Disconnected | Connected | Doubtful) and not failed:
            failed.append(event)
            raise Bug

    connected.on_event = fail
    connected.transport.publish(NOWHERE)
    connected.drive_until(lambda: connected.has(Disconnected))
    connected.drive_until(lambda: Connected(2) in connected.events)
    assert failed


def test_it_is_stopped_in_good_order(connected: Service) -> None:
    connected.transport.stop()
    assert connected.events == [Connected(1), Disconnected("stopped", 0.0)]


def test_it_is_stopped_in_time_though_the_broker_says_nothing_more(
    amqp_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts = urlsplit(amqp_url)
    proxy = TcpProxy((parts.hostname or "localhost", parts.port or 5672))
    user = parts.netloc.rpartition("@")[0]
    service = Service(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}").geturl())
    service.transport.start()
    service.drive_until(lambda: service.has(Connected))
    assert proxy.mute("broker"), "there is a connection to lose words of"
    in_doubt = service.transport.publish(NOWHERE)
    service.transport.stop(0.05)
    assert service.events[1:] == [Disconnected("stopped", 0.0), Doubtful(in_doubt)]
    service.drive()
    proxy.close()
    assert caplog.records == []
