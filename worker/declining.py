"""Giving a task up: `Declined` is said until the broker has it, then the task is let go of. Pure.

The inbox row goes only after the decline is confirmed, and only then is the delivery acked.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import assert_never

from schemas.messages import Declined, Task
from worker.events import (
    Ack,
    Actions,
    ConsumerEnded,
    DropTask,
    ModelGone,
    ModelInterrupted,
    ModelMoved,
    ModelNotKept,
    ModelReady,
    Published,
    Ref,
    Reject,
    Say,
    StartCame,
    Stop,
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
from worker.options import Moment, Options
from worker.states import Declining, Idle, SitOut, Step
from worker.unsaid import NO_DELIVERY

_REASON_CHARS = 400


def advance(work: Declining, event: WorkEvent, options: Options, moment: Moment) -> Step:
    """What an event does to a task that is given up."""
    this = work.task.task_id
    match event:
        case Published(Ref("declined", about)) if about == this:
            return Idle(), (DropTask(this), *acked(work.tag))
        case Unpublished(Ref("declined", about)) if about == this:
            at = moment.retry_at(work.tries)
            return replace(work, say_at=at), ()
        case WentOnline():
            return _declined(replace(work, tries=0), options, moment)
        case WentOffline():
            return replace(work, tag=NO_DELIVERY, say_at=math.inf), ()
        case Tick() if moment.online and work.say_at <= moment.now:
            return _declined(work, options, moment)
        case TaskCame(tag):
            return work, (Reject(tag, requeue=True),)
        case (
            ConsumerEnded()
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


def decline(
    task: Task,
    tag: int,
    reason: str,
    options: Options,
    moment: Moment,
    sit_out: SitOut | None,
) -> Step:
    """Give a task up, for a reason that the coordinator is told."""
    reason = reason[:_REASON_CHARS]
    declining = Declining(task, tag, reason, math.inf, sit_out=sit_out)
    return _declined(declining, options, moment) if moment.online else (declining, ())


def _declined(work: Declining, options: Options, moment: Moment) -> Step:
    task = work.task
    message = Declined(task.run_id, task.task_id, options.worker_id, task.incarnation, work.reason)
    ref = Ref("declined", task.task_id, 0, moment.serial)
    # Every publish ends in a confirm or in one of its opposites, which sets the time to retry.
    return replace(work, say_at=math.inf, tries=work.tries + 1), (Say(ref, message),)


def acked(tag: int) -> Actions:
    """Settle a delivery, if there is one."""
    return () if tag == NO_DELIVERY else (Ack(tag),)
