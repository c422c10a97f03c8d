"""What the built-in learners share: `config`, checked, and whose part of the data is which."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from learning.errors import LearnerSettingError
from learning.learner import Config

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_ConfigT = TypeVar("_ConfigT", bound="DataclassInstance")


def from_config(cls: type[_ConfigT], config: Config) -> _ConfigT:
    """A dataclass of settings from those that were written, with the defaults of the others.

    Raises:
        LearnerSettingError: Naming the setting, what was expected and what came.
    """
    known_fields = [field.name for field in fields(cls)]
    unknown = sorted(config.keys() - set(known_fields))
    if unknown:
        known = ", ".join(known_fields)
        raise LearnerSettingError(f"config.{unknown[0]}: no such setting; there are: {known}")
    return cls(**dict[str, Any](config))


def require_whole(name: str, value: object, at_least: int) -> None:
    """Require a whole number.

    Raises:
        LearnerSettingError: If it is none, or too small.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise LearnerSettingError(
            f"config.{name}: expected a whole number of at least {at_least}, came {value!r}"
        )


def require_above_zero(name: str, value: object) -> None:
    """Require a finite number above 0.

    Raises:
        LearnerSettingError: If it is not.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise LearnerSettingError(f"config.{name}: expected a number above 0, came {value!r}")


def parse_part(data: str, max_parts: int) -> tuple[int, int]:
    """Which part of how many a `data` setting such as "3/12" stands for.

    Raises:
        LearnerSettingError: If it is not a part from "1/n" to "n/n", n at most `max_parts`.
    """
    which, _, parts = data.partition("/")
    if which.isdecimal() and parts.isdecimal() and 1 <= int(which) <= int(parts) <= max_parts:
        return int(which), int(parts)
    raise LearnerSettingError(
        "data: expected a part of at most "
        f'{max_parts}, such as "1/12" to "12/12", or "" for all, came {data!r}'
    )
