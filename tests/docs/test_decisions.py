"""Each decision is listed once, in the order of the numbers."""

from __future__ import annotations

from tests.docs.pages import ROOT, links

_INDEX = ROOT / "docs" / "README.md"


def _listed() -> list[str]:
    return [link for link in links(_INDEX) if link.startswith("decisions/")]


def test_every_decision_is_listed_once_and_in_order() -> None:
    there = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [link.removeprefix("decisions/") for link in _listed()] == there


def test_no_two_decisions_have_one_number() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))


def test_each_kind_of_page_has_one_row_in_the_index() -> None:
    lines = _INDEX.read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1] for line in lines if line.startswith("| **")]
    assert len(rows) == len(set(rows))
