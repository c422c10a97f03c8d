"""Only the largest numbers of a block: where they are, and what they are.

What is left out is not lost if the sender adds it to its next update (Stich et al. 2018).
"""

from __future__ import annotations

import math

import numpy as np

from schemas.buffer import Buffer
from schemas.chance import Chance
from schemas.errors import DecodeError
from schemas.tensors import BFLOAT16, Floats, as_float32, to_bfloat16


class TopK:
    """The share of each block that is largest in magnitude, as bfloat16.

    By block and not by model, so that no part of it is left out for long, and so that one block is
    in memory at a time. Their places are written as how many numbers lie between them.

    Args:
        share: Above 0, below 1; of a block at least one number is sent.
    """

    lane = 2

    def __init__(self, share: float) -> None:
        self._share = share

    def _kept(self, count: int) -> int:
        return min(count, math.ceil(self._share * count))

    def size(self, count: int) -> int:
        """See `BlockCodec.size`."""
        return 4 * self._kept(count)

    def encode(self, floats: Floats, chance: Chance) -> Buffer:
        """See `BlockCodec.encode`."""
        kept = self._kept(floats.size)
        places = np.sort(np.argpartition(np.abs(floats), floats.size - kept)[floats.size - kept :])
        between = np.diff(places, prepend=-1) - 1
        return between.astype("<u2").tobytes() + to_bfloat16(floats[places]).tobytes()

    def decode(self, data: Buffer, out: Floats, chance: Chance) -> None:
        """See `BlockCodec.decode`."""
        kept = self._kept(out.size)
        places = np.cumsum(np.frombuffer(data, "<u2", kept).astype(np.int64) + 1) - 1
        if places[-1] >= out.size:
            raise DecodeError(f"expected places below {out.size} in a block, came {places[-1]}")
        out[...] = 0
        out[places] = as_float32(np.frombuffer(data, BFLOAT16, offset=2 * kept))
