"""Random numbers as a function of what they are for: nothing is drawn in an order. Pure.

A stream belongs to one purpose and gives the same number for the same (worker, number) whenever it
is asked. So a policy that asks more often, or in another order, changes nothing for the others: the
third task of worker 17 lasts as long under each policy, and experiments are not coupled.

The function is the finaliser of SplitMix64 over a counter, as in `schemas.chance`. Each form
exists for one worker and for many (numpy), and both give the same bits.
"""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from schemas.chance import Bits, mixed, mixed_many

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_BY_WORKER = 0x9E3779B97F4A7C15
_BY_NUMBER = 0xD1B54A32D192ED03
_UNIT = 2.0**-52

_inverse_normal = NormalDist().inv_cdf


class Stream:
    """The draws for one purpose.

    Laws: `uniforms(w, n)[i] == uniform(w[i], n[i])`; draws of two purposes are independent.

    Args:
        seed: Of the experiment.
        purpose: What the draws are for.
    """

    __slots__ = ("_key",)

    def __init__(self, seed: int, purpose: str) -> None:
        self._key = int(hashlib.sha256(f"{seed} {purpose}".encode()).hexdigest()[:16], 16)

    def bits(self, worker: int, number: int = 0) -> int:
        """64 bits; `number` may be negative."""
        inner = mixed(self._key + worker * _BY_WORKER)
        return mixed(inner + number * _BY_NUMBER)

    def uniform(self, worker: int, number: int = 0) -> float:
        """A number between 0 and 1, neither of them."""
        return ((self.bits(worker, number) >> 12) + 0.5) * _UNIT

    def normal(self, worker: int, number: int = 0) -> float:
        """A number of the standard normal distribution."""
        return _inverse_normal(self.uniform(worker, number))

    def exponential(self, worker: int, number: int = 0) -> float:
        """A number of the exponential distribution with mean 1."""
        return -math.log(self.uniform(worker, number))

    def many_bits(self, workers: Ints, numbers: Ints | int = 0) -> Bits:
        """`bits` of many; the arguments are broadcast."""
        by_worker = workers.astype(np.uint64) * np.uint64(_BY_WORKER)
        by_number = np.asarray(numbers, np.int64).astype(np.uint64) * np.uint64(_BY_NUMBER)
        return mixed_many(mixed_many(by_worker + np.uint64(self._key)) + by_number)

    def uniforms(self, workers: Ints, numbers: Ints | int = 0) -> Floats:
        """`uniform` of many."""
        bits = self.many_bits(workers, numbers) >> np.uint64(12)
        return np.asarray((bits.astype(np.float64) + 0.5) * _UNIT)
