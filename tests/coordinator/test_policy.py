"""What a round policy allows, and no more."""

from __future__ import annotations

import math
from typing import Any

import pytest

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
