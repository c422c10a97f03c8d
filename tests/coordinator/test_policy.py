"""What a round policy allows, and no more."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.algorithm import Algorithm, Stepping
from coordinator.policy import RoundPolicy
from coordinator.weighing import Weighing
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


def test_a_policy_survives_the_store() -> None:
    rules = policy(
        late="refuse",
        dispatch="direct",
        max_norm=2.5,
        deadline_s=60,
        weighing=Weighing("log", 7, "hinge", 10.0, 6.0),
        algorithm=Algorithm("nova", stepping=Stepping("adam", 0.1)),
    )
    assert RoundPolicy.from_json(json.loads(json.dumps(rules.as_json()))) == rules


def test_what_another_release_did_not_know_has_its_default() -> None:
    stored = policy().as_json()
    del stored["dispatch"]
    assert RoundPolicy.from_json(stored | {"unheard_of": 1}) == policy()


def test_a_stored_policy_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="can never be met"):
        RoundPolicy.from_json(policy().as_json() | {"concurrency": 1})


def test_an_open_round_takes_the_timing_of_another_policy_and_keeps_the_rest() -> None:
    new = policy(
        rounds=9,
        goal=7,
        quorum=5,
        concurrency=8,
        deadline_s=1.0,
        lease_s=2.0,
        late="refuse",
        max_staleness=0,
        max_extensions=0,
        dispatch="direct",
    )
    assert policy().amended(new) == policy(
        rounds=9, quorum=2, concurrency=8, deadline_s=1.0, lease_s=2.0, max_extensions=0
    )


@given(goals=st.tuples(st.integers(1, 9), st.integers(1, 9)), spare=st.integers(0, 3))
def test_whatever_is_set_the_open_round_can_go_on(goals: tuple[int, int], spare: int) -> None:
    old, new = (policy(goal=goal, quorum=goal, concurrency=goal + spare) for goal in goals)
    amended = old.amended(new)
    assert amended.goal == old.goal
    assert amended.quorum == min(new.quorum, old.goal)


def test_what_differs_is_said_in_words() -> None:
    assert policy().differences(policy(goal=3, late="refuse")) == [
        "goal: was 2, now 3",
        "late: was weigh, now refuse",
    ]
    assert policy().differences(policy(algorithm=Algorithm(stepping=Stepping("yogi")))) == [
        "algorithm.stepping.name: was none, now yogi"
    ]
    assert policy().differences(policy()) == []
