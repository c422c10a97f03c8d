"""Tasks that are begun before they are said to be taken: what `unsaid` means to a session. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from schemas.frozen import replace
from schemas.messages import Start
from worker import assignment, fitness, keeping, unsaid
from worker.events import (
    Actions,
    ModelNotKept,
    Published,
    StopFetching,
    TaskCame,
    Train,
    TrainingFailed,
    TrainingMoved,
    Unpublished,
    WorkEvent,
)
from worker.known import Session, Step, sits_out
from worker.options import Moment
from worker.parcel import Parcel
from worker.states import Declining, Fetching, Idle, Ready, Training, Waiting
from worker.unsaid import Unsaid


def came(session: Session, event: TaskCame, moment: Moment) -> tuple[Session, TaskCame]:
    """A task came, and is begun at once if that may be."""
    tag, task = event.tag, event.task
    start = _start_at_once(session, event, moment)
    if start is None:
        return session, event
    session = replace(session, unsaid=unsaid.begin(task, start, tag, moment.now))
    return session, TaskCame(tag, task, event.known, start)


def _start_at_once(session: Session, came: TaskCame, moment: Moment) -> Start | None:
    """What a task that came is begun on, None if the coordinator is to be asked."""
    task, options = came.task, session.options
    start = unsaid.start_of(session.asking.told, task, moment.now)
    free = isinstance(session.work, Idle | Waiting) and session.unsaid is None
    if start is None or came.known != "new" or not free:
        return None
    fault, _ = fitness.start_fault(task, start, options)
    if fault or fitness.unfit(task, options, moment):
        return None
    return None if sits_out(session, start.run_id, start.base_version, moment) else start


def not_begun(
    session: Session, event: ModelNotKept | TrainingFailed, moment: Moment
) -> Step | None:
    """The disk did not take a task that was begun at once: it is taken as any other.

    None if it is in the inbox by now, or `Taken` was said: then the disk is tried again.
    """
    work, held = session.work, session.unsaid
    if held is None or not is_unsaid(session) or not isinstance(work, Fetching | Training):
        return None
    about_it = not isinstance(event, TrainingFailed) or event.task_id == held.task_id
    if held.stored or held.tries > 0 or not about_it:
        return None
    work, actions = keeping.not_begun(work, held.tag, moment)
    return replace(session, work=work, unsaid=None), actions


def heard(session: Session, start: Start, moment: Moment) -> Step | None:
    """The coordinator answers for a task that was begun before it was asked; None if not for it."""
    held = session.unsaid
    if held is None or held.task_id != start.task_id:
        return None
    now, then = (start.base_version, start.model_digest), held.start
    same = start.wanted and now == (then.base_version, then.model_digest)
    in_hand = assignment.holds(session.work, start.task_id)
    if same and in_hand and isinstance(session.work, Fetching | Ready):
        # It knows better how long the lease is.
        session = replace(session, work=assignment.with_start(session.work, start))
    if same or not in_hand or not held.is_young(moment.now):
        return _step(session, unsaid.heard)
    work, anew = assignment.begin_anew(session.work, start, session.options, moment)
    session = replace(session, work=work)
    if not start.wanted:
        return replace(session, unsaid=None), (*anew, *unsaid.acked(held))
    session = replace(session, unsaid=replace(held, start=start))
    session, actions = _step(session, unsaid.heard)
    return session, (*actions, *anew)


def holds_delivery(session: Session) -> bool:
    """Whether the delivery of a task that was begun at once is still to be acked."""
    return session.unsaid is not None and session.unsaid.tag != unsaid.NO_DELIVERY


def is_unsaid(session: Session) -> bool:
    """Whether that is so of the task in hand."""
    held = session.unsaid
    return (
        held is not None
        and held.tag != unsaid.NO_DELIVERY
        and assignment.holds(session.work, held.task_id)
    )


def _step(session: Session, step: Callable[[Unsaid], tuple[Unsaid | None, Actions]]) -> Step:
    if session.unsaid is None:
        return session, ()
    left, actions = step(session.unsaid)
    return replace(session, unsaid=left), actions


def moved(session: Session, event: WorkEvent) -> Session:
    """A training that has begun, or failed at that, is of a task that the disk has."""
    held = session.unsaid
    if not isinstance(event, TrainingMoved | TrainingFailed) or held is None:
        return session
    refused = isinstance(event, TrainingFailed) and event.kind == "disk"
    if refused or event.task_id != held.task_id:
        return session
    return replace(session, unsaid=replace(held, stored=True))


def marked(session: Session, actions: Actions) -> Actions:
    """What is trained, with whether somebody knows of it."""
    if not is_unsaid(session):
        return actions
    return tuple(
        Train(action.task, action.start, action.deadline_s, said=False)
        if isinstance(action, Train)
        else action
        for action in actions
    )


def wake_at(session: Session) -> float:
    """When to say `Taken`; never of a task that is being given up."""
    if session.unsaid is None or _is_given_up(session):
        return math.inf
    return session.unsaid.say_at


def say(session: Session, moment: Moment) -> Step:
    """Say `Taken` if it is time to."""
    if wake_at(session) > moment.now:
        return session, ()
    return _step(session, lambda held: unsaid.say(held, session.options, moment))


def kept(session: Session, task_id: str) -> Step:
    """The task and what it was begun on are on disk."""
    return _step(session, lambda held: unsaid.kept(held, task_id))


def trained(session: Session, parcel: Parcel, now: float) -> Session:
    """A task has its update."""
    if session.unsaid is None:
        return session
    left = unsaid.trained(session.unsaid, parcel, now)
    return replace(session, unsaid=left)


def went_offline(session: Session) -> Step:
    """The broker has the delivery again; what was not begun yet is nowhere else, and forgotten."""
    held = session.unsaid
    waits = is_unsaid(session) and isinstance(session.work, Fetching | Ready)
    if waits and held is not None and not held.stored:
        return replace(session, work=Idle(), unsaid=None), (StopFetching(),)
    if _is_given_up(session):
        return replace(session, unsaid=None), ()
    return _step(session, unsaid.went_offline)


def _is_given_up(session: Session) -> bool:
    """Whether `Declined` is said instead, which frees the delivery too."""
    held, work = session.unsaid, session.work
    return held is not None and isinstance(work, Declining) and work.task == held.task


def went_online(session: Session, moment: Moment) -> Session:
    """Say it, unless whoever holds the task does."""
    held = session.unsaid
    if held is None:
        return session
    says = isinstance(session.work, Fetching | Ready | Training)
    says = says and assignment.holds(session.work, held.task_id)
    left = unsaid.went_online(held, moment.now) if says else None
    return replace(session, unsaid=left)


def settled(session: Session, event: Published | Unpublished, moment: Moment) -> Step:
    """The broker has something that may say who has the task in hand, or has not."""
    if isinstance(event, Published):
        return _step(session, lambda held: unsaid.published(held, event.ref))
    return _step(session, lambda held: (unsaid.unpublished(held, event.ref, moment), ()))
