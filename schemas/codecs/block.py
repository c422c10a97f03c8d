"""What a codec does with one block of numbers. Everything larger is done with blocks.

Rules:

- How many bytes a block takes follows from how many numbers it has.
- Any bytes of that size decode to some numbers, or raise `DecodeError`. Numbers that are not
  finite may come of it; whoever adds them up looks.
- What bytes decode to does not depend on the machine: it is made of single float32 operations
  in a fixed order, and of sums that are exact in any order.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.buffer import Buffer
from schemas.chance import Chance
from schemas.tensors import Floats

GROUP = 1024
"""Numbers that share a scale: one for all would round the small layers of a model off."""

SCALE_BYTES = 4


class BlockCodec(Protocol):
    """The codec of a block, which has at least one number and at most `BLOCK`.

    Attributes:
        lane: Bytes of the words that a block is made of. Compression is better if the first
            bytes of all words come first, then the second ones, and so on.
    """

    lane: int

    def size(self, count: int) -> int:
        """How many bytes a block of so many numbers takes."""
        ...

    def encode(self, floats: Floats, chance: Chance) -> Buffer:
        """A block's bytes.

        Args:
            floats: Its numbers, `(count,)` float32; all of them finite.
            chance: Of this block.
        """
        ...

    def decode(self, data: Buffer, out: Floats, chance: Chance) -> None:
        """Write a block's numbers.

        Args:
            data: As many bytes as `size` says.
            out: `(count,)` float32; written over.
            chance: As it was when the block was encoded.

        Raises:
            DecodeError: If no block has these bytes.
        """
        ...


def group_count(count: int) -> int:
    """How many groups a block of so many numbers has."""
    return -(-count // GROUP)


def scaled_groups(numbers: NDArray[Any], scales: Floats, out: Floats) -> None:
    """Write each number times the scale of its group; `out` may be `numbers`."""
    whole = numbers.size // GROUP * GROUP
    by_group = (-1, GROUP)
    np.multiply(
        numbers[:whole].reshape(by_group),
        scales[: whole // GROUP, None],
        out=out[:whole].reshape(by_group),
        dtype=np.float32,
    )
    if whole < numbers.size:
        np.multiply(numbers[whole:], scales[-1], out=out[whole:], dtype=np.float32)


def largest_of_groups(floats: Floats) -> Floats:
    """The largest magnitude of each group, `(groups,)` float32."""
    magnitudes = np.abs(floats)
    return np.maximum.reduceat(magnitudes, np.arange(0, floats.size, GROUP))


def inverse(scales: Floats) -> Floats:
    """One over each scale, and 0 where that is no number: a group that small is rounded to 0."""
    with np.errstate(divide="ignore", over="ignore"):
        found = np.divide(np.float32(1), scales, dtype=np.float32)
    found[~np.isfinite(found)] = 0
    return found
