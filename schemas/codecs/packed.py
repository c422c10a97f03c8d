"""Blocks that were compressed, one by one, with zstd.

    bytes of block 0 | bytes of block 1 | …        then a table: the size of each, 4 bytes

A block that compression makes no smaller stands as it is, so a payload is at most the table larger
than without. Nothing is believed of what a block says of itself: it decompresses to the size that
the layout gives, or it is no block.
"""

from __future__ import annotations

import sys

import numpy as np

from schemas.buffer import Buffer
from schemas.errors import DecodeError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 3
ENTRY_BYTES = 4

_WINDOW_LOG = 18
"""A block has at most 2**18 bytes: whoever says that it needs a larger window is not believed."""


def size_bounds(sizes_sum: int, blocks: int) -> tuple[int, int]:
    """The fewest and the most bytes that so many packed blocks can have.

    Args:
        sizes_sum: What they have together before they are packed.
        blocks: How many they are.
    """
    return (ENTRY_BYTES + 1) * blocks, ENTRY_BYTES * blocks + sizes_sum


def pack(block: Buffer, lane: int) -> Buffer:
    """A block, compressed if that makes it smaller."""
    packed = zstd.compress(_in_lanes(block, lane), LEVEL)
    return packed if len(packed) < len(block) else block


def unpack(packed: Buffer, size: int, lane: int) -> Buffer:
    """The block that was packed.

    Args:
        packed: What `pack` gave.
        size: How many bytes the block has.
        lane: Bytes of the words it is made of.

    Raises:
        DecodeError: If these bytes are no packed block of that size.
    """
    if len(packed) == size:
        return packed
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    decompressor = zstd.ZstdDecompressor(options=options)
    try:
        block = decompressor.decompress(packed, max_length=size)
    except zstd.ZstdError as error:
        raise DecodeError(f"a block cannot be decompressed: {error}") from error
    if len(block) != size or not decompressor.eof or decompressor.unused_data:
        raise DecodeError(f"a block does not decompress to exactly {size} bytes")
    return _out_of_lanes(block, lane)


def table_of(sizes: list[int]) -> bytes:
    """The table of so large packed blocks."""
    return np.array(sizes, "<u4").tobytes()


def places_of(packed: Buffer, sizes: list[int]) -> list[tuple[int, int]]:
    """Where each packed block begins and ends.

    Args:
        packed: All of them, and their table.
        sizes: What each has before it is packed.

    Raises:
        DecodeError: If the table does not fit the blocks.
    """
    view = memoryview(packed)
    end = view.nbytes - ENTRY_BYTES * len(sizes)
    table = np.frombuffer(view[end:], "<u4").astype(np.int64)
    ends = np.cumsum(table)
    if ends[-1] != end or np.any(table < 1) or np.any(table > np.array(sizes)):
        raise DecodeError("the sizes of its blocks do not fit it")
    return list(zip((ends - table).tolist(), ends.tolist(), strict=True))


def _in_lanes(block: Buffer, lane: int) -> Buffer:
    """The first bytes of all words, then the second ones, and so on."""
    if lane == 1:
        return block
    words = np.frombuffer(block, f"<u{lane}")
    return b"".join((words >> (8 * place)).astype("u1").tobytes() for place in range(lane))


def _out_of_lanes(block: Buffer, lane: int) -> Buffer:
    if lane == 1:
        return block
    lanes = np.frombuffer(block, "u1").reshape(lane, -1)
    words = lanes[0].astype(f"<u{lane}")
    for place in range(1, lane):
        words |= lanes[place].astype(words.dtype) << (8 * place)
    return bytes(words.tobytes())  # no copy, but a type
