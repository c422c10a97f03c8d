"""Messages and payloads of a size, as a federation sends them."""

from __future__ import annotations

import numpy as np

from schemas.digest import identify
from schemas.layout import Layout
from schemas.messages import Update
from schemas.tensors import layout_of

DIGEST = "d" * 64


def layout(params: int, tensors: int = 1) -> Layout:
    """Of float32 parameters in some tensors; in one, that of `learners/idle.py`."""
    each = params // tensors
    sizes = [each] * (tensors - 1) + [params - each * (tensors - 1)]
    return layout_of({f"w{place or ''}": np.zeros(size, "<f4") for place, size in enumerate(sizes)})


def payloads(params: int, count: int) -> list[bytes]:
    """Distinct payloads of float32 numbers near zero."""
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(params, np.float32) * np.float32(0.01)
    return [np.roll(numbers, place).tobytes() for place in range(count)]


def update(layout: Layout, payload_bytes: int) -> Update:
    """The header of an update."""
    return Update(
        update_id=identify("update"),
        run_id=identify("run"),
        task_id=identify("task"),
        worker_id="worker-1",
        incarnation=1,
        kind="train",
        base_version=7,
        base_digest=DIGEST,
        layout_digest=layout.digest,
        codec="fp32",
        num_examples=600,
        metrics={"loss": 0.25, "accuracy": 0.9},
        train_s=1.5,
        payload_digest=DIGEST,
        payload_bytes=payload_bytes,
        parts=0,
        local_steps=60.0,
    )
