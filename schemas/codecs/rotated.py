"""Two bits a number, after a rotation that makes all numbers of a group about alike.

    z = H D x      D random signs, H Hadamard      c = the level nearest to z      x' = s · D H c

After the rotation the numbers are nearly normal, whatever they were, so that the four levels which
are best for a normal variable fit; s is such that x' is x in the mean (EDEN: Vargaftik et al.
2022).

The levels are whole numbers in the ratio of the best ones (0.4528 and 1.5104). So the sums of the
way back are exact in whatever order a machine adds, and decoding gives the same bits everywhere.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from schemas.buffer import Buffer
from schemas.chance import Chance
from schemas.codecs.block import GROUP, SCALE_BYTES, group_count
from schemas.tensors import Floats

INNER, OUTER = 3.0, 10.0
_UNIT = 0.4528 / INNER  # of a level, for numbers of variance 1
_BETWEEN = (INNER + OUTER) / 2
_LEVELS = np.array([-OUTER, -INNER, INNER, OUTER], np.float32)
_FOURS = _LEVELS[(np.arange(256)[:, None] >> np.arange(0, 8, 2)) & 3]  # what a byte stands for
_SIDE = 32


class Int2:
    """Four levels after a randomised Hadamard rotation of each group.

    The last group may be shorter; it is filled up with zeros to a power of two.
    """

    lane = 1

    def size(self, count: int) -> int:
        """See `BlockCodec.size`."""
        return SCALE_BYTES * group_count(count) + -(-_filled(count) // 4)

    def encode(self, floats: Floats, chance: Chance) -> Buffer:
        """See `BlockCodec.encode`."""
        filled = np.zeros(_filled(floats.size), np.float32)
        filled[: floats.size] = floats
        _turn_signs(filled, chance)
        scales, codes = [], []
        for groups in _groups(filled):
            found = _encode_groups(groups)
            scales.append(found[0])
            codes.append(found[1])
        fours = np.concatenate(codes)
        fours = np.concatenate((fours, np.zeros(-fours.size % 4, np.uint8))).reshape(-1, 4)
        packed = fours[:, 0] | fours[:, 1] << 2 | fours[:, 2] << 4 | fours[:, 3] << 6
        return np.concatenate(scales).astype("<f4").tobytes() + packed.tobytes()

    @np.errstate(over="ignore", invalid="ignore")
    def decode(self, data: Buffer, out: Floats, chance: Chance) -> None:
        """See `BlockCodec.decode`."""
        count = group_count(out.size)
        scales = np.frombuffer(data, "<f4", count)
        packed = np.frombuffer(data, "u1", offset=SCALE_BYTES * count)
        filled = _FOURS[packed].reshape(-1)[: _filled(out.size)]
        for groups in _groups(filled):
            turned = rotated(groups)
            turned *= scales[: len(groups), None]
            scales = scales[len(groups) :]
            groups[...] = turned
        _turn_signs(filled, chance)
        out[...] = filled[: out.size]


def rotated(groups: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row times the Hadamard matrix of its length, a power of two up to `GROUP`."""
    count, length = groups.shape
    if length == _SIDE * _SIDE:  # the matrix of 1024 is that of 32, in both directions of a square
        squares = groups.reshape(count, _SIDE, _SIDE)
        turned = _hadamard(_SIDE) @ squares @ _hadamard(_SIDE)
        return np.asarray(turned.reshape(count, length), np.float32)
    return np.asarray(groups @ _hadamard(length), np.float32)


@cache
def _hadamard(length: int) -> NDArray[np.float32]:
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < length:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return np.ascontiguousarray(matrix)


def _filled(count: int) -> int:
    """How many numbers there are with the last group filled up."""
    rest = count % GROUP
    return count - rest + (1 << (rest - 1).bit_length() if rest else 0)


def _groups(filled: Floats) -> list[NDArray[np.float32]]:
    """Views of the groups, a row each: those that are whole, and the last if it is shorter."""
    whole = filled.size // GROUP * GROUP
    views = [filled[:whole].reshape(-1, GROUP), filled[whole:].reshape(1, -1)]
    return [view for view in views if view.size]


def _encode_groups(groups: NDArray[np.float32]) -> tuple[Floats, NDArray[np.uint8]]:
    """The scales and the codes of groups whose signs are turned already."""
    exact = groups.astype(np.float64)
    squares = np.einsum("ij,ij->i", exact, exact)
    # Rows of norm 1 stay within float32, however large or small the numbers are.
    norms = np.sqrt(squares)
    ones = exact / np.where(norms > 0, norms, 1.0)[:, None]
    turned = rotated(ones.astype(np.float32))  # of variance 1
    outer = np.abs(turned) > _BETWEEN * _UNIT
    above = turned > 0
    codes = np.where(above, 2 + outer, 1 - outer).astype(np.uint8)
    along = np.einsum("ij,ij->i", turned.astype(np.float64), _LEVELS[codes].astype(np.float64))
    return (norms / np.where(along > 0, along, 1.0)).astype(np.float32), codes.reshape(-1)


def _turn_signs(filled: Floats, chance: Chance) -> None:
    """Turn about half of the signs; twice is not at all."""
    words = chance.bits(-(-filled.size // 64)).astype("<u8", copy=False)
    turned = np.unpackbits(words.view(np.uint8), count=filled.size)
    filled.view(np.uint32)[...] ^= turned.astype(np.uint32) << np.uint32(31)
