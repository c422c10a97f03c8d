import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("2d", 172_800.0),
        ("1.5h", 5400.0),
        ("0s", 0.0),
        (" 5 s ", 5.0),
        ("45", 45.0),
        (45, 45.0),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_read_as_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("", "s", "10 minutes", "10M", "1h30m", "-1s", "1e3s", "٣s", "nan", "inf"),
        *("9" * 400 + "d", -1, -0.5, math.nan, math.inf, 10**400, True, None, [1], {"s": 1}),
    ],
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.25, "250ms"),
        (1.0, "1s"),
        (90.0, "90s"),
        (600.0, "10m"),
        (86_400.0, "1d"),
        (1.5, "1500ms"),
        (1e-7, "0.0000001s"),
        (0.00012, "0.00012s"),
    ],
)
def test_a_duration_is_written_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_a_duration_written_and_read_is_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration(text) >= 0
