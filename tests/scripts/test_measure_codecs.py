"""The measured table of codecs: small runs, and the page that they are written into."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.codecs.names import spec_of
from schemas.tensors import layout_of
from scripts.measure_codecs import BEGIN, CODECS, END, PAGE, Cost, cost_of, page_with, table_of


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_measured_is_a_codec(codec: str) -> None:
    assert spec_of(codec) is not None
    updates = [np.random.default_rng(n).normal(size=3000).astype("<f4").tobytes() for n in (1, 2)]
    cost = cost_of(codec, updates, layout_of({"w": np.zeros(3000, np.float32)}), numbers=4000)
    assert cost.times_smaller >= 1 - 1e-3
    assert 0 <= cost.error < 1
    assert cost.encode_ms >= 0
    assert cost.decode_ms >= 0


def test_a_packed_codec_has_the_accuracy_of_the_one_that_it_packs() -> None:
    cost = Cost(2.0, 0.1, 1.0, 0.5)
    table = table_of({"int8": cost, "int8+zstd": cost}, {"int8": [0.8, 0.9]})
    assert table.count("85.00 %") == 2


def test_what_was_measured_replaces_what_was_measured_before() -> None:
    page = f"before\n{BEGIN}old\n{END}after\n"
    assert page_with(page, "new\n") == f"before\n{BEGIN}new\n{END}after\n"
    with pytest.raises(ValueError, match="expected a page"):
        page_with("a page", "new")


def test_the_page_has_a_place_for_it_and_a_row_for_each_codec() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with(page, "") != page
    for codec in CODECS:
        assert f"| `{codec}` | " in page
