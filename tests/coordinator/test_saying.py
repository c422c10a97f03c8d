from __future__ import annotations

import pytest

from coordinator.saying import EVERY_S, Sayings


def test_the_first_of_a_topic_is_said_at_once() -> None:
    sayings = Sayings()
    assert sayings.add("refused", "one", 100.0) == "one"
    assert sayings.add("declined", "other", 100.0) == "other"


def test_a_flood_is_one_line_in_ten_seconds_with_a_count() -> None:
    sayings = Sayings()
    said = [sayings.add("refused", f"no. {n}", 100.0 + n / 100) for n in range(2001)]
    lines = [line for line in said if line is not None]
    assert lines == [
        "no. 0",
        "no. 1000 (and 999 like it in the 10 s before)",
        "no. 2000 (and 999 like it in the 10 s before)",
    ]


def test_what_was_kept_back_is_said_though_nothing_more_comes() -> None:
    sayings = Sayings()
    for text in ("a", "b", "c"):
        sayings.add("refused", text, 100.0)
    assert sayings.overdue(100.0 + EVERY_S - 0.1) == []
    assert sayings.overdue(100.0 + EVERY_S) == ["c (and 1 like it in the 10 s before)"]
    assert sayings.overdue(100.0 + 3 * EVERY_S) == []


def test_single_ones_far_apart_are_said_as_they_are() -> None:
    sayings = Sayings()
    assert [sayings.add("refused", "x", at) for at in (0.0, 11.0, 22.0)] == ["x", "x", "x"]


@pytest.mark.parametrize("back", [1.0, 1e9])
def test_a_clock_that_went_back_silences_nothing_for_long(back: float) -> None:
    sayings = Sayings()
    sayings.add("refused", "x", 1e9)
    assert sayings.add("refused", "y", 1e9 - back) == "y"
