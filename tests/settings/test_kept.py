from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.fields import fields
from settings.kept import ALL, format_kept, parse_kept
from settings.loading import load


@pytest.mark.parametrize(
    ("value", "count"), [(0, 0), (64, 64), ("64", 64), (" 3 ", 3), ("all", ALL)]
)
def test_how_many_are_kept_is_a_number_or_all(value: object, count: int) -> None:
    assert parse_kept(value) == count


@pytest.mark.parametrize("value", ["", "some", "-1", "1.5", "ALL", -1, 1.5, True, None])
def test_what_is_neither_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        parse_kept(value)


@given(st.one_of(st.integers(min_value=0, max_value=10**9), st.just(ALL)))
def test_how_many_are_kept_written_and_read_is_the_same(count: int) -> None:
    assert parse_kept(format_kept(count)) == count


def test_all_can_be_said_in_the_file_and_in_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text('[coordinator]\nkeep_versions = "all"\n', encoding="utf-8")
    settings = load(path, {"FEDMQ_COORDINATOR_SPOOL_KEEP_ROUNDS": "all"})
    assert settings.coordinator.keep_versions == ALL
    assert settings.coordinator.spool_keep_rounds == ALL
    assert fields()["coordinator.keep_versions"].write(ALL) == "all"


def test_a_number_is_still_a_number(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text("[coordinator]\nkeep_versions = 30\n", encoding="utf-8")
    settings = load(path, {"FEDMQ_COORDINATOR_SPOOL_KEEP_ROUNDS": "7"})
    assert settings.coordinator.keep_versions == 30
    assert settings.coordinator.spool_keep_rounds == 7
