from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from settings.signals import ENDING, heeding

DEADLINE_S = 30.0


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """A thread that is not the main one: what comes to it interrupts no wait of the main one."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    assert thread.ident is not None
    yield thread.ident
    over.set()
    thread.join()


@pytest.fixture
def ended_by_signals() -> Iterator[None]:
    """What ends the process is as it was afterwards."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("ended_by_signals")
def test_who_waits_hears_a_signal_that_does_not_end_the_wait(
    elsewhere: int, number: signal.Signals
) -> None:
    stopped = threading.Event()
    with heeding(stopped.set):
        signal.pthread_kill(elsewhere, number)
        assert stopped.wait(DEADLINE_S)


def test_each_reload_is_heard(elsewhere: int) -> None:
    reloads = threading.Semaphore(0)
    with heeding(lambda: None, reloads.release):
        for _ in range(3):
            signal.pthread_kill(elsewhere, signal.SIGHUP)
            assert reloads.acquire(timeout=DEADLINE_S)


def test_signals_that_are_not_ours_are_left_to_their_handlers(elsewhere: int) -> None:
    stopped, heard = threading.Event(), threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.set())
    try:
        with heeding(stopped.set):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert heard.wait(DEADLINE_S)
            assert not stopped.is_set()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_afterwards_all_is_as_before() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    threads = threading.active_count()
    with heeding(lambda: None, lambda: None):
        os.kill(os.getpid(), signal.SIGHUP)
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads


def test_who_was_asked_to_end_is_mortal_while_it_tidies_up(ended_by_signals: None) -> None:
    with heeding(lambda: None):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_bug_in_what_is_asked_for_leaves_the_next_signal_heard(
    elsewhere: int, caplog: pytest.LogCaptureFixture
) -> None:
    reloads: queue.SimpleQueue[int] = queue.SimpleQueue()

    def reload() -> None:
        reloads.put(1)
        raise ValueError("cannot")

    with heeding(lambda: None, reload):
        for _ in range(2):
            signal.pthread_kill(elsewhere, signal.SIGHUP)
            assert reloads.get(timeout=DEADLINE_S)
    assert caplog.text.count("a bug in what a signal asks for") == 2


def test_the_second_one_ends_the_process() -> None:
    code = (
        "import os, signal, threading\n"
        "from settings.signals import heeding\n"
        "stopped = threading.Event()\n"
        "with heeding(stopped.set):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert stopped.wait(30)\n"
        "    print('asked', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.returncode) == ("asked\n", -signal.SIGINT)
