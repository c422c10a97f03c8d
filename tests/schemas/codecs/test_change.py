"""A change that is made block by block is the one that is made at once."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codecs import change
from schemas.codecs.change import Change
from schemas.codecs.payload import encode_numbers, encode_update
from schemas.layout import FLOATS
from schemas.tensors import Array, dtype_name, flatten, layout_of, update_between
from tests.schemas.codecs.coding import CODECS, UPDATE_ID
from tests.schemas.strategies import parameter_sets


def changed(array: Array, seed: int) -> Array:
    """Other numbers of the same dtype and shape, some of them not finite."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 2 if array.dtype == np.bool_ else 256, array.nbytes, np.uint8)
    return np.frombuffer(data.tobytes(), array.dtype).reshape(array.shape)


@pytest.mark.parametrize("block", [1, 5, 10**6])
@given(before=parameter_sets(), seed=st.integers(0, 2**32 - 1))
def test_it_is_what_is_left_of_both(block: int, before: dict[str, Array], seed: int) -> None:
    after = {name: changed(array, seed) for name, array in before.items()}
    rules: Any = {name: "max" for name in before if dtype_name(before[name]) not in FLOATS}
    layout = layout_of(before, rules)
    received = flatten(before, layout)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(change, "BLOCK", block)
        found = Change(received, after, layout)
        blocks = [(start, numbers.copy()) for start, numbers in found.blocks()]
        assert [start for start, _ in blocks] == list(range(0, layout.num_floats, block))
        whole = b"".join(numbers.tobytes() for _, numbers in blocks) + b"".join(found.maxed())
        expected = update_between(received, flatten(after, layout), layout)
        assert whole == found.payload() == expected
        middle = layout.num_floats // 2
        for start, stop in ((0, middle), (middle, layout.num_floats), (0, layout.num_floats)):
            assert found.read(start, stop).tobytes() == expected[4 * start : 4 * stop]


@pytest.mark.parametrize("codec", CODECS)
def test_it_is_encoded_as_its_payload_is(codec: str) -> None:
    rng = np.random.default_rng(3)
    before: dict[str, Array] = {
        "w": rng.normal(size=70_000).astype(np.float32),
        "x": rng.normal(size=(7, 11)).astype(np.float16),
        "n": np.arange(5),
    }
    after = {name: array + array for name, array in before.items()}
    layout = layout_of(before, {"n": "max"})
    found = Change(flatten(before, layout), after, layout)
    chunks = [bytes(chunk) for chunk in encode_numbers(found, codec, UPDATE_ID)]
    expected = encode_update(found.payload(), codec, layout, UPDATE_ID)
    assert b"".join([*chunks, *found.maxed()]) == b"".join(expected)


def test_arrays_of_another_byte_order_or_lying_across_are_the_same() -> None:
    before: dict[str, Array] = {"w": np.zeros((3, 4), np.float32), "n": np.zeros(3, np.int64)}
    layout = layout_of(before, {"n": "max"})
    plain = np.arange(12, dtype="<f4").reshape(3, 4)
    after: dict[str, Array] = {
        "w": np.asfortranarray(plain.astype(">f4")),
        "n": np.array([1, 2, 3], ">i8"),
    }
    payload = Change(flatten(before, layout), after, layout).payload()
    assert payload == plain.tobytes() + np.array([1, 2, 3], "<i8").tobytes()


def test_nothing_as_large_as_the_model_is_made() -> None:
    before: dict[str, Array] = {"w": np.zeros(4_000_000, np.float32)}
    layout = layout_of(before)
    received = bytes(layout.num_bytes)
    tracemalloc.start()
    for _ in encode_numbers(Change(received, before, layout), "fp32", UPDATE_ID):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
