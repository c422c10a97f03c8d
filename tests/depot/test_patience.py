"""How long somebody has waited for a depot."""

from __future__ import annotations

import math

import pytest

from depot.patience import Patience


class Waiting:
    """Patience for ten seconds on a clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.patience = Patience(lambda: self.now, 10.0)

    def ends_in(self, seconds: float) -> bool:
        self.now += seconds
        return self.patience.has_ended()


@pytest.fixture
def waiting() -> Waiting:
    made = Waiting()
    made.patience.begin()
    return made


def test_it_ends_when_nothing_was_heard_for_so_long(waiting: Waiting) -> None:
    assert waiting.patience.ends_at == 110.0
    assert not waiting.ends_in(9.9)
    assert waiting.ends_in(0.1)


def test_what_goes_on_is_waited_for(waiting: Waiting) -> None:
    assert not waiting.ends_in(9.0)
    waiting.patience.moved()
    assert not waiting.ends_in(9.0)
    assert waiting.ends_in(1.0)


def test_that_it_has_ended_is_said_once(waiting: Waiting) -> None:
    assert waiting.ends_in(10.0)
    assert not waiting.ends_in(10.0)
    assert waiting.patience.ends_at == math.inf


def test_the_next_errand_has_all_of_it(waiting: Waiting) -> None:
    waiting.ends_in(10.0)
    waiting.patience.begin()
    assert not waiting.ends_in(9.9)
    assert waiting.ends_in(0.1)


def test_while_nothing_is_awaited_it_does_not_end() -> None:
    waiting = Waiting()
    assert not waiting.ends_in(1e9)
    waiting.patience.begin()
    waiting.patience.end()
    assert not waiting.ends_in(1e9)


def test_a_word_that_comes_late_does_not_begin_it_again(waiting: Waiting) -> None:
    waiting.patience.end()
    waiting.patience.moved()
    assert not waiting.ends_in(1e9)
