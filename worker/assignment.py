"""The task in hand, from delivery to the end of training. Pure.

    Idle ◀──▶ Waiting ──task──▶ Keeping ──on disk──▶ Taking ──start──▶ Fetching ──model──▶ Ready
     ▲                                                  ▲                  │                 │ ▲
     │                                                  ╰── offline ───────╯                 ▼ │
     ├──────────────────────────────────────────────── done ───────────────────────────── Training
     ╰── Declining ◀── (any state: expired, model gone, crashed 3 times, shutting down …)

Taking a task up (`Keeping`, `Full`) is in `keeping`, giving one up in `declining`, and what can be
done here at all in `fitness`.

Rules:

- A delivery is acked only when the task is in the inbox *and* the broker or the coordinator has
  our `Taken`, or when the broker has our `Declined`, or when the task was done before. That of a
  task which is begun at once (`Waiting` to `Fetching`) is acked by `unsaid`.
- At most one training is under way, and it is never begun a fourth time.
- Without a connection everything after `Ready` goes on; everything before waits.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import assert_never

from schemas.messages import Start, Task
from worker import declining, fitness, keeping
from worker.events import (
    Ack,
    Actions,
    CancelTraining,
    ConsumerEnded,
    DropTask,
    Fetch,
    KeepTask,
    KillTraining,
    ModelGone,
    ModelInterrupted,
    ModelMoved,
    ModelNotKept,
    ModelReady,
    Published,
    Ref,
    Reject,
    Remark,
    StartCame,
    Stop,
    StopConsuming,
    StopFetching,
    TaskCame,
    TaskKept,
    TaskNotKept,
    Tick,
    Train,
    TrainingDone,
    TrainingFailed,
    TrainingMoved,
    Unpublished,
    WentOffline,
    WentOnline,
    WorkEvent,
)
from worker.options import ATTEMPTS_MAX, Moment, Options
from worker.states import (
    Declining,
    Fetching,
    Full,
    Idle,
    Keeping,
    Ready,
    SitOut,
    Step,
    Taking,
    Training,
    Waiting,
    Work,
)
from worker.unsaid import NO_DELIVERY

SILENCE_S = 20.0  # of a model's stream, before it counts as gone
MISSES = 3  # of a model in the depot; then its version is left alone for a while
DEPOT_SILENCE_S = 900.0  # a request there has a limit of its own, and is tried again
_FETCH_S = 600.0  # how long a model is tried to be kept if the lease is unknown


def advance(work: Work, event: WorkEvent, options: Options, moment: Moment) -> Step:
    """What an event does to the task in hand, and what is to be done."""
    if isinstance(event, TrainingDone) and holds(work, event.task_id):
        return Idle(), ()
    match work:
        case Idle() | Waiting():
            return _free(work, event, moment)
        case Keeping():
            return keeping.advance(work, event, options, moment)
        case Full():
            return keeping.advance_full(work, event, moment)
        case Taking():
            return _taking(work, event, options, moment)
        case Fetching():
            return _fetching(work, event, options, moment)
        case Ready():
            return _ready(work, event, options, moment)
        case Training():
            return _training(work, event, options, moment)
        case Declining():
            return declining.advance(work, event, options, moment)
        case unreachable:
            assert_never(unreachable)


def resume(
    task: Task,
    start: Start | None,
    attempts: int,
    is_ready: bool,
    options: Options,
    now: float,
) -> Work:
    """Where to go on with what the inbox holds at start."""
    if attempts >= ATTEMPTS_MAX:
        reason = f"crashed {attempts} times on it"
        sit_out = None
        if start is not None and task.kind == "train":
            sit_out = SitOut(task.run_id, start.base_version, for_good=False)
        return Declining(task, NO_DELIVERY, reason, math.inf, sit_out=sit_out)
    if start is not None and is_ready:
        return Ready(task, start, attempts, now, None)
    return Taking(task, NO_DELIVERY, attempts, math.inf)


def task(work: Work) -> Task | None:
    """The task in hand."""
    match work:
        case Idle() | Waiting() | Full():
            return None
        case Keeping() | Taking() | Fetching() | Ready() | Training() | Declining():
            return work.task
        case unreachable:
            assert_never(unreachable)


def holds(work: Work, task_id: str) -> bool:
    """Whether a task is the one in hand."""
    held = task(work)
    return held is not None and held.task_id == task_id


def give_up(
    work: Work, reason: str, options: Options, moment: Moment, sit_out: SitOut | None
) -> Step:
    """Decline the task in hand, whatever state it is in."""
    match work:
        case Idle() | Waiting() | Full() | Declining():
            return work, ()
        case Keeping() | Taking():
            return declining.decline(work.task, work.tag, reason, options, moment, sit_out)
        case Fetching():
            step = declining.decline(work.task, NO_DELIVERY, reason, options, moment, sit_out)
            return step[0], (StopFetching(), *step[1])
        case Ready():
            return declining.decline(work.task, NO_DELIVERY, reason, options, moment, sit_out)
        case Training():
            step = declining.decline(work.task, NO_DELIVERY, reason, options, moment, sit_out)
            return step[0], (*_cancelled(work, forgive=False), *step[1])
        case unreachable:
            assert_never(unreachable)


def wake_at(work: Work, options: Options, online: bool) -> float:
    """When time alone changes something."""
    match work:
        case Idle() | Waiting():
            return math.inf
        case Keeping() | Full():
            return work.keep_at
        case Taking() | Declining():
            return work.say_at if online else math.inf
        case Fetching():
            return min(work.heard_at + _silence_s(work.start), work.fetch_at)
        case Ready():
            return work.at
        case Training():
            return work.alive_at + (options.train_timeout_s or math.inf)
        case unreachable:
            assert_never(unreachable)


def _free(work: Idle | Waiting, event: WorkEvent, moment: Moment) -> Step:
    match event:
        case TaskCame(tag, task, "open" | "done"):
            # Its update is in the outbox or was in safe hands: that is the answer.
            return Idle(), (*_no_more(work), Ack(tag))
        case TaskCame(tag, task, _, start):
            if start is not None:
                step = _fetch(task, start, 0, moment.now, moment)
                return step[0], (*_no_more(work), *step[1])
            held = keeping.begin(task, tag, moment)
            return held, (*_no_more(work), KeepTask(task))
        case ConsumerEnded() | WentOffline():
            return Idle(), ()
        case Stop():
            return Idle(), _no_more(work)
        case (
            WentOnline()
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


def _no_more(work: Idle | Waiting) -> Actions:
    """End the consumer; before a delivery is settled, or the next would be on its way."""
    return (StopConsuming(),) if isinstance(work, Waiting) else ()


def _taking(work: Taking, event: WorkEvent, options: Options, moment: Moment) -> Step:
    this = work.task.task_id
    match event:
        case Published(Ref("taken", about)) if about == this:
            return replace(work, tag=NO_DELIVERY), declining.acked(work.tag)
        case Unpublished(Ref("taken", about)) if about == this:
            at = moment.retry_at(work.tries)
            return replace(work, say_at=at), ()
        case StartCame(start) if start.task_id == this:
            # The coordinator has our `Taken`: more than a confirm of the broker.
            step = _started(replace(work, tag=NO_DELIVERY), start, options, moment)
            return step[0], (*declining.acked(work.tag), *step[1])
        case WentOnline():
            return keeping.say_taken(replace(work, tries=0), options, moment)
        case WentOffline():
            return replace(work, tag=NO_DELIVERY, say_at=math.inf), ()
        case Tick() if moment.online and work.say_at <= moment.now:
            return keeping.say_taken(work, options, moment)
        case TaskCame(tag, task) if task.task_id == this and work.tag == NO_DELIVERY:
            return replace(work, tag=tag, say_at=moment.now), ()
        case TaskCame(tag):
            return work, (Reject(tag, requeue=True),)
        case Stop() if moment.online:
            return give_up(work, "shutting down", options, moment, None)
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


def _started(work: Taking, start: Start, options: Options, moment: Moment) -> Step:
    task = work.task
    if not start.wanted:
        return Idle(), (DropTask(task.task_id),)
    reason, for_good = fitness.start_fault(task, start, options)
    if reason:
        sit_out = SitOut(task.run_id, start.base_version, for_good=True) if for_good else None
        return declining.decline(task, NO_DELIVERY, reason, options, moment, sit_out)
    return _fetch(task, start, work.attempts, moment.now, moment)


def with_start(work: Fetching | Ready, start: Start) -> Work:
    """The same task and version, with what the coordinator says of it now."""
    return replace(work, start=start)


def begin_anew(work: Work, start: Start, options: Options, moment: Moment) -> Step:
    """The task was begun on what the coordinator had told, and it says something else now."""
    match work:
        case Fetching() | Ready():
            stop: Actions = (StopFetching(),) if isinstance(work, Fetching) else ()
            taking = Taking(work.task, NO_DELIVERY, work.attempts, math.inf)
            step = _started(taking, start, options, moment)
            return step[0], (*stop, *step[1])
        case Training():
            # Cancelled, it is killed if it does not end in time: that is not looked at here.
            cancelled = replace(work, instead=start, alive_at=math.inf)
            return cancelled, _cancelled(work, forgive=True)
        case _:
            return work, ()


def _fetch(task: Task, start: Start, attempts: int, since: float | None, moment: Moment) -> Step:
    until = moment.now + _FETCH_S if since is None else since + start.lease_s
    fetching = Fetching(task, start, attempts, moment.now, math.inf, since, until)
    return fetching, (Fetch(start),)


def _missed(work: Fetching) -> SitOut | None:
    """A depot that has no model again and again may be another than the coordinator's."""
    if not work.start.stored or work.task.kind != "train":
        return None
    return SitOut(work.task.run_id, work.start.base_version, for_good=False, after=MISSES)


def _silence_s(start: Start) -> float:
    return DEPOT_SILENCE_S if start.stored else SILENCE_S


def _fetching(work: Fetching, event: WorkEvent, options: Options, moment: Moment) -> Step:
    match event:
        case ModelMoved():
            return replace(work, heard_at=moment.now, told=False), ()
        case ModelInterrupted():
            return replace(work, fetch_at=moment.retry_at(0)), ()
        case ModelReady(digest) if digest == work.start.model_digest:
            ready = Ready(work.task, work.start, work.attempts, moment.now, work.since)
            return _begin(ready, moment)
        case ModelGone(digest, reason) if digest == work.start.model_digest:
            return give_up(work, f"model gone: {reason}", options, moment, _missed(work))
        case ModelNotKept(digest) if digest == work.start.model_digest:
            return _model_not_kept(work, event, options, moment)
        case Tick() if work.heard_at + _silence_s(work.start) <= moment.now:
            what = "not kept" if work.start.stored else "gone"  # a depot may hang and have it
            reason = f"model {what}: silence of {_silence_s(work.start):.0f} s"
            return give_up(work, reason, options, moment, None)
        case Tick() if work.fetch_at <= moment.now:
            heard_at = min(work.heard_at, moment.now)
            return replace(work, heard_at=heard_at, fetch_at=math.inf), (Fetch(work.start),)
        case WentOffline():
            return Taking(work.task, NO_DELIVERY, work.attempts, math.inf), (StopFetching(),)
        case TaskCame(tag):
            return work, (Reject(tag, requeue=True),)
        case Stop():
            return give_up(work, "shutting down", options, moment, None)
        case (
            WentOnline()
            | ConsumerEnded()
            | Published()
            | Unpublished()
            | StartCame()
            | TaskKept()
            | TaskNotKept()
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


def _model_not_kept(work: Fetching, event: ModelNotKept, options: Options, moment: Moment) -> Step:
    """Try again until the lease ends, and tell somebody why once, or nobody could mend it."""
    if work.until <= moment.now:
        return give_up(work, f"model not kept: {event.reason}", options, moment, None)
    fetch_at = moment.retry_at(work.tries)
    again = replace(work, heard_at=math.inf, fetch_at=fetch_at, tries=work.tries + 1, told=True)
    if work.told:
        return again, ()
    what, where = "not kept here", "the room on the disk of the state folder"
    if event.from_depot:
        what = "not read from the depot"
        where = "depot.url and depot.credentials, and whether this worker may read there"
    return again, (
        Remark(
            "warning",
            f"a model is {what} ({event.reason}); trying again in {fetch_at - moment.now:.0f} s, "
            f"later each time, until its lease ends; look at {where}",
        ),
    )


def _ready(work: Ready, event: WorkEvent, options: Options, moment: Moment) -> Step:
    match event:
        case Tick() if work.at <= moment.now:
            return _begin(work, moment)
        case TaskCame(tag):
            return work, (Reject(tag, requeue=True),)
        case Stop() if moment.online and work.attempts == 0:
            return give_up(work, "shutting down", options, moment, None)
        case Stop():
            # Begun once, it is kept: what ended the training may have been the shutdown itself.
            return replace(work, at=math.inf), ()
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


def _begin(work: Ready, moment: Moment) -> Step:
    deadline_s = None
    if work.since is not None:
        deadline_s = max(0.0, work.start.lease_s - (moment.now - work.since))
    training = Training(work.task, work.start, work.attempts + 1, math.inf, work.since, work.waits)
    return training, (Train(work.task, work.start, deadline_s),)


def _training(work: Training, event: WorkEvent, options: Options, moment: Moment) -> Step:
    this = work.task.task_id
    match event:
        case TrainingMoved(about) if about == this and work.instead is None:
            return replace(work, alive_at=moment.now), ()
        case TrainingFailed(about) if about == this and work.instead is not None:
            # One that failed before it could be cancelled counts.
            attempts = work.attempts - (event.kind == "cancelled")
            taking = Taking(work.task, NO_DELIVERY, attempts, math.inf)
            return (
                _started(taking, work.instead, options, moment) if moment.online else (taking, ())
            )
        case TrainingFailed(about) if about == this:
            return _failed(work, event, options, moment)
        case Tick() if _hangs(work, options, moment.now):
            # `TrainingFailed` follows; until then it is not killed again.
            return replace(work, alive_at=math.inf), (KillTraining(this),)
        case TaskCame(tag):
            return work, (Reject(tag, requeue=True),)
        case Stop():
            kept = Ready(work.task, work.start, work.attempts - 1, math.inf, None)
            return kept, _cancelled(work, forgive=True)
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


def _cancelled(work: Training, *, forgive: bool) -> Actions:
    """End a training, unless that was said already."""
    if work.instead is not None:
        return ()
    return (CancelTraining(work.task.task_id, forgive),)


def _hangs(work: Training, options: Options, now: float) -> bool:
    return options.train_timeout_s > 0 and work.alive_at + options.train_timeout_s <= now


def _failed(work: Training, event: TrainingFailed, options: Options, moment: Moment) -> Step:
    task, start, attempts = work.task, work.start, work.attempts
    sit_out = None
    if task.kind == "train":  # who cannot evaluate a version may still train on it
        sit_out = SitOut(task.run_id, start.base_version, for_good=event.kind == "unfit")
    match event.kind:
        case "disk":
            # Not begun, so no attempt: the disk may have room again, the learner did no wrong.
            at = moment.retry_at(work.waits)
            return Ready(task, start, attempts - 1, at, work.since, work.waits + 1), ()
        case "unfit":
            return declining.decline(task, NO_DELIVERY, event.reason, options, moment, sit_out)
        case "crash" | "model" | "cancelled" if attempts >= ATTEMPTS_MAX:
            reason = f"crashed {attempts} times on it: {event.reason}"
            return declining.decline(task, NO_DELIVERY, reason, options, moment, sit_out)
        case "crash" | "cancelled":
            at = moment.retry_at(attempts - 1)
            return Ready(task, start, attempts, at, work.since), ()
        case "model" if moment.online:
            return _fetch(task, start, attempts, work.since, moment)
        case "model":
            return Taking(task, NO_DELIVERY, attempts, math.inf), ()
        case unreachable:
            assert_never(unreachable)
