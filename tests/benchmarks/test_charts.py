"""Bars have the lengths of what they show, on a scale of powers of ten."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from benchmarks.charts import bars


def lengths(drawn: str) -> list[float]:
    """Of the bars, without the page's ground and the legend."""
    found = re.findall(r'<rect x="190" y="\d+" width="([\d.]+)" height="14"', drawn)
    return [float(length) for length in found]


def test_a_tenth_more_is_as_long_everywhere() -> None:
    drawn = bars("rounds", "ms", {"N=2": {"floor": 1.0, "fedmq": 10.0}, "N=5": {"floor": 100.0}})
    one, ten, hundred = lengths(drawn)
    assert one <= 1.0
    assert ten == pytest.approx(hundred / 2)


def test_a_chart_is_an_svg_whatever_its_names_are() -> None:
    drawn = bars("a < b & c", "ms", {"<N>": {'"peer"': 0.004}})
    assert ElementTree.fromstring(drawn).tag.endswith("svg")


@pytest.mark.parametrize("groups", [{}, {"N=2": {}}, {"N=2": {"floor": 0.0}}])
def test_what_cannot_be_drawn_is_said(groups: dict[str, dict[str, float]]) -> None:
    with pytest.raises(ValueError, match="expected values above 0"):
        bars("rounds", "ms", groups)
