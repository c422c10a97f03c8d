"""What a round policy allows, and what an update weighs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.coordinator.bench import policy


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quorum": 0}, "quorum"),
        ({"quorum": 3, "goal": 2}, "quorum"),
        ({"goal": 0, "quorum": 0}, "quorum"),
        ({"goal": 4, "concurrency": 3}, "can never be met: only 3 tasks"),
        ({"deadline_s": 0.0}, "deadline"),
        ({"deadline_s": -1.0}, "deadline"),
        ({"deadline_s": math.nan}, "deadline"),
        ({"lease_s": 0.0}, "lease"),
        ({"lease_s": math.nan}, "lease"),
    ],
)
def test_a_policy_under_which_no_round_could_go_on_is_refused(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        policy(**changes)


def test_goal_quorum_and_concurrency_may_all_be_one() -> None:
    assert policy(goal=1, quorum=1, concurrency=1).goal == 1


@given(st.integers(1, 2**53), st.integers(0, 1000))
def test_an_update_weighs_its_examples_less_the_staler_it_is(examples: int, stale: int) -> None:
    rules = policy()
    assert rules.weight(examples, 0) == examples
    assert 0 < rules.weight(examples, stale + 1) < rules.weight(examples, stale)


def test_staleness_weighs_as_in_fedbuff() -> None:
    assert policy().weight(100, 3) == pytest.approx(50.0)


def test_no_update_weighs_more_than_the_cap() -> None:
    assert policy(max_examples=50).weight(1000, 0) == 50.0
    assert policy(max_examples=50).weight(20, 0) == 20.0
    assert policy(max_examples=0).weight(1000, 0) == 1000.0
