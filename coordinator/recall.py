"""The registry out of the store: a million rows take seconds, since they are read by columns."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from coordinator.declaring import hours_of
from coordinator.enrolment import Enrolment
from coordinator.registry import LEAVING, METERED, Registry

_NO_HOURS = (-1, -1)


def recall(
    enrolment: Enrolment, run_id: str, capabilities: tuple[str, ...]
) -> tuple[Registry, list[str]]:
    """The registry as the store has it, without open tasks; and whose each row is.

    Args:
        enrolment: Of the store.
        run_id: Whose tasks and updates are counted.
        capabilities: The names that are kept, see `Registry`.

    Returns:
        The registry, and worker ids by row: "" where it is nobody's.
    """
    registry = Registry(capabilities)
    bits = functools.cache(lambda text: registry.bits_of(text.split()))
    hours = functools.cache(hours_of)
    drawn, counted = enrolment.drawn(run_id), enrolment.counted(run_id)
    parts: list[dict[str, Any]] = []
    ids: list[str] = []
    for page in enrolment.pages():
        for row in page:
            ids.extend([""] * (row.number - len(ids)))
            ids.append(row.worker_id)
        spans = [hours(row.hours) or _NO_HOURS for row in page]
        parts.append(
            {
                "number": [row.number for row in page],
                "last_seen": [row.last_seen for row in page],
                "rest_until": [row.rest_until for row in page],
                "capabilities": [bits(row.capabilities) for row in page],
                "examples": [min(row.examples, 2**32 - 1) for row in page],
                "drawn": [drawn.get(row.worker_id, 0) for row in page],
                "counted": [counted.get(row.worker_id, 0) for row in page],
                "duration_s": [row.duration_s for row in page],
                "train_s": [row.train_s for row in page],
                "loss": [math.nan if row.loss is None else row.loss for row in page],
                "battery": [row.battery for row in page],
                "offset": [row.clock_offset for row in page],
                "opens": [span[0] for span in spans],
                "closes": [span[1] for span in spans],
                "unheard": [row.unheard for row in page],
                "flags": [LEAVING * row.leaving | METERED * row.metered for row in page],
            }
        )
        parts[-1] = {
            name: np.array(values, np.uint64 if name == "capabilities" else None)
            for name, values in parts[-1].items()
        }
    if not parts:
        return registry, ids
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    numbers = columns.pop("number")
    return Registry.restore(capabilities, numbers, columns), ids
