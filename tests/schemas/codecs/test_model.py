"""Models as they travel: any stretch without the rest, and back to arrays of the same kinds."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codecs.model import ModelOnWire, decode_model, wire_bytes
from schemas.codecs.names import MODEL_CODECS
from schemas.codecs.numbers import BLOCK
from schemas.errors import DecodeError
from schemas.tensors import BFLOAT16, Array, flatten, layout_of, unflatten
from tests.schemas.codecs.coding import noise

ARRAYS: dict[str, Array] = {
    "w": noise(BLOCK + 3000),
    "b": np.array([0.0, 1.0, -2.5], np.float32),
    "double": noise(2000, 2).astype(np.float64),
    "half": noise(7, 3).astype(np.float16),
    "brain": np.array([0x3F80, 0x4000], "<u2").view(BFLOAT16),
    "steps": np.array([2**40, -3]),
    "mask": np.array([True, False, True]),
}
LAYOUT = layout_of(ARRAYS)
MODEL = bytes(flatten(ARRAYS, LAYOUT))
WITHIN = {"fp32": 0.0, "fp16": 2.0**-11, "bf16": 2.0**-8}


def travelled(codec: str) -> bytes:
    return b"".join(ModelOnWire(MODEL, LAYOUT, codec).chunks())


@pytest.mark.parametrize("codec", MODEL_CODECS)
def test_a_model_arrives_as_near_as_its_codec_comes(codec: str) -> None:
    data = travelled(codec)
    assert len(data) == wire_bytes(LAYOUT, codec) == ModelOnWire(MODEL, LAYOUT, codec).num_bytes
    came = unflatten(bytearray(decode_model(data, LAYOUT, codec)), LAYOUT)
    for name, sent in ARRAYS.items():
        if name in ("w", "b", "double"):
            apart = np.abs(came[name] - sent.astype(np.float64))
            assert (apart <= WITHIN[codec] * np.abs(sent) + 2e-7).all(), name
        else:
            assert came[name].tobytes() == sent.tobytes(), name
        assert came[name].dtype == sent.dtype


def test_large_models_are_halved() -> None:
    assert wire_bytes(LAYOUT, "fp32") == LAYOUT.num_bytes
    for codec in ("fp16", "bf16"):
        assert wire_bytes(LAYOUT, codec) < 0.505 * LAYOUT.num_bytes


@pytest.mark.parametrize("codec", MODEL_CODECS)
@given(data=st.data())
def test_any_stretch_can_be_had_without_the_rest(codec: str, data: st.DataObject) -> None:
    whole, on_wire = travelled(codec), ModelOnWire(MODEL, LAYOUT, codec)
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    assert bytes(on_wire.read(start, stop)) == whole[start:stop]


@pytest.mark.parametrize("codec", MODEL_CODECS)
def test_what_travels_takes_a_few_blocks_of_memory(codec: str) -> None:
    numbers = np.ones(40 * BLOCK, np.float32)
    on_wire = ModelOnWire(numbers.data, layout_of({"w": numbers}), codec)
    tracemalloc.start()
    try:
        for _ in on_wire.chunks():
            pass
        on_wire.read(5 * BLOCK, 6 * BLOCK)
        assert tracemalloc.get_traced_memory()[1] < 10 * 4 * BLOCK
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", ["fp16", "bf16"])
@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e300, 1e-45, 0.0])
def test_finite_numbers_stay_finite(codec: str, value: float) -> None:
    arrays: dict[str, Any] = {"w": np.full(3, value)}
    layout = layout_of(arrays)
    model = flatten(arrays, layout)
    data = b"".join(ModelOnWire(model, layout, codec).chunks())
    assert np.isfinite(np.frombuffer(decode_model(data, layout, codec))).all()


@pytest.mark.parametrize("codec", MODEL_CODECS)
@pytest.mark.parametrize("more", [-1, 1])
def test_a_model_of_another_size_is_refused(codec: str, more: int) -> None:
    data = bytes(wire_bytes(LAYOUT, codec) + more)
    with pytest.raises(DecodeError, match=f"bytes of {codec}, came {len(data)}"):
        decode_model(data, LAYOUT, codec)


@pytest.mark.parametrize("codec", ["int8", "bf16+zstd", ""])
def test_a_model_travels_in_nothing_smaller(codec: str) -> None:
    with pytest.raises(DecodeError, match="expected a model in one of fp32, fp16, bf16"):
        ModelOnWire(MODEL, LAYOUT, codec)
    with pytest.raises(DecodeError):
        decode_model(MODEL, LAYOUT, codec)
