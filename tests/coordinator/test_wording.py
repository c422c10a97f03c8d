from __future__ import annotations

import pytest

from coordinator.algorithm import Algorithm, Stepping
from coordinator.wording import count_of, listed, moment, policy_in_words, span
from tests.coordinator.bench import policy


def test_a_time_is_written_in_utc() -> None:
    assert moment(0.0) == "1970-01-01 00:00:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (600, "10 min"), (36_000, "10.0 h"), (259_200, "3.0 days")],
)
def test_how_long_is_written_roughly(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_one_is_no_plural() -> None:
    assert [count_of(number, "part") for number in (0, 1, 2)] == ["0 parts", "1 part", "2 parts"]


def test_counts_are_listed_or_there_are_none() -> None:
    assert listed({"counted": 3, "late": 1}) == "3 counted, 1 late"
    assert listed({}) == "none"


def test_a_policy_is_said_as_far_as_it_decides_what_a_version_is_made_of() -> None:
    assert policy_in_words(policy().as_json()) == (
        "goal 2, quorum 1, late updates weighed up to 2 versions behind, dispatch pool"
    )
    other = policy(
        late="refuse",
        dispatch="direct",
        algorithm=Algorithm("median", stepping=Stepping("adam")),
    )
    assert policy_in_words(other.as_json()) == (
        "goal 2, quorum 1, late updates refused, dispatch direct, rule median, optimizer adam"
    )
