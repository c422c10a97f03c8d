import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.size import format_size, parse_size


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("64KiB", 65_536),
        ("4MiB", 4_194_304),
        ("2GiB", 2_147_483_648),
        ("1TiB", 2**40),
        ("500MB", 500_000_000),
        ("3kB", 3000),
        ("12 B", 12),
        ("12", 12),
        (12, 12),
    ],
)
def test_a_size_is_read_as_bytes(value: object, count: int) -> None:
    assert parse_size(value) == count


@pytest.mark.parametrize("value", ["", "MiB", "4mib", "1.5MiB", "-1B", "iB", "1iB", -1, 1.5, True])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(value)


@given(st.integers(min_value=0, max_value=2**60))
def test_a_size_written_and_read_is_the_same(count: int) -> None:
    assert parse_size(format_size(count)) == count


def test_a_size_is_written_in_its_largest_whole_unit() -> None:
    assert [format_size(count) for count in (0, 1000, 2048, 2**22)] == [
        "0B",
        "1000B",
        "2KiB",
        "4MiB",
    ]
