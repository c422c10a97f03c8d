"""How a field of the settings says what it is: one `about(...)` in its annotation.

Everything else (loading, the error line, the reference page, the template, what is frozen) reads
it from there, so a field is described once.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

Kind = Literal[
    "plain",
    "duration",
    "size",
    "kept",
    "path",
    "file",
    "url",
    "depot",
    "learner",
    "initial",
    "hours",
    "config",
]

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
MANY = 1_000_000

ABOUT_TIMING = "it decides when things happen, not what a counted update is worth"
ABOUT_WORTH = "all updates of a version are judged and weighed alike"
ABOUT_MACHINE = "it belongs to this machine, not to the run"


@dataclass(frozen=True, slots=True)
class About:
    """What a field means beyond its type.

    Attributes:
        kind: How its text is read: "plain" as toml has it, the others by a reader of their own.
        meaning: One or two sentences for the person who sets it.
        unit: What a number counts; empty where there is none.
        at_least: Lower bound of a number, included; None: none.
        at_most: Upper bound of a number, included; None: none.
        pattern: What a text must match as a whole; empty: anything.
        expected: What to say was expected, where the type does not say it well.
        frozen: Whether a run keeps the value it began with.
        waits: Whether a change of it takes effect when the next version opens, and not at once.
        why: Why a run keeps it, or when and why it may change.
    """

    kind: Kind
    meaning: str
    unit: str
    at_least: float | None
    at_most: float | None
    pattern: str
    expected: str
    frozen: bool
    waits: bool
    why: str


def about(
    meaning: str,
    *,
    kind: Kind = "plain",
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    pattern: str = "",
    expected: str = "",
    frozen: str = "",
    waits: str = "",
    free: str = "",
) -> msgspec.Meta:
    """Describe a field, inside its ``Annotated``.

    Args:
        meaning: One or two sentences for the person who sets it.
        kind: How its text is read.
        unit: What a number counts.
        at_least: Lower bound, included.
        at_most: Upper bound, included.
        pattern: What a text must match as a whole.
        expected: What an error shall say was expected.
        frozen: Why a run keeps the value it began with.
        waits: Why a change of it waits for the next version.
        free: Why it may change at any time.

    Raises:
        ValueError: Not exactly one of `frozen`, `waits` and `free` is given.
    """
    if [bool(frozen), bool(waits), bool(free)].count(True) != 1:
        raise ValueError("say either why the field is frozen, why it waits, or why it is free")
    described = About(
        kind=kind,
        meaning=meaning,
        unit=unit,
        at_least=at_least,
        at_most=at_most,
        pattern=pattern,
        expected=expected,
        frozen=bool(frozen),
        waits=bool(waits),
        why=frozen or waits or free,
    )
    extra = {"about": described}
    if pattern:
        # `\Z`, since "$" would let a line break through at the end.
        return msgspec.Meta(pattern=rf"^(?:{pattern})\Z", description=meaning, extra=extra)
    return msgspec.Meta(ge=at_least, le=at_most, description=meaning, extra=extra)
