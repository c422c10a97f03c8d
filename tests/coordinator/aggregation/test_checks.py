"""What is found in an update's data before any of it is added."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.aggregation.checks import StepNorm, inspect, l2_norm
from schemas.buffer import Buffer
from schemas.codecs.numbers import BLOCK, PlainNumbers, spans
from schemas.layout import FLOATS, Layout
from schemas.tensors import BFLOAT16, flatten, layout_of, segment_view


def layout(count: int) -> Layout:
    return layout_of({"w": np.zeros(count, np.float32)})


def payload(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def verdict(data: bytes, max_norm: float = 0.0, count: int = 3) -> str | None:
    refused = inspect(data, layout(count), max_norm)
    return None if refused is None else refused.verdict


def test_finite_numbers_pass() -> None:
    assert verdict(payload(1.0, -2.0, 0.0)) is None
    assert verdict(memoryview(payload(1e10, -1e-40, 1e-45)).tobytes()) is None


@pytest.mark.parametrize("size", [0, 1, 8, 11, 13, 16])
def test_a_payload_of_another_size_is_malformed(size: int) -> None:
    assert verdict(bytes(size)) == "malformed"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e30])
@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 4])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(bad: float, place: int) -> None:
    numbers = np.zeros(2 * BLOCK + 5, "<f4")
    numbers[place] = bad
    assert verdict(numbers.tobytes(), count=numbers.size) == "non-finite"


def test_infinities_of_both_signs_do_not_cancel() -> None:
    assert verdict(payload(np.inf, -np.inf, np.nan)) == "non-finite"


def test_what_the_check_takes_can_be_squared_and_summed() -> None:
    numbers = np.full(3 * BLOCK, 5e16, "<f4")
    assert verdict(numbers.tobytes(), count=numbers.size) is None


def test_a_norm_above_the_ceiling_is_over_norm_and_one_at_it_is_not() -> None:
    assert verdict(payload(3.0, 4.0, 0.0), max_norm=5.0) is None
    assert verdict(payload(3.0, 4.0, 0.01), max_norm=5.0) == "over-norm"
    assert verdict(payload(3.0, 4.0, 0.0), max_norm=0.0) is None


def test_a_reason_says_what_was_allowed_and_what_came() -> None:
    refused = inspect(payload(3.0, 4.0, 0.0), layout(3), 2.5)
    assert refused is not None
    assert "norm 5 is above the ceiling 2.5" in refused.reason


@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=50))
def test_the_norm_is_that_of_numpy(numbers: list[float]) -> None:
    expected = float(np.linalg.norm(np.array(numbers, np.float64)))
    norm = l2_norm(PlainNumbers(payload(*numbers)))
    assert norm == pytest.approx(expected, rel=1e-5, abs=1e-18)


def test_the_norm_of_many_blocks_is_as_exact_as_of_one() -> None:
    numbers = np.full(5 * BLOCK + 17, 0.1, np.float32)
    expected = float(np.linalg.norm(numbers.astype(np.float64)))
    assert l2_norm(PlainNumbers(numbers.tobytes())) == pytest.approx(expected, rel=1e-5)


WITH_INTEGERS = layout_of(
    {"w": np.zeros(1, np.float32), "seen": np.zeros(3, np.bool_), "n": np.zeros((), np.int64)},
    {"seen": "max", "n": "max"},
)


def test_a_bool_of_an_update_is_0_or_1() -> None:
    good = payload(1.0) + np.array(7, "<i8").tobytes() + b"\x00\x01\x01"
    assert inspect(good, WITH_INTEGERS, 0.0) is None
    refused = inspect(good[:-1] + b"\x02", WITH_INTEGERS, 0.0)
    assert refused is not None
    assert refused.verdict == "malformed"
    assert "seen" in refused.reason


def step_norm(base: Buffer, model: Buffer, layout: Layout) -> float:
    """Of all floats, in small blocks."""
    found = StepNorm()
    for segment in layout.segments:
        if segment.dtype in FLOATS:
            before, after = segment_view(base, segment), segment_view(model, segment)
            for start, stop in spans(segment.count, 1000):
                found.add(before[start:stop], after[start:stop])
    return found.norm


def test_the_norm_of_a_step_is_over_all_floats_of_both_models() -> None:
    rng = np.random.default_rng(5)
    size = BLOCK + 7
    base: dict[str, Any] = {
        "w": rng.normal(size=size).astype(np.float32),
        "half": rng.normal(size=3).astype(np.float16),
        "brain": np.array([0x3F80, 0x4000], "<u2").view(BFLOAT16),  # 1 and 2
        "steps": np.array([3]),
    }
    model: dict[str, Any] = {
        "w": base["w"] + rng.normal(size=size).astype(np.float32),
        "half": base["half"] + np.float16(0.5),
        "brain": np.array([0x4000, 0x4000], "<u2").view(BFLOAT16),
        "steps": np.array([30_000]),
    }
    its_layout = layout_of(base)
    change = model["w"].astype(float) - base["w"]
    halves = model["half"].astype(float) - base["half"]
    expected = np.sqrt((change**2).sum() + (halves**2).sum() + 1.0)
    found = step_norm(flatten(base, its_layout), flatten(model, its_layout), its_layout)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_norm_of_a_step_to_a_model_that_is_not_finite_is_not_finite(bad: float) -> None:
    its_layout = layout(3)
    assert not np.isfinite(step_norm(bytes(12), payload(0.0, bad, 0.0), its_layout))


def test_a_model_is_no_step_away_from_itself() -> None:
    assert step_norm(payload(1.0, 2.0, 3.0), payload(1.0, 2.0, 3.0), layout(3)) == 0.0
