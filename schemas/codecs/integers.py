"""Codecs of small integers: int8 and int4, rounded up or down by chance.

    scale = largest magnitude of a group / most
    q = floor(x / scale + u),  u uniform in [0, 1)

So the mean of q · scale is x, and what is lost in one update is not lost in the mean of many
(Alistarh et al. 2017, QSGD, with the largest magnitude in place of the norm).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.buffer import Buffer
from schemas.chance import Chance
from schemas.codecs.block import (
    SCALE_BYTES,
    group_count,
    inverse,
    largest_of_groups,
    scaled_groups,
)
from schemas.tensors import Floats

Scaled = tuple[NDArray[np.float32], NDArray[np.int8]]


class Int8:
    """From -127 to 127."""

    lane = 1

    def size(self, count: int) -> int:
        """See `BlockCodec.size`."""
        return SCALE_BYTES * group_count(count) + count

    def encode(self, floats: Floats, chance: Chance) -> Buffer:
        """See `BlockCodec.encode`."""
        scales, rounded = _rounded(floats, 127, chance)
        return scales.tobytes() + rounded.tobytes()

    @np.errstate(over="ignore", invalid="ignore")
    def decode(self, data: Buffer, out: Floats, chance: Chance) -> None:
        """See `BlockCodec.decode`."""
        groups = group_count(out.size)
        out[...] = np.frombuffer(data, "i1", offset=SCALE_BYTES * groups)
        scaled_groups(out, np.frombuffer(data, "<f4", groups), out)


class Int4:
    """From -7 to 7, two in a byte: the first half of a block below, the second half above."""

    lane = 1

    def size(self, count: int) -> int:
        """See `BlockCodec.size`."""
        return SCALE_BYTES * group_count(count) + _half(count)

    def encode(self, floats: Floats, chance: Chance) -> Buffer:
        """See `BlockCodec.encode`."""
        scales, rounded = _rounded(floats, 7, chance)
        nibbles = (rounded + 8).view(np.uint8)
        half = _half(floats.size)
        packed = nibbles[:half].copy()
        packed[: floats.size - half] |= nibbles[half:] << 4
        return scales.tobytes() + packed.tobytes()

    @np.errstate(over="ignore", invalid="ignore")
    def decode(self, data: Buffer, out: Floats, chance: Chance) -> None:
        """See `BlockCodec.decode`."""
        groups, half = group_count(out.size), _half(out.size)
        packed = np.frombuffer(data, "u1", offset=SCALE_BYTES * groups)
        out[:half] = packed & 15
        out[half:] = packed[: out.size - half] >> 4
        out -= 8
        scaled_groups(out, np.frombuffer(data, "<f4", groups), out)


def _half(count: int) -> int:
    return (count + 1) // 2


def _rounded(floats: Floats, most: int, chance: Chance) -> Scaled:
    """The scales, and the numbers over them, rounded up or down by chance to -most … most."""
    scales = (largest_of_groups(floats) / np.float32(most)).astype("<f4")
    scaled = np.empty_like(floats)
    scaled_groups(floats, inverse(scales), scaled)
    scaled += chance.units(floats.size)
    np.floor(scaled, out=scaled)
    np.clip(scaled, -most, most, out=scaled)  # a quotient may be a little above most
    return scales, scaled.astype(np.int8)
