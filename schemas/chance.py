"""Random numbers that are a function of names, never of a generator's state.

SplitMix64 (Steele, Lea and Flood 2014): the i-th number of a key is a mix of the key and i times a
constant, so that any of them can be had alone or in a block, and after a restart the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.digest import identify

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]
Bits = NDArray[np.uint64]

_MASK = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_UNIT = 2.0**-53


def key_of(*names: str | int) -> int:
    """The key of a purpose, in [0, 2**64): the same names give the same, on every machine."""
    return int(identify(*names)[:16], 16)


class Chance:
    """The random numbers of one key.

    Args:
        key: In [0, 2**64), see `key_of`.
        number: One of many independent sequences of that key, such as the number of a draw.
    """

    __slots__ = ("_at", "_key")

    def __init__(self, key: int, number: int = 0) -> None:
        self._key = mixed(key ^ mixed(number & _MASK))
        self._at = 0

    def below(self, limit: int) -> int:
        """The next number, uniform in [0, limit), which is below 2**32."""
        self._at += 1
        return int((mixed(self._key + self._at * _GAMMA) >> 11) * (limit * _UNIT))

    def unit(self) -> float:
        """The next number, uniform in [0, 1)."""
        return self.below(2**31) / 2**31

    def bits(self, count: int) -> Bits:
        """The next `count` numbers of 64 bits."""
        at = np.arange(self._at + 1, self._at + count + 1, dtype=np.uint64)
        self._at += count
        return mixed_many(np.uint64(self._key) + at * np.uint64(_GAMMA))

    def units(self, count: int) -> NDArray[np.float32]:
        """Numbers of [0, 1), in steps of 2**-16, four of each number that is used up."""
        halves = self.bits(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]
        return halves * np.float32(2.0**-16)

    def block(self, count: int, limit: int) -> Rows:
        """The next `count` numbers, as `below` would give them one by one."""
        scaled = (self.bits(count) >> np.uint64(11)).astype(np.float64) * (limit * _UNIT)
        return scaled.astype(np.int64)


def mixed(number: int) -> int:
    """SplitMix64's finaliser, of a number taken modulo 2**64."""
    z = number & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)


def mixed_many(numbers: Bits) -> Bits:
    """`mixed` of many; arrays wrap around, as they should."""
    z = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(_MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
    return np.asarray(z ^ (z >> np.uint64(31)))
