"""Payloads to numbers: sizes from the local layout, blocks in order, no copy of what is plain."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.codecs.names import FP32
from schemas.codecs.numbers import BLOCK
from schemas.codecs.payload import numbers_of, size_fault
from schemas.errors import DecodeError
from schemas.layout import Layout
from schemas.tensors import Array, layout_of


def layout(count: int) -> Layout:
    arrays: dict[str, Array] = {"w": np.zeros(count, np.float32), "seen": np.zeros(3, np.int64)}
    return layout_of(arrays, {"seen": "max"})


def test_blocks_are_all_numbers_in_order_and_views_of_the_payload() -> None:
    count = 2 * BLOCK + 5
    floats = np.arange(count, dtype="<f4")
    payload = floats.tobytes() + bytes(24)
    numbers = numbers_of(payload, FP32, layout(count), "")
    assert numbers.size == count
    blocks = list(numbers.blocks())
    assert [start for start, _ in blocks] == [0, BLOCK, 2 * BLOCK]
    assert np.array_equal(np.concatenate([block for _, block in blocks]), floats)
    assert all(np.shares_memory(block, np.frombuffer(payload, "u1")) for _, block in blocks)


def test_any_stretch_of_the_numbers_can_be_read() -> None:
    numbers = numbers_of(np.arange(10, dtype="<f4").tobytes() + bytes(24), FP32, layout(10), "")
    assert numbers.read(3, 6).tolist() == [3, 4, 5]


@pytest.mark.parametrize("size", [0, 39, 40, 63, 65, 128])
def test_a_payload_of_another_size_is_refused(size: int) -> None:
    assert size_fault(size, FP32, layout(10)) == f"expected 64 bytes of fp32, came {size}"
    with pytest.raises(DecodeError, match="expected 64 bytes"):
        numbers_of(bytes(size), FP32, layout(10), "")


def test_a_codec_that_is_not_known_is_refused() -> None:
    with pytest.raises(DecodeError, match="'fp31'"):
        numbers_of(bytes(64), "fp31", layout(10), "")
