"""A weighted sum of updates in float32: ten thousand of them lose no more than a hundred do.

    group   the open group of 128 updates      the first group is all that there is
    total   what the groups before came to     what it cannot hold stays in the group, and goes on

A float32 has 24 bits: what is added one by one to a sum that grows is cut shorter and shorter. So
updates are added to a group. The first group, once it is full, is the total; each after it goes
into the total. What the total rounds off then (Knuth, TAOCP 2, 4.2.2, theorem B: it is a float32
itself) is what the next group begins with. Together the two have 48 bits, so only what 128 numbers
round off in a group is lost. A round of no more updates needs one array.

Weights are divided by the first one, so that updates that weigh the same are added as they are, and
sums stay as small as numbers are: no weights make one infinite.
"""

from __future__ import annotations

import math

import numpy as np

from coordinator.aggregation.blocks import Doubles
from schemas.codecs.numbers import BLOCK, Numbers
from schemas.tensors import Floats

GROUP = 128
"""Updates that are added before what they come to goes into the total."""

HEADROOM = 2.0**60
"""How many times the unit all weights may be: a number that was checked is below 2^64, and the
largest float32 is near 2^128."""

LEAST_UNIT = 2.0**-500
"""The least unit, so that every weight is a finite number of it, also where one rounds to 0."""

Room = list[Floats]
"""The memory of a sum: an array, and another if it has more than one group."""


class GroupedSum:
    """A weighted sum of updates of one size. Nothing is allocated per update.

    Law: the same updates and factors in the same order give the same bits.

    Args:
        size: Numbers of an update.
        room: The memory of a sum that is done, if it is of that size; what is there is written
            over. Memory that is new to a process costs more than an addition.

    Attributes:
        room: Where the sum is: for the next when this one is done.
    """

    def __init__(self, size: int, room: Room | None = None) -> None:
        self._size = size
        self.room = room if room and room[0].size == size else [np.empty(size, np.float32)]
        self._group = self.room[0]
        self._total: Floats | None = None
        self._scratch = np.empty((2, min(BLOCK, size)), np.float32)
        self._count = 0
        self._unit = 1.0
        self._mass = 0.0

    def add(self, numbers: Numbers, factor: float) -> None:
        """Add `factor`, 0 or above, times the numbers of an update, each of them below 2^64."""
        share = self._share_of(factor)
        if self._count == GROUP:
            self._begin_total()
        group, total, is_first = self._group, self._total, self._count in (0, GROUP)
        self._count += 1
        is_full = self._count % GROUP == 0
        for start, block in numbers.blocks():
            here = group[start : start + block.size]
            if is_first:
                np.multiply(block, share, out=here)
            else:
                self._add_block(here, block, share)
            if total is not None and is_full:
                self._fold(total[start : start + block.size], here)

    def write(self, start: int, out: Doubles) -> None:
        """Write the sum's numbers from `start` on into `out`."""
        if not self._count:
            out.fill(0.0)
            return
        out[...] = self._group[start : start + out.size]
        if self._total is not None:
            out += self._total[start : start + out.size]
        out *= self._unit

    def _begin_total(self) -> None:
        """The first group is full, and more comes."""
        if len(self.room) < 2:
            self.room.append(np.empty(self._size, np.float32))
        self._total, self._group = self.room

    def _share_of(self, factor: float) -> np.float32:
        """A factor in the unit of the sum, which is chosen first, or grows, if it has to."""
        mass = self._mass + factor
        if not self._count:
            self._unit = max(factor, LEAST_UNIT)
        elif mass > HEADROOM * self._unit:
            _, exponent = math.frexp(mass / self._unit)
            for array in (self._group, self._total):
                if array is not None:
                    array *= np.float32(math.ldexp(1.0, -exponent))
            self._unit = math.ldexp(self._unit, exponent)
        self._mass = mass
        return np.float32(factor / self._unit)

    def _add_block(self, here: Floats, block: Floats, share: np.float32) -> None:
        if share == 1:
            here += block
            return
        scaled = self._scratch[0, : block.size]
        np.multiply(block, share, out=scaled)
        here += scaled

    def _fold(self, total: Floats, group: Floats) -> None:
        """Bring a block of the group into the total; what is rounded off stays in the group."""
        both, part = self._scratch[:, : total.size]
        np.add(total, group, out=both)
        np.subtract(both, total, out=part)  # what of the group is in it
        group -= part
        np.subtract(both, part, out=part)  # and of the total
        np.subtract(total, part, out=part)
        group += part
        total[...] = both
