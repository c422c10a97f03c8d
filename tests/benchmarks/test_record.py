"""A claim holds or does not, and what was found is kept as it was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.record import Claim, Record


@pytest.mark.parametrize(
    ("measured", "sense", "outcome"),
    [
        (2.5, "at most", "PASS"),
        (2.51, "at most", "FAIL"),
        (2.5, "at least", "PASS"),
        (2.49, "at least", "FAIL"),
        (None, "at most", "SKIPPED"),
    ],
)
def test_a_claim_holds_up_to_its_bound(measured: float | None, sense: str, outcome: str) -> None:
    assert Claim("something", measured, sense, 2.5).outcome == outcome


def test_a_claim_that_cannot_be_measured_says_why() -> None:
    claim = Claim("faster than Flower", None, "at least", 500, " times", "it is not installed")
    assert str(claim) == "SKIPPED faster than Flower: it is not installed (at least 500 times)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (2.0, "2"), (99.94, "99.9"), (1234, "1,234")],
)
def test_a_number_has_three_digits_that_say_something(value: float, shown: str) -> None:
    assert record.number(value) == shown


def test_what_was_found_is_kept_with_machine_and_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path / "benchmarks" / "results")
    (tmp_path / "benchmarks").mkdir()
    made = Record("rounds", {"rounds": 3})
    made.figure("N=2", floor_ms=2.0)
    made.at_most("a round over the floor", 1.5, 2.5, " times")
    made.skip("faster than Flower", "at least", 500, "it is not installed")
    made.end(keep=True)
    kept = json.loads((tmp_path / "benchmarks" / "results" / "rounds.json").read_text())
    assert kept["parameters"] == {"rounds": 3}
    assert kept["figures"] == [{"what": "N=2", "floor_ms": 2.0}]
    assert [claim["outcome"] for claim in kept["claims"]] == ["PASS", "SKIPPED"]
    assert kept["machine"]["cores"] > 0
    assert kept["commit"]


def test_what_is_not_to_be_kept_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    Record("rounds", {}).end(keep=False)
    assert list(tmp_path.iterdir()) == []
