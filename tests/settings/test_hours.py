import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.hours import Hours, parse_hours

minutes = st.integers(min_value=0, max_value=1439)
spans = st.tuples(minutes, minutes).filter(lambda pair: pair[0] != pair[1]).map(lambda p: Hours(*p))


def test_hours_are_read_as_minutes_of_the_day() -> None:
    assert parse_hours("22:00-06:30") == Hours(22 * 60, 6 * 60 + 30)


def test_no_hours_are_any_time() -> None:
    assert parse_hours("") is None


@pytest.mark.parametrize(
    "text", ["22-06", "24:00-06:00", "22:60-06:00", "9:00-10:00", "22:00-06:00\n", "08:00-08:00"]
)
def test_what_are_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="span"):
        parse_hours(text)


def test_hours_may_go_past_midnight() -> None:
    night = Hours(22 * 60, 6 * 60)
    assert night.includes(23 * 60)
    assert night.includes(0)
    assert not night.includes(6 * 60)
    assert not night.includes(12 * 60)


@given(spans, minutes)
def test_a_minute_is_in_a_span_or_in_what_is_left_of_the_day(span: Hours, minute: int) -> None:
    assert span.includes(minute) != Hours(span.end_min, span.start_min).includes(minute)


@given(spans, minutes)
def test_who_waits_until_the_span_opens_is_in_it(span: Hours, minute: int) -> None:
    wait_min = span.minutes_until_open(minute)
    assert span.includes((minute + wait_min) % 1440)
    assert all(not span.includes((minute + early) % 1440) for early in range(wait_min))
