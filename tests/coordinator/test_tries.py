"""Who may take a task, and what keeps others from it."""

from __future__ import annotations

from typing import get_args

import pytest

from coordinator.states import State
from coordinator.tries import (
    ON_ITS_WAY_S,
    Bar,
    Phase,
    bar_of_tasks,
    bar_of_update,
    bar_of_word,
    barred,
    may_still_count,
)
from tests.coordinator.rows import ledger_row

TAKEN, LAPSED = "a" * 32, "c" * 32
UPDATE = "d" * 32


def sent(task_id: str) -> str:
    return UPDATE


def silent(task_id: str) -> str:
    return ""


@pytest.mark.parametrize(
    ("verdict", "why"),
    [("counted", "counted"), ("repeated", "counted"), ("non-finite", "refused")],
)
def test_an_update_with_its_verdict_uses_a_try_up(verdict: str, why: str) -> None:
    row = ledger_row(verdict=verdict)
    bar = bar_of_update(row)
    assert bar is not None
    assert (bar.why, bar.about, bar.verdict) == (why, row.update_id, verdict)
    assert bar_of_update(None) is None


@pytest.mark.parametrize("late", ["weigh", "refuse"])
def test_a_task_under_a_lease_is_in_hand_whatever_its_worker_says(late: str) -> None:
    for says in (sent, silent):
        assert bar_of_tasks([(TAKEN, "taken")], says, late) == Bar("in hand", TAKEN)


def test_after_its_lease_only_the_worker_knows_whether_an_update_is_on_its_way() -> None:
    lapsed = [(LAPSED, "lapsed")]
    assert bar_of_tasks(lapsed, silent, "weigh") is None
    assert bar_of_tasks(lapsed, sent, "weigh") == Bar("on its way", UPDATE)
    assert bar_of_tasks(lapsed, sent, "refuse") is None, "it could only be refused"
    assert bar_of_tasks([*lapsed, (TAKEN, "taken")], silent, "weigh") == Bar("in hand", TAKEN)
    assert bar_of_tasks([], sent, "weigh") is None


@pytest.mark.parametrize("phase", ["collecting", "paused"])
def test_in_an_open_round_who_knows_of_no_try_of_its_own_may_take_a_task(phase: Phase) -> None:
    counted = Bar("counted", UPDATE, "counted")
    assert barred(phase, None) is None
    assert barred(phase, counted) == counted
    assert barred(phase, counted, fresh=True) is None


@pytest.mark.parametrize(
    ("phase", "why"), [("closed", "making"), ("draining", "over"), ("ended", "over")]
)
def test_where_no_round_is_open_nobody_may(phase: Phase, why: str) -> None:
    for bar in (None, Bar("counted")):
        for fresh in (True, False):
            found = barred(phase, bar, fresh)
            assert found is not None
            assert found.why == why


def test_the_phases_are_the_states_of_a_run() -> None:
    assert set(get_args(Phase)) == {state.__name__.lower() for state in get_args(State)}


def test_a_named_update_is_believed_to_come_for_an_hour() -> None:
    assert bar_of_word(UPDATE, ON_ITS_WAY_S) == Bar("on its way", UPDATE)
    assert bar_of_word(UPDATE, ON_ITS_WAY_S + 1.0) is None
    assert bar_of_word("", 0.0) is None


def test_where_late_ones_are_refused_it_may_count_until_the_first_deadline() -> None:
    assert may_still_count("refuse", 60.0, 60.0, extended=False)
    assert not may_still_count("refuse", 61.0, 60.0, extended=False)
    assert not may_still_count("refuse", 1.0, 60.0, extended=True)
    assert may_still_count("weigh", 61.0, 60.0, extended=True)
