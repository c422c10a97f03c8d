"""The last update of every worker: which there are, and where their numbers lie.

A cached update is numbers of float16 between -1 and 1, in a slot of a shelf, and a scale. The scale
is a power of two, so that it costs no precision, and an update of any size fits into float16.

A slot is never written over while its numbers may still be read: the next update of a worker goes
into another slot. So a crash at any step leaves the cache as the last version has it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coordinator.aggregation.blocks import Doubles
from schemas.codecs.numbers import Numbers
from schemas.tensors import Floats

Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class CachedUpdate:
    """The last update of a worker.

    Attributes:
        base_version: The version it was trained from.
        slot: Where its numbers lie.
        scale: What they are to be multiplied by.
        examples: What its examples weigh.
    """

    worker_id: str
    base_version: int
    slot: int
    scale: float
    examples: float


class Shelf(Protocol):
    """Where cached updates lie: numbered slots of as many float16 numbers as a model has floats."""

    def read(self, slot: int, start: int, stop: int) -> Halves:
        """Numbers `start` to `stop` of a slot; to be used before the slot is written again."""
        ...

    def write(self, slot: int, start: int, numbers: Halves) -> None:
        """Write numbers of a slot from `start` on; the slot is made if there is none."""
        ...


class ShelfInMemory:
    """A shelf for tests and simulation.

    Args:
        size: Numbers of a slot.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._slots: dict[int, Halves] = {}

    def read(self, slot: int, start: int, stop: int) -> Halves:
        """See `Shelf.read`."""
        return self._slots[slot][start:stop]

    def write(self, slot: int, start: int, numbers: Halves) -> None:
        """See `Shelf.write`."""
        if slot not in self._slots:
            self._slots[slot] = np.zeros(self._size, np.float16)
        self._slots[slot][start : start + numbers.size] = numbers


class Cache:
    """The cached updates that are in force, and the slots that are free.

    Args:
        shelf: Where their numbers lie.
        in_force: The last update of each worker.
        needed: Slots that may not be written although nothing in force lies there.
    """

    def __init__(
        self, shelf: Shelf, in_force: Iterable[CachedUpdate] = (), needed: Iterable[int] = ()
    ) -> None:
        self.shelf = shelf
        self._in_force = {cached.worker_id: cached for cached in in_force}
        taken = {cached.slot for cached in self._in_force.values()} | set(needed)
        self._end = max(taken, default=-1) + 1
        self._free = sorted(set(range(self._end)) - taken)  # a heap, with the lowest first

    @property
    def in_force(self) -> Mapping[str, CachedUpdate]:
        """The last update of each worker, by its id."""
        return self._in_force

    def take_slot(self) -> int:
        """A slot that is free, the lowest; it is not free any more."""
        if self._free:
            return heapq.heappop(self._free)
        self._end += 1
        return self._end - 1

    def replace(self, newer: Iterable[CachedUpdate]) -> list[int]:
        """Put newer updates in force; the slots of those they replace, which are not free yet."""
        left = []
        for cached in newer:
            before = self._in_force.get(cached.worker_id)
            if before is not None:
                left.append(before.slot)
            self._in_force[cached.worker_id] = cached
        return left

    def free(self, slots: Iterable[int]) -> None:
        """Let slots be written again."""
        for slot in slots:
            heapq.heappush(self._free, slot)


def scale_of(numbers: Numbers, shrink: float) -> float:
    """The smallest power of two that no number of an update is above; 1 if all are 0."""
    largest = 0.0
    for _, block in numbers.blocks():
        largest = max(largest, float(block.max()), -float(block.min()))
    mantissa, exponent = math.frexp(largest * shrink)
    return math.ldexp(1.0, exponent) if mantissa else 1.0


def as_halves(block: Floats, factor: float, scratch: Doubles, out: Halves) -> Halves:
    """`factor` times a block, rounded to float16.

    Args:
        block: Its numbers.
        factor: What brings them between -1 and 1.
        scratch: At least as large; written over.
        out: At least as large; written over, and a part of it is returned.
    """
    doubles, halves = scratch[: block.size], out[: block.size]
    doubles[...] = block
    doubles *= factor
    halves[...] = doubles
    return halves
