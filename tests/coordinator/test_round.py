"""The rule table of verdicts, row by row and in its order."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.events import Refused, TaskFacts, UpdateArrived, Verdict
from coordinator.policy import RoundPolicy
from coordinator.round import judge, judge_after_end
from tests.coordinator.bench import policy

TASK = TaskFacts("t", replaced=False)
REPLACED = TaskFacts("t", replaced=True)
UPDATE = UpdateArrived("u", "w", "t", 5, 12, TASK, False)
FAULT = Refused("non-finite", "NaN")


def verdict(version: int, rules: RoundPolicy, **changes: Any) -> Verdict:
    return judge(dataclasses.replace(UPDATE, **changes), version, rules).verdict


WEIGH = policy(late="weigh", max_staleness=2)
REFUSE = policy(late="refuse", max_staleness=2)


@pytest.mark.parametrize("rules", [WEIGH, REFUSE])
def test_an_update_in_time_counts_by_its_examples(rules: RoundPolicy) -> None:
    judgement = judge(UPDATE, 5, rules)
    assert (judgement.verdict, judgement.staleness, judgement.weight) == ("counted", 0, 12.0)
    assert judgement.counted


@pytest.mark.parametrize("rules", [WEIGH, REFUSE])
def test_a_fault_in_the_data_is_its_own_verdict_before_all_others(rules: RoundPolicy) -> None:
    changes = {"task": None, "base_version": 0, "counted_before": True, "fault": FAULT}
    assert verdict(9, rules, **changes) == "non-finite"


@pytest.mark.parametrize("rules", [WEIGH, REFUSE])
def test_a_task_that_is_not_of_this_run_is_unknown(rules: RoundPolicy) -> None:
    assert verdict(9, rules, task=None, base_version=0, counted_before=True) == "unknown task"


def test_a_replaced_task_is_refused_only_if_late_updates_are() -> None:
    assert verdict(9, REFUSE, task=REPLACED, base_version=0, counted_before=True) == "replaced"
    assert verdict(5, REFUSE, task=REPLACED) == "replaced"
    assert verdict(5, WEIGH, task=REPLACED) == "counted"


def test_an_old_base_is_late_if_late_updates_are_refused() -> None:
    assert verdict(6, REFUSE, counted_before=True) == "late"
    assert verdict(9, REFUSE) == "late"


def test_an_old_base_is_weighed_up_to_a_limit_if_late_updates_are() -> None:
    assert verdict(7, WEIGH) == "counted"
    assert verdict(8, WEIGH, counted_before=True) == "stale"
    assert judge(UPDATE, 7, WEIGH).weight == pytest.approx(12 / math.sqrt(3))
    assert judge(UPDATE, 7, WEIGH).reason == "weighed for a staleness of 2"


@pytest.mark.parametrize("rules", [WEIGH, REFUSE])
def test_a_worker_that_counted_for_the_version_is_repeated(rules: RoundPolicy) -> None:
    assert verdict(5, rules, counted_before=True) == "repeated"


def test_a_base_version_that_was_never_made_is_of_another_timeline() -> None:
    assert verdict(4, WEIGH) == "other timeline"
    assert verdict(0, REFUSE) == "other timeline"


@given(st.integers(-1, 20), st.integers(0, 20), st.booleans(), st.booleans(), st.booleans())
def test_every_update_has_one_verdict_and_only_a_counted_one_weighs(
    version: int, base: int, known: bool, replaced: bool, before: bool
) -> None:
    task = TaskFacts("t", replaced) if known else None
    update = dataclasses.replace(UPDATE, base_version=base, task=task, counted_before=before)
    for rules in (WEIGH, REFUSE):
        judgement = judge(update, version, rules)
        assert judgement.counted == (judgement.weight > 0)
        assert judgement.staleness == max(version - base, 0)
        assert judgement.reason


def test_what_comes_after_the_end_is_that_unless_its_data_has_a_fault() -> None:
    judgement = judge_after_end(UPDATE, 9)
    assert (judgement.verdict, judgement.staleness, judgement.weight) == ("after end", 4, 0.0)
    assert judge_after_end(dataclasses.replace(UPDATE, fault=FAULT), 9).verdict == "non-finite"


def test_a_judgement_is_written_with_the_version_it_met() -> None:
    record = judge(UPDATE, 6, WEIGH).record("u", 6)
    assert (record.update_id, record.verdict, record.round_version) == ("u", "counted", 6)
    assert record.staleness == 1
