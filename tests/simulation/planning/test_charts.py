from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from simulation.planning.charts import bar_blocks, blocks, curve_blocks, curve_of, svg_of
from simulation.planning.report import Bar
from simulation.planning.tally import Measured
from tests.simulation.planning.test_experiment import synthetic

CURVE = [Measured(0.0, 0, 0, {"accuracy": 0.1}), Measured(50.0, 5, 50, {"accuracy": 1.0})]
REPORT = replace(synthetic(100.0), curve=CURVE)


def test_a_line_of_blocks_is_as_high_as_its_values() -> None:
    assert blocks([0, 1, 4, 8], 8) == " ▁▄█"
    assert blocks([0, 0], 0) == "  "


def test_what_is_there_at_all_is_seen() -> None:
    assert blocks([1, 1000], 1000) == "▁█"
    assert bar_blocks([Bar(0, 1, 1), Bar(1, 2, 0), Bar(2, 3, 500)]) == "▁ █"
    assert bar_blocks([]) == ""


def test_a_curve_keeps_its_last_value_until_the_end_of_its_run() -> None:
    assert curve_blocks(REPORT, 100.0, 4) == "▁███"
    assert curve_blocks(REPORT, 200.0, 8) == "▁███"
    assert curve_blocks(replace(REPORT, curve=[]), 100.0, 4) == ""


def test_the_plots_are_one_svg_with_every_policy_in_it() -> None:
    root = ElementTree.fromstring(svg_of({"a & b": REPORT, "other": replace(REPORT, curve=[])}))
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    assert {"a & b", "other", "counted"} <= set(texts)
    assert any(text.startswith("accuracy over time") for text in texts)


def test_plots_of_nothing_can_be_drawn() -> None:
    empty = replace(synthetic(1e-3), by_participation=[])
    svg = svg_of({"empty": empty})
    ElementTree.fromstring(svg)
    assert "nothing was evaluated" in svg


def test_the_curve_is_that_of_the_evaluations() -> None:
    assert curve_of(REPORT) == [(0.0, 0.1), (50.0, 1.0)]
    assert curve_of(replace(REPORT, curve=[Measured(0.0, 0, 0, {"loss": 2.0})])) == []
