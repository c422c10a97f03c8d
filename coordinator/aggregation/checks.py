"""The checks of an update's data, all of them before any add: floats cannot be un-added."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from coordinator.events import Refused
from schemas.buffer import Buffer
from schemas.codecs.names import FP32
from schemas.codecs.numbers import Numbers, Watched
from schemas.codecs.payload import numbers_of
from schemas.errors import DecodeError
from schemas.layout import Layout
from schemas.tensors import Array, as_float32, update_maxed


def inspect(
    payload: Buffer,
    layout: Layout,
    max_norm: float,
    codec: str = FP32,
    update_id: str = "",
    passed: Callable[[], object] | None = None,
) -> Refused | None:
    """What is wrong with an update's payload, None if it can be added.

    Args:
        payload: Every float of the layout in its codec, then the maxed arrays.
        layout: The coordinator's own, never the sender's.
        max_norm: The largest L2 norm allowed, 0 for no ceiling; of the decoded numbers.
        codec: How its floats are encoded.
        update_id: What is random in the codec follows from it.
        passed: See `coordinator.aggregation.counted.Counted`.
    """
    try:
        numbers = numbers_of(payload, codec, layout, update_id)
        norm = l2_norm(numbers if passed is None else Watched(numbers, passed))
    except DecodeError as error:
        return Refused("malformed", str(error))
    if not math.isfinite(norm):
        return Refused("non-finite", "it holds NaN, infinity, or numbers near the largest float")
    if max_norm and norm > max_norm:
        return Refused("over-norm", f"its L2 norm {norm:.6g} is above the ceiling {max_norm:.6g}")
    for name, values in update_maxed(payload, layout).items():
        # numpy takes the bytes as they are, and a bool of 2 would go on into every model.
        if values.dtype == np.bool_ and np.any(values.view(np.uint8) > 1):
            return Refused("malformed", f"{name}: expected bools of 0 and 1")
    return None


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is the answer, not an accident
def l2_norm(numbers: Numbers) -> float:
    """The L2 norm, summed over blocks in double precision; not finite if any number is not."""
    total = 0.0
    for _, block in numbers.blocks():
        total += float(np.dot(block, block))
    return math.sqrt(total) if total >= 0 else math.nan


class StepNorm:
    """The L2 norm of what two models differ by in their floats, block after block."""

    def __init__(self) -> None:
        self._total = 0.0

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, before: Array, after: Array) -> None:
        """Take the same block of both."""
        change = as_float32(after).astype(np.float64)
        change -= as_float32(before)
        self._total += float(np.dot(change, change))

    @property
    def norm(self) -> float:
        """What it is so far; not finite if a number of one of them is not."""
        return math.sqrt(self._total) if self._total >= 0 else math.nan
