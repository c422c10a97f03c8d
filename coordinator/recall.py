"""The registry out of the store: a million rows take seconds, since they are read by columns."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from coordinator.declaring import hours_of
from coordinator.enrolment import Enrolment
from coordinator.registry import LEAVING, METERED, Registry

_NO_HOURS = (-1, -1)
_COLUMNS = (
    "last_seen",
    "leaving",
    "examples",
    "capabilities",
    "battery",
    "metered",
    "clock_offset",
    "hours",
    "duration_s",
    "train_s",
    "loss",
    "rest_until",
    "unheard",
)


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
    hours = functools.cache(lambda text: hours_of(text) or _NO_HOURS)
    drawn, counted = enrolment.drawn(run_id), enrolment.counted(run_id)
    parts: list[dict[str, Any]] = []
    ids: list[str] = []
    for page in enrolment.pages("number", "worker_id", *_COLUMNS):
        numbers, names, *columns = page
        for number, name in zip(numbers, names, strict=True):
            if number > len(ids):
                ids.extend([""] * (number - len(ids)))
            ids.append(name)
        said = dict(zip(_COLUMNS, columns, strict=True))
        spans = [hours(text) for text in said.pop("hours")]
        flags = LEAVING * np.array(said.pop("leaving")) | METERED * np.array(said.pop("metered"))
        parts.append(
            {
                "number": np.array(numbers, np.int64),
                "capabilities": np.array([*map(bits, said.pop("capabilities"))], np.uint64),
                "examples": np.minimum(said.pop("examples"), 2**32 - 1),
                "drawn": np.array([drawn.get(name, 0) for name in names]),
                "counted": np.array([counted.get(name, 0) for name in names]),
                "loss": np.array(said.pop("loss"), np.float64),  # of None it makes NaN
                "offset": np.array(said.pop("clock_offset")),
                "opens": np.array([span[0] for span in spans]),
                "closes": np.array([span[1] for span in spans]),
                "flags": flags,
                **{name: np.array(values) for name, values in said.items()},
            }
        )
    if not parts:
        return registry, ids
    columns_of_all = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    numbers_of_all = columns_of_all.pop("number")
    return Registry.restore(capabilities, numbers_of_all, columns_of_all), ids
