"""Error feedback: what an update leaves out goes into the next one (Stich et al. 2018, algorithm 1).

    u = d + what is left of earlier updates        s = what arrives of u        left: d - s

So over time everything that was trained is sent, if only the largest numbers of each update are.
"""

from __future__ import annotations

import numpy as np

from schemas.buffer import Buffer
from schemas.codecs.payload import encode_update, numbers_of
from schemas.layout import Layout
from schemas.messages import Update
from schemas.tensors import Floats, update_floats
from worker.residuals import Feedback, Residual, Residuals


def encode_with_feedback(
    update: Update, payload: bytearray, layout: Layout, residuals: Residuals
) -> tuple[bytes, Feedback]:
    """An update's payload in its codec, and what it leaves.

    Args:
        update: Its header.
        payload: What was trained, before any codec; it is used up.
        layout: Of the update.
        residuals: What earlier updates left; only read.

    Raises:
        OSError: Of those something cannot be read now.
    """
    trained = update_floats(payload, layout)
    earlier, summed, gone = _earlier(residuals, residuals.of(update), trained.size)
    fed = bytearray(payload)
    if earlier is not None:
        update_floats(fed, layout)[...] += earlier
    encoded = b"".join(encode_update(fed, update.codec, layout, update.update_id))
    for start, block in numbers_of(encoded, update.codec, layout, update.update_id).blocks():
        trained[start : start + block.size] -= block
    left = memoryview(payload)[: trained.nbytes]
    return encoded, Feedback(left, summed, gone)


def _earlier(
    residuals: Residuals, kept: list[Residual], size: int
) -> tuple[Floats | None, Buffer | None, tuple[int, ...]]:
    """The sum of what is left; that of the counted, if they are more than one; what is gone then."""
    found = [(one, _numbers(residuals.read(one), size)) for one in kept]
    damaged = tuple(one.number for one, numbers in found if numbers is None)
    counted = [(one, numbers) for one, numbers in found if one.counted and numbers is not None]
    waiting = [numbers for one, numbers in found if not one.counted and numbers is not None]
    settled = _sum([numbers for _, numbers in counted])
    everything = _sum([*[settled] * (settled is not None), *waiting])  # type: ignore[list-item]
    if settled is None or len(counted) == 1:
        return everything, None, damaged
    return everything, settled.tobytes(), (*damaged, *(one.number for one, _ in counted))


def _sum(arrays: list[Floats]) -> Floats | None:
    if not arrays:
        return None
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    return total


def _numbers(data: bytes | None, size: int) -> Floats | None:
    return None if data is None or len(data) != 4 * size else np.frombuffer(data, "<f4")
