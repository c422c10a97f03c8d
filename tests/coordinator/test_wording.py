from __future__ import annotations

import pytest

from coordinator.wording import count_of, listed, moment, span


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
