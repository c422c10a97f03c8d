"""A task that came, until it is in the inbox and `Taken` is said; or the disk has no room. Pure.

A task that the disk does not take is given back once (`Full`); no other is asked for before the
disk takes one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import assert_never

from schemas.messages import Task
from worker import declining
from worker.events import (
    Actions,
    ConsumerEnded,
    DropTask,
    KeepTask,
    ModelGone,
    ModelInterrupted,
    ModelMoved,
    ModelNotKept,
    ModelReady,
    Published,
    Reject,
    StartCame,
    Stop,
    StopFetching,
    TaskCame,
    TaskKept,
    TaskNotKept,
    Tick,
    TrainingDone,
    TrainingFailed,
    TrainingMoved,
    Unpublished,
    WentOffline,
    WentOnline,
    WorkEvent,
)
from worker.fitness import unfit
from worker.options import Moment, Options
from worker.states import Fetching, Full, Idle, Keeping, Step, Taking, Training
from worker.unsaid import AGAIN_MOST_S, AGAIN_S, NO_DELIVERY, taken

KEEP_S = 600.0
"""How long a delivery is held that the disk does not take."""
_PROBE_S, _PROBE_MOST_S = 30.0, 600.0


def begin(task: Task, tag: int, moment: Moment) -> Keeping:
    """A task came; it is to be put into the inbox."""
    return Keeping(task, tag, moment.now + KEEP_S)


def advance(work: Keeping, event: WorkEvent, options: Options, moment: Moment) -> Step:
    """What an event does to a task that is not in the inbox yet."""
    match event:
        case TaskKept(kept) if kept == work.task.task_id:
            why_not = unfit(work.task, options, moment)
            if why_not:
                return declining.decline(work.task, work.tag, why_not, options, moment, None)
            taking = Taking(work.task, work.tag, 0, moment.now if moment.online else math.inf)
            return say_taken(taking, options, moment) if moment.online else (taking, ())
        case TaskNotKept(kept) if kept == work.task.task_id:
            return _not_kept(work, moment)
        case Tick() if work.keep_at <= moment.now:
            return replace(work, keep_at=math.inf), (KeepTask(work.task),)
        case TaskCame(tag):
            return work, (Reject(tag, requeue=True),)
        case Stop() if work.keep_at < math.inf:
            return Idle(), ()  # the broker still has it
        case WentOffline() if work.keep_at < math.inf:
            return Full(work.task, work.keep_at), ()  # likewise
        case WentOffline():
            return replace(work, tag=NO_DELIVERY), ()
        case (
            WentOnline()
            | ConsumerEnded()
            | Published()
            | Unpublished()
            | StartCame()
            | TaskKept()
            | TaskNotKept()
            | ModelMoved()
            | ModelInterrupted()
            | ModelReady()
            | ModelGone()
            | ModelNotKept()
            | TrainingMoved()
            | TrainingDone()
            | TrainingFailed()
            | Stop()
            | Tick()
        ):
            return work, ()
        case unreachable:
            assert_never(unreachable)


def _not_kept(work: Keeping, moment: Moment) -> Step:
    """Hold the delivery and try again; somebody else may have it in the end.

    It is given back once: no other is taken before the disk takes one, or a worker without room
    would bring each task to its delivery limit.
    """
    if work.tag == NO_DELIVERY or work.until <= moment.now:
        given_back = () if work.tag == NO_DELIVERY else (Reject(work.tag, requeue=True),)
        return Full(work.task, moment.after(0, _PROBE_S, _PROBE_MOST_S), 1), given_back
    keep_at = moment.retry_at(work.tries)
    return replace(work, keep_at=keep_at, tries=work.tries + 1), ()


def advance_full(work: Full, event: WorkEvent, moment: Moment) -> Step:
    """What an event does while the disk has no room for a task."""
    match event:
        case TaskKept(kept) if kept == work.task.task_id:
            return Idle(), (DropTask(kept),)
        case TaskNotKept(kept) if kept == work.task.task_id:
            keep_at = moment.after(work.tries, _PROBE_S, _PROBE_MOST_S)
            return replace(work, keep_at=keep_at, tries=work.tries + 1), ()
        case Tick() if work.keep_at <= moment.now:
            return replace(work, keep_at=math.inf), (KeepTask(work.task),)
        case TaskCame(tag):
            return work, (Reject(tag, requeue=True),)
        case Stop():
            return Idle(), ()
        case (
            WentOnline()
            | WentOffline()
            | ConsumerEnded()
            | Published()
            | Unpublished()
            | StartCame()
            | TaskKept()
            | TaskNotKept()
            | ModelMoved()
            | ModelInterrupted()
            | ModelReady()
            | ModelGone()
            | ModelNotKept()
            | TrainingMoved()
            | TrainingDone()
            | TrainingFailed()
            | Tick()
        ):
            return work, ()
        case unreachable:
            assert_never(unreachable)


def not_begun(work: Fetching | Training, tag: int, moment: Moment) -> Step:
    """A task that was begun before it was in the inbox is not taken by the disk: try that first."""
    stop: Actions = (StopFetching(),) if isinstance(work, Fetching) else ()
    again_at = moment.retry_at(0)
    return Keeping(work.task, tag, moment.now + KEEP_S, again_at, tries=1), stop


def say_taken(work: Taking, options: Options, moment: Moment) -> Step:
    """Say `Taken`; it is asked again until a `Start` comes."""
    say_at = moment.after(work.tries, AGAIN_S, AGAIN_MOST_S)
    said = taken(work.task, options, moment)
    return replace(work, say_at=say_at, tries=work.tries + 1), (said,)
