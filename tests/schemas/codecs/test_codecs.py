"""What every codec keeps to: sizes, blocks, any bytes, any numbers, and the same every time."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codecs.names import spec_of
from schemas.codecs.numbers import BLOCK
from schemas.codecs.payload import encode_update, numbers_of, size_bounds, size_fault
from schemas.errors import DecodeError
from schemas.tensors import Array, layout_of, update_maxed
from tests.schemas.codecs.coding import (
    CODECS,
    UPDATE_ID,
    decoded,
    distance,
    encoded,
    layout_with,
    noise,
    through,
)

COUNTS = (1, 2, 3, 5, 17, 1000, 1023, 1024, 1025, 1536, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 1030)

ERROR = {
    "fp32": 0.0,
    "fp16": 0.0003,
    "bf16": 0.002,
    "int8": 0.02,
    "int4": 0.36,
    "int2": 0.38,
    "topk:0.1": 0.7,
    "topk:0.001": 1.0,
}
"""Of numbers with tails like an update's, what is lost at most, in parts of the norm."""

FINITE = st.floats(-(2.0**63), 2.0**63, width=32)  # larger ones have no norm in float32


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", COUNTS)
def test_what_arrives_has_the_size_that_the_layout_gives(codec: str, count: int) -> None:
    payload = encoded(noise(count), codec)
    least, most = size_bounds(codec, layout_with(count))
    assert least <= len(payload) <= most
    assert size_fault(len(payload), codec, layout_with(count)) == ""
    assert decoded(payload, codec, count).shape == (count,)


@pytest.mark.parametrize("codec", CODECS)
def test_what_arrives_is_near_to_what_was_sent(codec: str) -> None:
    sent = noise(3 * BLOCK + 333)
    limit = ERROR[codec.removesuffix("+zstd")]
    assert distance(through(sent, codec), sent) <= limit


@pytest.mark.parametrize("codec", CODECS)
@given(st.lists(FINITE, min_size=1, max_size=40))
def test_any_finite_numbers_arrive_as_finite_ones(codec: str, numbers: list[float]) -> None:
    sent = np.array(numbers, np.float32)
    assert np.isfinite(through(sent, codec)).all()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-38, 1e-30, 1e19, -1e30, 2.0**126])
def test_numbers_at_the_ends_of_float32_do_no_harm(codec: str, value: float) -> None:
    sent = np.full(1500, value, np.float32)
    came = through(sent, codec)
    assert np.isfinite(came).all()
    if abs(value) >= 1e-30 and "topk" not in codec:
        assert distance(came, sent) < 0.4
    if value == 0:
        assert not came.any()


@pytest.mark.parametrize("codec", CODECS)
def test_one_large_number_among_zeros_arrives(codec: str) -> None:
    sent = np.zeros(5000, np.float32)
    sent[4321] = -7.5
    assert distance(through(sent, codec), sent) < 0.01


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.data(), count=st.sampled_from([1, 2, 7, 100, 1025, 2000]))
def test_any_bytes_are_numbers_or_refused(codec: str, data: st.DataObject, count: int) -> None:
    least, most = size_bounds(codec, layout_with(count))
    size = data.draw(st.sampled_from([least, most]) | st.integers(max(0, least - 2), most + 2))
    seed = data.draw(st.integers(0, 2**32 - 1))
    payload = bytearray(np.random.default_rng(seed).bytes(size))
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)))):
        if place < size:
            payload[-1 - place] = byte
    try:
        came = decoded(bytes(payload), codec, count)
    except DecodeError:
        return
    assert came.shape == (count,)


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.data())
def test_a_damaged_payload_is_numbers_or_refused(codec: str, data: st.DataObject) -> None:
    payload = bytearray(encoded(noise(2500), codec))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([0, 0, 1, 4]))
    try:
        came = decoded(bytes(payload[: len(payload) - cut]), codec, 2500)
    except DecodeError:
        return
    assert came.shape == (2500,)


@pytest.mark.parametrize("codec", CODECS)
def test_any_stretch_is_what_the_blocks_have_there(codec: str) -> None:
    count = 2 * BLOCK + 100
    payload = encoded(noise(count), codec)
    numbers = numbers_of(payload, codec, layout_with(count), UPDATE_ID)
    whole = np.concatenate([block.copy() for _, block in numbers.blocks()])
    spans = [(0, 1), (0, count), (BLOCK - 3, BLOCK + 3), (BLOCK, 2 * BLOCK), (count - 5, count)]
    for start, stop in [*spans, (77, 77)]:
        assert np.array_equal(numbers.read(start, stop), whole[start:stop])


@pytest.mark.parametrize("codec", CODECS)
def test_encoding_again_gives_the_same_bytes(codec: str) -> None:
    sent = noise(5000)
    assert encoded(sent, codec) == encoded(sent.copy(), codec)


@pytest.mark.parametrize("codec", ["int8", "int4", "int2"])
def test_another_update_is_rounded_otherwise(codec: str) -> None:
    sent = noise(5000)
    assert encoded(sent, codec, "a" * 32) != encoded(sent, codec, "b" * 32)


@pytest.mark.parametrize(("codec", "size"), [("int8", 1500), ("int4", 1500), ("int2", 1500)])
def test_the_mean_of_many_is_what_was_sent(codec: str, size: int) -> None:
    sent, rounds = noise(size), 400
    total = np.zeros(size)
    for number in range(rounds):
        total += through(sent, codec, f"{number:032x}")
    one = distance(through(sent, codec), sent)
    # Errors without a direction fall with the square root of their number.
    assert distance((total / rounds).astype(np.float32), sent) < 1.5 * one / rounds**0.5 + 1e-4


@pytest.mark.parametrize("codec", CODECS)
def test_the_arrays_to_be_maxed_follow_the_floats_raw(codec: str) -> None:
    arrays: dict[str, Array] = {"w": noise(2000), "n": np.array([5, -9], np.int64)}
    layout = layout_of(arrays, {"n": "max"})
    payload = noise(2000).tobytes() + np.array([5, -9], "<i8").tobytes()
    came = b"".join(encode_update(payload, codec, layout, UPDATE_ID))
    assert update_maxed(came, layout)["n"].tolist() == [5, -9]
    numbers = numbers_of(came, codec, layout, UPDATE_ID)
    assert np.array_equal(numbers.read(0, 2000), through(noise(2000), codec))


@pytest.mark.parametrize("name", ["", "fp33", "none", "int8+", "int8+zst", "topk", "topk:0.1x"])
@pytest.mark.parametrize("end", ["", "+zstd+zstd", "\n", " "])
def test_another_name_is_no_codec(name: str, end: str) -> None:
    assert spec_of(name + end) is None
    with pytest.raises(DecodeError, match="expected a codec"):
        size_bounds(name + end, layout_with(3))


@pytest.mark.parametrize("name", ["topk:0", "topk:0.0", "topk:0.000000", "topk:1", "topk:1.5"])
def test_a_share_is_above_none_and_below_all(name: str) -> None:
    assert spec_of(name) is None


PINNED = {
    "fp32": "3352030e79041643",
    "fp16": "3ff6ed86bc656dbf",
    "bf16": "78bbebb373733623",
    "int8": "1eafe073be89a6eb",
    "int4": "0dbaceca3adf1a65",
    "int2": "c3d1d31bc0c1219f",
    "topk:0.1": "24e392370a92596e",
}
"""The digest of what a fixed payload decodes to."""


@pytest.mark.parametrize("codec", PINNED)
def test_fixed_bytes_decode_to_fixed_numbers(codec: str) -> None:
    """On every machine, and for ever: a replay of an old run depends on it."""
    count = 2500
    size = size_bounds(codec, layout_with(count))[0]
    payload = np.tile(np.arange(61, dtype=np.uint8), 400)[:size].copy()
    if codec.startswith("topk"):
        payload[: size // 2] = np.tile(np.array([7, 0], np.uint8), size)[: size // 2]
    came = decoded(payload.tobytes(), codec, count)
    assert hashlib.sha256(came.astype("<f4").tobytes()).hexdigest()[:16] == PINNED[codec]
