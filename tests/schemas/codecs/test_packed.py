"""Compressed blocks: what they say of themselves is not believed."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest

from schemas.codecs.numbers import BLOCK
from schemas.codecs.packed import pack, places_of, size_bounds, table_of, unpack
from schemas.codecs.payload import numbers_of
from schemas.errors import DecodeError
from tests.schemas.codecs.coding import UPDATE_ID, decoded, encoded, layout_with, noise

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZEROS = bytes(4096)


@pytest.mark.parametrize("lane", [1, 2, 4])
def test_a_block_comes_out_as_it_went_in(lane: int) -> None:
    block = np.repeat(np.arange(256, dtype=np.uint8), 16).tobytes()
    packed = pack(block, lane)
    assert len(packed) < len(block)
    assert bytes(unpack(packed, len(block), lane)) == block


def test_what_does_not_get_smaller_stands_as_it_is() -> None:
    block = np.random.default_rng(1).bytes(1000)
    assert bytes(pack(block, 2)) == block
    assert bytes(unpack(block, 1000, 2)) == block


def test_a_block_that_would_be_larger_than_it_should_takes_no_memory() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 17}
    bomb = zstd.compress(bytes(200_000_000), options=options)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="exactly 50000 bytes"):
            unpack(bomb, 50_000, 1)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_block_that_asks_for_a_large_window_is_refused() -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    compressor = zstd.ZstdCompressor(options=options)
    greedy = compressor.compress(bytes(5000)) + compressor.flush()
    with pytest.raises(DecodeError, match="cannot be decompressed"):
        unpack(greedy, 5000, 1)


@pytest.mark.parametrize("size", [4095, 4097, 8192])
def test_a_block_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match=f"exactly {size} bytes"):
        unpack(zstd.compress(ZEROS), size, 1)


@pytest.mark.parametrize("extra", [b"x", zstd.compress(b"")])
def test_nothing_may_follow_a_block(extra: bytes) -> None:
    with pytest.raises(DecodeError, match="exactly 4096 bytes"):
        unpack(zstd.compress(ZEROS) + extra, 4096, 1)


def test_a_block_that_breaks_off_is_refused() -> None:
    with pytest.raises(DecodeError, match="exactly 4096 bytes"):
        unpack(zstd.compress(ZEROS)[:-2], 4096, 1)


def test_the_table_says_where_the_blocks_are() -> None:
    assert places_of(bytes(12) + table_of([5, 7]), [10, 10]) == [(0, 5), (5, 12)]


@pytest.mark.parametrize(
    "sizes", [[5, 6], [5, 8], [12, 0], [1, 11], [2**32 - 1, 13]], ids=lambda s: str(s)
)
def test_a_table_that_does_not_fit_is_refused(sizes: list[int]) -> None:
    with pytest.raises(DecodeError, match="do not fit"):
        places_of(bytes(12) + table_of(sizes), [10, 10])


def test_packing_costs_at_most_the_table() -> None:
    numbers = np.random.default_rng(2).integers(0, 2**32, 3 * BLOCK, np.uint32)
    floats = (numbers & 0xBFFFFFFF).view(np.float32)  # as random as bytes are, and finite
    least, most = size_bounds(4 * floats.size, 3)
    assert least < len(encoded(floats, "fp32+zstd")) <= most == 4 * floats.size + 12


def test_a_payload_whose_blocks_lie_is_refused_before_a_number_is_given() -> None:
    payload = bytearray(encoded(noise(2 * BLOCK), "int8+zstd"))
    payload[-1] ^= 1
    with pytest.raises(DecodeError, match="do not fit"):
        numbers_of(payload, "int8+zstd", layout_with(2 * BLOCK), UPDATE_ID)


def test_a_damaged_block_is_found_where_it_is() -> None:
    payload = bytearray(encoded(noise(2 * BLOCK), "int4+zstd"))
    payload[-12] ^= 0xFF
    payload[len(payload) // 2 + 2000 :][:4] = b"\x00" * 4
    try:
        came = decoded(bytes(payload), "int4+zstd", 2 * BLOCK)
    except DecodeError:
        return
    assert came.size == 2 * BLOCK
