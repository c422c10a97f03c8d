"""The page of benchmarks says what was kept, and is current."""

from __future__ import annotations

from typing import Any

from benchmarks import page
from benchmarks.machine import machine

RESULT: dict[str, Any] = {
    "command": "python -m benchmarks.rounds --keep",
    "date": "2026-11-26T10:00+00:00",
    "commit": "0123456789ab",
    "machine": machine(),
    "parameters": {},
    "figures": [
        {
            "what": "N=2, 10,000 parameters",
            "workers": 2,
            "floor_ms": 2.0,
            "fedmq_ms": 6.0,
            "files": {"spool": 1.5},
        }
    ],
    "claims": [
        {"claim": "over the floor", "measured": 3.0, "sense": "at most", "bound": 2.5, "unit": " x"}
    ],
}


def test_the_page_is_current() -> None:
    found = page.results()
    assert page.PAGE.read_text() == page.page(found), "run: python -m benchmarks.page"
    drawn = {file.name: file.read_text() for file in page.CHARTS.glob("*.svg")}
    assert drawn == page.charts(found), "run: python -m benchmarks.page"


def test_the_page_has_claims_figures_and_where_they_are_from() -> None:
    made = page.page({"rounds": RESULT})
    command = "`python -m benchmarks.rounds`"
    assert f"| FAIL | over the floor | 3 x | at most 2.5 x | {command} |" in made
    assert "- **N=2, 10,000 parameters**: floor ms 2, fedmq ms 6, files (spool 1.5)" in made
    assert "commit `0123456789ab`" in made
    assert "![Rounds](charts/rounds.svg)" in made


def test_nothing_kept_is_said() -> None:
    assert "Nothing is kept yet." in page.page({})


def test_peers_of_a_size_are_drawn_together() -> None:
    size = {"clients": 2, "params": 10_000}
    figures = [{"what": who, **size, "who": who, "s": 1.0} for who in ("Flower", "fedmq")]
    figures.append({"what": "NVFlare", "clients": 5, "params": 10_000, "who": "NVFlare", "s": 2.5})
    drawn = page.charts({"beside_peers": {**RESULT, "figures": figures}})["beside_peers.svg"]
    assert drawn.count("N=2, 10,000 parameters") == 1
    assert drawn.count("N=5, 10,000 parameters") == 1


def test_peers_sums_stand_beside_ours() -> None:
    what = "K=100, 1,000,000 parameters"
    figures = [
        {"what": what, "updates": 100, "fedmq_ms": 60.0, "least_ms": 30.0},
        {"what": f"flower 1.41.0, {what}", "aggregate_ms": 400.0, "inplace_ms": 160.0},
    ]
    drawn = page.charts({"aggregation": {**RESULT, "figures": figures}})["aggregation.svg"]
    assert "flower 1.41.0" in drawn
    assert ">160<" in drawn
    assert ">400<" not in drawn, "its fastest way"
