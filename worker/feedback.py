"""Error feedback: what an update leaves out goes into the next one.

    u = d + what is left of earlier updates        s = what arrives of u        left: d - s

So over time everything that was trained is sent, if only the largest numbers of each update are
(Stich et al. 2018, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from schemas.buffer import Buffer
from schemas.codecs.payload import encode_update, numbers_of
from schemas.layout import Layout
from schemas.messages import Update
from schemas.tensors import Floats, update_floats
from worker.residuals import Feedback, Residual


def encode_with_feedback(
    update: Update,
    payload: bytearray,
    layout: Layout,
    earlier: Iterable[tuple[Residual, Buffer | None]],
) -> tuple[bytes, Feedback]:
    """An update's payload in its codec, and what it leaves.

    Args:
        update: Its header.
        payload: What was trained, before any codec; it is used up.
        layout: Of the update.
        earlier: What earlier updates left, and its bytes; None if they are damaged.
    """
    fed, summed = bytearray(payload), None
    parts: list[int] = []
    damaged: list[int] = []
    for residual, data in earlier:
        numbers = _numbers(data, layout.num_floats)
        if numbers is None:
            damaged.append(residual.number)
            continue
        update_floats(fed, layout)[...] += numbers
        if residual.counted:
            parts.append(residual.number)
            summed = numbers.copy() if summed is None else summed + numbers
    encoded = b"".join(encode_update(fed, update.codec, layout, update.update_id))
    left = update_floats(payload, layout)
    for start, block in numbers_of(encoded, update.codec, layout, update.update_id).blocks():
        left[start : start + block.size] -= block
    feedback = Feedback(memoryview(payload)[: left.nbytes], damaged=tuple(damaged))
    if summed is not None and len(parts) > 1:
        feedback = replace(feedback, summed=summed.tobytes(), parts=tuple(parts))
    return encoded, feedback


def _numbers(data: Buffer | None, size: int) -> Floats | None:
    whole = data is not None and len(data) == 4 * size
    return np.frombuffer(data, "<f4") if data is not None and whole else None
