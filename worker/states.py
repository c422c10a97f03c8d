"""The states of the task in hand, each with what it knows. Pure.

`assignment` says what leads from one to another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from schemas.messages import Start, Task, TaskSource
from worker.events import Actions


@dataclass(frozen=True, slots=True)
class SitOut:
    """A version that this worker had better not try again.

    Attributes:
        for_good: Nothing but another version changes that; else it may be tried after a while.
        after: How many tasks in a row are given up before.
    """

    run_id: str
    version: int
    for_good: bool
    after: int = 0


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing in hand, and none asked for."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pool is consumed, or the worker's own queue."""

    queue: TaskSource


@dataclass(frozen=True, slots=True)
class Keeping:
    """A task is being written to the inbox.

    Attributes:
        until: When to give the delivery back if the disk has not taken it by then.
        keep_at: When to try again after the disk did not take it; infinite while it is written.
        tries: How often it did not.
    """

    task: Task
    tag: int
    until: float
    keep_at: float = math.inf
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Full:
    """The disk takes no task, so none is asked for until it takes this one again.

    Attributes:
        task: The one it did not take. The broker has it; here it is written only to be dropped.
        keep_at: When to try again; infinite while it is written.
        tries: How often the disk did not take it since it was given back.
    """

    task: Task
    keep_at: float
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Taking:
    """The task is in the inbox; the coordinator is to say what to train on.

    Attributes:
        tag: The delivery still to be acked, or `NO_DELIVERY`.
        say_at: When to say `Taken` (again).
        tries: How often it was said in this connection.
    """

    task: Task
    tag: int
    attempts: int
    say_at: float
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Fetching:
    """The model is being read.

    Attributes:
        heard_at: When its stream last said something.
            Infinite while nothing is read.
        fetch_at: When to begin to read again after an interruption.
        since: When the lease began, None if unknown.
        until: When to give up if the disk does not take the model.
        tries: How often it did not.
        told: Somebody was told so, and nothing has come since.
    """

    task: Task
    start: Start
    attempts: int
    heard_at: float
    fetch_at: float
    since: float | None
    until: float
    tries: int = 0
    told: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is at hand; training begins at `at`.

    Attributes:
        waits: How often the disk refused it.
    """

    task: Task
    start: Start
    attempts: int
    at: float
    since: float | None
    waits: int = 0


@dataclass(frozen=True, slots=True)
class Training:
    """A training is under way.

    Attributes:
        attempts: Including this one.
        alive_at: Its last sign of life; infinite before it has begun.
        waits: As in `Ready`.
        instead: It was cancelled, and this is what the coordinator said instead.
    """

    task: Task
    start: Start
    attempts: int
    alive_at: float
    since: float | None
    waits: int = 0
    instead: Start | None = None


@dataclass(frozen=True, slots=True)
class Declining:
    """The task is given up; the coordinator is to know before it is forgotten.

    Attributes:
        say_at: When to say `Declined` (again).
        sit_out: What is not to be tried again, None if anything may.
    """

    task: Task
    tag: int
    reason: str
    say_at: float
    tries: int = 0
    sit_out: SitOut | None = None


Work = Idle | Waiting | Keeping | Full | Taking | Fetching | Ready | Training | Declining

Step = tuple[Work, Actions]
"""Where an event leads, and what is to be done."""
