"""The settings of selection: which workers are given a task, and when they are asked to come."""

from typing import Annotated, Literal

import msgspec
from msgspec import field

from settings.about import MANY, YEAR_S, about
from settings.hours import Hours, parse_hours

_ABOUT_WHOM = "it decides who is asked, not what a counted update is worth"
_NAME = r"[A-Za-z0-9._-]{1,64}"  # as worker.capabilities, or nobody could declare it
_NAMES_MAX = 32


class SelectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[selection]: which workers are given a task, and when they are asked to come."""

    candidates: Annotated[
        int,
        about(
            "In direct dispatch, of so many workers drawn at random one is given the task; `by` "
            "says which. 1: the first that is drawn, so that all are equally likely.",
            unit="workers",
            at_least=1,
            at_most=64,
            free=_ABOUT_WHOM,
        ),
    ] = 2
    by: Annotated[
        Literal["uniform", "loss"],
        about(
            "Which of the candidates is given the task. uniform: the one that was given the fewest "
            "so far. loss: the one that last reported the highest loss, or none yet.",
            free=_ABOUT_WHOM,
        ),
    ] = "uniform"
    cool_down_s: Annotated[
        float,
        about(
            "For how long after its task a worker is given no other; in pool dispatch too.",
            kind="duration",
            at_least=0.0,
            at_most=YEAR_S,
            free=_ABOUT_WHOM,
        ),
    ] = field(default=0.0, name="cool_down")
    seen_within_s: Annotated[
        float,
        about(
            "In direct dispatch, only workers are drawn that were heard of within so long and did "
            "not say that they leave. 0s: all that were ever seen; a task waits until they come.",
            kind="duration",
            at_least=0.0,
            at_most=YEAR_S,
            free=_ABOUT_WHOM,
        ),
    ] = field(default=0.0, name="seen_within")
    min_examples: Annotated[
        int,
        about(
            "How many examples a worker must say it has.",
            unit="examples",
            at_least=0,
            at_most=2**32 - 1,
            free=_ABOUT_WHOM,
        ),
    ] = 0
    capabilities: Annotated[
        str,
        about(
            "What a worker must say it is capable of: names with commas between them, at most 32, "
            'such as "camera, gpu"; see worker.capabilities. Empty: nothing.',
            pattern=rf"(?:{_NAME}(?: *, *{_NAME}){{0,{_NAMES_MAX - 1}}})?",
            expected="at most 32 names of up to 64 of A-Z a-z 0-9 . _ - with commas between them",
            free=_ABOUT_WHOM,
        ),
    ] = ""
    min_battery: Annotated[
        float,
        about(
            "How full a worker's battery must be, 0 to 1. A worker that reports no battery has "
            "none to run down, and is not held to it.",
            at_least=0.0,
            at_most=1.0,
            free=_ABOUT_WHOM,
        ),
    ] = 0.0
    unmetered: Annotated[
        bool,
        about(
            "Whether workers are left alone whose network is paid for by the byte.",
            free=_ABOUT_WHOM,
        ),
    ] = False
    hours: Annotated[
        str,
        about(
            'In which hours of its own day a worker is given a task: "22:00-06:00". Empty: at any '
            "time.",
            kind="hours",
            expected='hours "HH:MM-HH:MM", or "" for at any time',
            free=_ABOUT_WHOM,
        ),
    ] = ""
    pace: Annotated[
        int,
        about(
            "How many workers should be connected at a time. Those above it are asked to stay away "
            "for a while, at most a day, and are not drawn until they are back. Not below "
            "rounds.concurrency. 0: as many as like to.",
            unit="workers",
            at_least=0,
            at_most=2 * MANY,
            free=_ABOUT_WHOM,
        ),
    ] = 0

    @property
    def required_capabilities(self) -> tuple[str, ...]:
        """`capabilities` as names, each once."""
        names = (name.strip() for name in self.capabilities.split(","))
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def required_hours(self) -> Hours | None:
        """`hours` as a span of the day; None: at any time."""
        return parse_hours(self.hours)
