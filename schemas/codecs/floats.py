"""Codecs that keep floats: float32 as it is (to be compressed), float16, and bfloat16."""

from __future__ import annotations

import numpy as np

from schemas.buffer import Buffer
from schemas.chance import Chance
from schemas.codecs.block import (
    SCALE_BYTES,
    group_count,
    inverse,
    largest_of_groups,
    scaled_groups,
)
from schemas.tensors import BFLOAT16, Floats, as_float32, to_bfloat16


class Fp32:
    """The numbers as they are."""

    lane = 4

    def size(self, count: int) -> int:
        """See `BlockCodec.size`."""
        return 4 * count

    def encode(self, floats: Floats, chance: Chance) -> Buffer:
        """See `BlockCodec.encode`."""
        return floats.astype("<f4", copy=False).tobytes()

    def decode(self, data: Buffer, out: Floats, chance: Chance) -> None:
        """See `BlockCodec.decode`."""
        out[...] = np.frombuffer(data, "<f4")


class Bf16:
    """The upper half of a float32: its range, and 8 bits of precision."""

    lane = 2

    def size(self, count: int) -> int:
        """See `BlockCodec.size`."""
        return 2 * count

    def encode(self, floats: Floats, chance: Chance) -> Buffer:
        """See `BlockCodec.encode`."""
        return to_bfloat16(floats).tobytes()

    def decode(self, data: Buffer, out: Floats, chance: Chance) -> None:
        """See `BlockCodec.decode`."""
        out[...] = as_float32(np.frombuffer(data, BFLOAT16))


class Fp16:
    """float16 of 11 bits of precision, in groups with a scale.

    float16 has a small range: a step of 10^-8, late in a training, would be 0, and one of 10^5
    infinite. So the scale, a power of two, brings the largest of a group just below 2.
    """

    lane = 2

    def size(self, count: int) -> int:
        """See `BlockCodec.size`."""
        return SCALE_BYTES * group_count(count) + 2 * count

    def encode(self, floats: Floats, chance: Chance) -> Buffer:
        """See `BlockCodec.encode`."""
        _, exponents = np.frexp(largest_of_groups(floats))
        # The smallest that has an inverse; numbers below it are next to nothing anyway.
        scales = np.ldexp(np.float32(1), np.maximum(exponents - 1, -126)).astype("<f4")
        scaled = np.empty_like(floats)
        scaled_groups(floats, inverse(scales), scaled)
        return bytes(scales.tobytes() + scaled.astype("<f2").tobytes())

    @np.errstate(over="ignore", invalid="ignore")
    def decode(self, data: Buffer, out: Floats, chance: Chance) -> None:
        """See `BlockCodec.decode`."""
        groups = group_count(out.size)
        out[...] = np.frombuffer(data, "<f2", offset=SCALE_BYTES * groups)
        scaled_groups(out, np.frombuffer(data, "<f4", groups), out)
