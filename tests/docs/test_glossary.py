"""The glossary has every word that users meet."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from coordinator.events import TaskEnd, Verdict
from coordinator.states import State
from schemas.messages import RunState
from tests.docs.pages import ROOT

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")

WORDS = """
federation, run, round, model version, parameters, coordinator, worker, population, cohort, task,
update, goal, quorum, deadline, concurrency, over-selection, staleness, straggler, dropout, lease,
verdict, inbox, outbox, learner, keeper
"""


def rows(heading: str) -> list[str]:
    """The first cells of the table below a heading."""
    section = GLOSSARY.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize("word", re.split(r",\s*", WORDS.strip()))
def test_every_word_of_the_design_is_explained_once(word: str) -> None:
    assert GLOSSARY.count(f"\n| **{word}** | ") == 1


def test_the_table_of_verdicts_is_that_of_the_code() -> None:
    assert rows("Verdicts") == list(get_args(Verdict))


def test_the_states_of_a_task_are_those_of_the_code() -> None:
    assert rows("States of a task") == ["offered", "taken", *get_args(TaskEnd)]


def test_the_states_of_a_run_are_those_of_the_code() -> None:
    assert set(rows("States of a run")) == {state.__name__.lower() for state in get_args(State)}


@pytest.mark.parametrize("state", get_args(RunState))
def test_every_state_that_a_worker_is_told_is_mentioned(state: str) -> None:
    assert f"`{state}`" in GLOSSARY
