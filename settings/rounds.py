"""The settings of the round policy: synchronous, asynchronous and all between."""

from typing import Annotated, Literal

import msgspec
from msgspec import field

from settings.about import ABOUT_TIMING, ABOUT_WORTH, MANY, YEAR_S, about

_KIB = 2**10
_MIB = 2**20


class RoundsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[rounds]: the round policy; synchronous, asynchronous and all between."""

    preset: Annotated[
        Literal["", "sync", "fedbuff", "fedasync"],
        about(
            "A round policy by name: it sets other fields that are not set otherwise (see "
            "presets). Empty: none.",
            free="only what it sets counts, as if it had been written out",
        ),
    ] = ""
    goal: Annotated[
        int,
        about(
            "How many counted updates close a round.",
            unit="updates",
            at_least=1,
            at_most=MANY,
            waits="it decides how many updates a version is made of",
        ),
    ] = 2
    quorum: Annotated[
        int,
        about(
            "The fewest counted updates that the deadline may close a round with; not above goal.",
            unit="updates",
            at_least=1,
            at_most=MANY,
            free="fewer workers than thought may be there, and a paused run shall go on",
        ),
    ] = 1
    concurrency: Annotated[
        int,
        about(
            "How many tasks are open at once; not below goal. 0: goal and 30 % more, rounded up.",
            unit="tasks",
            at_least=0,
            at_most=2 * MANY,
            free=ABOUT_TIMING,
        ),
    ] = 0
    deadline_s: Annotated[
        float,
        about(
            "How long a round waits for its goal before its quorum is enough.",
            kind="duration",
            at_least=0.001,
            at_most=YEAR_S,
            free=ABOUT_TIMING,
        ),
    ] = field(default=600.0, name="deadline")
    adaptive_deadline: Annotated[
        float,
        about(
            "A quantile: a round waits no longer than this share of the last tasks took, from when "
            "their worker had them to their update; 0.9 is a good one. Tasks that are never "
            "answered do not count. 0: it waits for the deadline, which is the most in any case.",
            at_least=0.0,
            at_most=1.0,
            free=ABOUT_TIMING,
        ),
    ] = 0.0
    deadline_floor_s: Annotated[
        float,
        about(
            "The least that adaptive_deadline has a round wait.",
            kind="duration",
            at_least=0.001,
            at_most=YEAR_S,
            free=ABOUT_TIMING,
        ),
    ] = field(default=10.0, name="deadline_floor")
    lease_s: Annotated[
        float,
        about(
            "How long a task that a worker took may stay unanswered before it is offered anew.",
            kind="duration",
            at_least=0.001,
            at_most=YEAR_S,
            free=ABOUT_TIMING,
        ),
    ] = field(default=1800.0, name="lease")
    late: Annotated[
        Literal["weigh", "refuse"],
        about(
            "What becomes of an update for an earlier version: it is weighed by its staleness, or "
            "refused.",
            waits=ABOUT_WORTH,
        ),
    ] = "weigh"
    max_staleness: Annotated[
        int,
        about(
            "How many versions old the base of an update may be when it is weighed; below "
            "coordinator.keep_versions.",
            unit="versions",
            at_least=0,
            at_most=MANY,
            waits=ABOUT_WORTH,
        ),
    ] = 20
    dispatch: Annotated[
        Literal["pool", "direct"],
        about(
            "Who gets a task: any worker that is online takes one from the pool; or, direct, "
            "workers that the coordinator draws, each with one task at a time in a queue of its "
            "own.",
            waits="it decides who is asked for a version",
        ),
    ] = "pool"
    max_extensions: Annotated[
        int,
        about(
            "How often a round without quorum is given another deadline before the run pauses.",
            unit="deadlines",
            at_least=0,
            at_most=MANY,
            free=ABOUT_TIMING,
        ),
    ] = 3
    max_examples: Annotated[
        int,
        about(
            "The most examples that one update is weighted by, however many its worker trained "
            "on. 0: no cap.",
            unit="examples",
            at_least=0,
            at_most=2**53,
            waits=ABOUT_WORTH,
        ),
    ] = 0
    max_norm: Annotated[
        float,
        about(
            "The largest L2 norm that an update may have; above it is refused. 0: no limit.",
            at_least=0.0,
            at_most=1e38,
            waits=ABOUT_WORTH,
        ),
    ] = 0.0
    part_bytes: Annotated[
        int,
        about(
            "The largest message that a model or an update is cut into.",
            kind="size",
            at_least=64 * _KIB,
            at_most=4 * _MIB,
            frozen="parts that wait in queues and on disk are counted in it",
        ),
    ] = 4 * _MIB
    drain_s: Annotated[
        float,
        about(
            "How long the coordinator, after the last round, still records what comes in.",
            kind="duration",
            at_least=0.0,
            at_most=YEAR_S,
            free=ABOUT_TIMING,
        ),
    ] = field(default=30.0, name="drain")

    @property
    def tasks_in_flight(self) -> int:
        """The number of open tasks: `concurrency`, or goal and 30 % more where that is 0."""
        # In whole numbers: 1.3 is not exact, and a ceiling would show it.
        return self.concurrency or -(-13 * self.goal // 10)
