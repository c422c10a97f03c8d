"""What a user's functions return, checked: the error says what was expected and what came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from learning.errors import TrainingError


def checked_fit(returned: object) -> tuple[int, dict[str, float]]:
    """The number of examples and the metrics that a user's `fit` returned, as plain numbers.

    Raises:
        TrainingError: If it is not a pair of a whole number above 0 and named numbers.
    """
    if not (isinstance(returned, tuple | list) and len(returned) == 2):
        raise TrainingError(
            "expected fit to return (num_examples, metrics), such as (120, {'loss': 0.3}), "
            f"came {returned!r}"
        )
    num_examples, metrics = returned
    count = None
    with suppress(TypeError, ValueError, OverflowError):
        count = int(num_examples)
    if count is None or count != num_examples or count < 1 or isinstance(num_examples, bool):
        raise TrainingError(
            f"expected fit's num_examples to be a whole number above 0, came {num_examples!r}"
        )
    return count, checked_metrics(metrics, "fit")


def checked_metrics(metrics: object, function: str) -> dict[str, float]:
    """Named numbers that a user's function returned, as plain floats.

    Args:
        metrics: What it returned; a number may be numpy's or a tensor of one element.
        function: Its name, for the error.

    Raises:
        TrainingError: If it is not a mapping of names to numbers.
    """
    if not isinstance(metrics, Mapping):
        raise TrainingError(f"expected {function}'s metrics as a dict, came {metrics!r}")
    return dict(_as_metric(item, function) for item in metrics.items())


def _as_metric(item: Iterable[Any], function: str) -> tuple[str, float]:
    name, value = item
    try:
        return str(name), float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"expected {function}'s metric {name!r} to be a number, came {value!r}"
        ) from error
