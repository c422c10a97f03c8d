from __future__ import annotations

from xml.etree import ElementTree

from fedmq.chart import HEIGHT, MARGIN, WIDTH, chart, page


def test_each_evaluated_version_is_a_dot_within_the_frame() -> None:
    drawn = ElementTree.fromstring(chart([(0, 0.1), (5, 0.93), (10, 1.0)]))
    dots = drawn.findall(".//circle")
    assert len(dots) == 3
    for dot in dots:
        assert MARGIN <= float(dot.attrib["cx"]) <= WIDTH - MARGIN
        assert MARGIN <= float(dot.attrib["cy"]) <= HEIGHT - MARGIN
    heights = [float(dot.attrib["cy"]) for dot in dots]
    assert heights == sorted(heights, reverse=True)  # more accurate is higher up


def test_one_version_alone_can_be_drawn() -> None:
    assert "<circle" in chart([(0, 0.5)])


def test_a_run_without_evaluation_says_so() -> None:
    assert "No version was evaluated" in chart([])


def test_what_comes_from_outside_is_escaped() -> None:
    made = page("<run>", "a & b", [], {"<b>": 1})
    assert "<run>" not in made
    assert "&lt;b&gt;" in made
    assert "a &amp; b" in made
