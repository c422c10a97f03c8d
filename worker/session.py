"""A worker's session: what it holds, asks and sends, as one pure machine.

    advance(session, event, now, rng) -> (session, actions)
    wake_at(session) -> float | None

It is made of machines that each have a file: `assignment` (the task in hand), `unsaid` (who knows
of it), `sending` (the outbox) and `asking` (how things stand). This one decides what lies between
them, as when a task may be taken; `beginning` what lies between the first two, and `leaving` when
the worker is done. What they are about is in `known`.
"""

from __future__ import annotations

import math
from typing import assert_never

from schemas.frozen import replace
from schemas.messages import Declined, Standing, Start
from worker import asking, assignment, beginning, leaving, owed, sending
from worker.events import (
    Action,
    Actions,
    Consume,
    ConsumerEnded,
    GoAway,
    ModelGone,
    ModelInterrupted,
    ModelMoved,
    ModelNotKept,
    ModelReady,
    NonsenseCame,
    PayloadGone,
    Published,
    Ref,
    Reject,
    Remark,
    Rng,
    Say,
    SendUpdate,
    SessionEvent,
    StandingCame,
    StartCame,
    StartKept,
    Stop,
    StopConsuming,
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
from worker.known import UNHEARD_MAX, Leaving, Left, Session, Staying, Step, presence, sits_out
from worker.options import Moment, Once
from worker.parcel import Parcel, Trained
from worker.states import (
    Declining,
    Full,
    Idle,
    Taking,
    Waiting,
)

_REST_S, _REST_MOST_S = 1.0, 60.0
_SIT_OUT_S, _SIT_OUT_MOST_S = 60.0, 3600.0
_LAST_VERDICTS_S = 10.0  # how long to wait for them once the run is over


def advance(session: Session, event: SessionEvent, now: float, rng: Rng) -> Step:
    """What an event does, and what is to be done, in order."""
    if isinstance(session.phase, Left):
        return session, ()
    session = replace(session, events=session.events + 1, seen_at=now)
    moment = _moment(session, event, now, rng)
    session, first = _take_in(session, event, moment)
    session, second = _follow_up(session, moment)
    session, third = leaving.plan(session, moment)
    return session, (*first, *second, *third)


def wake_at(session: Session) -> float | None:
    """When to send `Tick` at the latest; None if time alone changes nothing."""
    times = [assignment.wake_at(session.work, session.options, session.online)]
    if session.online and isinstance(session.phase, Staying):
        times += [session.asking.ask_at, sending.wake_at(session.sending)]
        times.append(beginning.wake_at(session))
    match session.phase:
        case Staying():
            # What these allow was looked at with every event since: only the future counts.
            edges = (
                session.rest_until,
                session.sat_out_until,
                session.patience_until,
                session.last_call,
                session.owed.until,
                session.offline_at + leaving.LAST_CONNECTION_S,
            )
            times += [edge for edge in edges if edge > session.seen_at]
        case Leaving(until):
            times.append(until)
        case Left():
            return None
        case unreachable:
            assert_never(unreachable)
    earliest = min(times)
    return None if earliest == math.inf else earliest


def _moment(session: Session, event: SessionEvent, now: float, rng: Rng) -> Moment:
    match event:
        case WentOnline():
            online = True
        case WentOffline():
            online = False
        case _:
            online = session.online
    return Moment(now, session.events, rng, online, session.asking.coordinator_s(now))


def _take_in(session: Session, event: SessionEvent, moment: Moment) -> Step:
    match event:
        case WentOnline():
            session = replace(
                session,
                online=True,
                asking=asking.went_online(session.asking, moment.now),
                sending=sending.went_online(session.sending, moment.now),
            )
            return _work(beginning.went_online(session, moment), event, moment)
        case WentOffline():
            session = replace(
                session,
                online=False,
                offline_at=moment.now,
                asking=asking.went_offline(session.asking),
                sending=sending.went_offline(session.sending),
            )
            session, actions = beginning.went_offline(session)
            session, more = _work(session, event, moment)
            return session, (*actions, *more)
        case Published() | Unpublished():
            return _settled(session, event, moment)
        case StandingCame(ref, standing):
            return _stands(session, ref, standing, moment)
        case StartCame(start):
            heard = asking.heard_time(session.asking, start, moment.now)
            return _starts(replace(session, asking=heard), start, moment)
        case TaskCame(tag):
            if not isinstance(session.phase, Staying):
                return session, (Reject(tag, requeue=True),)
            session, event = beginning.came(session, event, moment)
            return _work(session, event, moment)
        case StartKept(task_id):
            return beginning.kept(session, task_id)
        case NonsenseCame(tag, reason):
            return _refuse(session, tag, reason, moment)
        case ConsumerEnded(reason):
            session, actions = _work(_rest(session, moment), event, moment)
            return session, (*actions, Remark("info", f"no tasks to be had: {reason}"))
        case TrainingDone(_, parcel):
            owes, gone = owed.add(session.owed, parcel, moment.now)
            session = replace(_trained(session, parcel, moment), owed=owes)
            session = beginning.trained(session, parcel, moment.now)
            session, actions = _work(session, event, moment)
            return session, (*actions, *_told_of(gone))
        case PayloadGone(update_id, trained):
            return _payload_gone(session, update_id, trained, moment)
        case Stop():
            if isinstance(session.phase, Staying):
                return leaving.leave(session, 0, "told to stop", moment)
            return session, ()
        case ModelNotKept(from_depot=False) | TrainingFailed(kind="disk"):
            return beginning.not_begun(session, event, moment) or _work(session, event, moment)
        case (
            TaskKept()
            | TaskNotKept()
            | ModelMoved()
            | ModelInterrupted()
            | ModelReady()
            | ModelGone()
            | ModelNotKept()
            | TrainingMoved()
            | TrainingFailed()
            | Tick()
        ):
            return _work(session, event, moment)
        case unreachable:
            assert_never(unreachable)


def _work(session: Session, event: WorkEvent, moment: Moment) -> Step:
    session = beginning.moved(session, event)
    before = session.work
    work, actions = assignment.advance(before, event, session.options, moment)
    if work is not before:
        session = replace(session, work=work)
    actions = beginning.marked(session, actions)
    if isinstance(before, Declining) and isinstance(event, Published) and work == Idle():
        session = _declined(session, before, moment)
    ended = isinstance(before, Taking | Full) or isinstance(event, TrainingFailed)
    if ended and work == Idle():  # not wanted any more, or room again
        session = _free_again(session, moment)
    return session, actions


def _free_again(session: Session, moment: Moment) -> Session:
    """What is behind the task in the pool may be wanted."""
    session = replace(session, asking=asking.ask_again(session.asking, moment.now))
    return _patient(session, moment)


def _starts(session: Session, start: Start, moment: Moment) -> Step:
    """Begin, unless the last training on that very version failed here a short while ago.

    A worker that takes from the pool takes none while that is so. One that is chosen cannot say
    so before, and its slot is wanted for another.
    """
    answered = beginning.heard(session, start, moment)
    if answered is not None:
        gone = isinstance(answered[0].work, Idle) and not isinstance(session.work, Idle)
        return (_free_again(answered[0], moment), answered[1]) if gone else answered
    held = assignment.task(session.work)
    trains = held is not None and held.kind == "train" and start.task_id == held.task_id
    failed = sits_out(session, start.run_id, start.base_version, moment)
    if not (trains and start.wanted and failed):
        return _work(session, StartCame(start), moment)
    reason = f"version {start.base_version} could not be trained on here before"
    work, actions = assignment.give_up(session.work, reason, session.options, moment, None)
    return replace(session, work=work), actions


def _declined(session: Session, given_up: Declining, moment: Moment) -> Session:
    in_a_row, sit_out = session.rests, given_up.sit_out
    session = _rest(session, moment)
    session = replace(session, asking=asking.ask_again(session.asking, session.rest_until))
    if sit_out is None or in_a_row < sit_out.after:
        return _patient(session, moment)
    again_at = moment.after(session.sat_outs, _SIT_OUT_S, _SIT_OUT_MOST_S)
    return replace(
        session,
        sat_out=sit_out,
        sat_out_until=math.inf if sit_out.for_good else again_at,
        sat_outs=session.sat_outs + 1,
        tasks_done=session.tasks_done + 1,
        failure=given_up.reason,
    )


def _rest(session: Session, moment: Moment) -> Session:
    """Leave a pause before the next task; longer each time."""
    until = moment.after(session.rests, _REST_S, _REST_MOST_S)
    return replace(session, rests=session.rests + 1, rest_until=until)


def _patient(session: Session, moment: Moment) -> Session:
    """For `Once`: something happened that is worth some more waiting."""
    plan = session.options.plan
    if not isinstance(plan, Once):
        return session
    return replace(session, patience_until=max(session.patience_until, moment.now + plan.wait_s))


def _trained(session: Session, parcel: Parcel, moment: Moment) -> Session:
    session = _patient(session, moment)
    return replace(
        session,
        # What was allowed while it trained was so before this version was trained on.
        asking=asking.ask_again(session.asking, moment.now),
        sending=sending.add(session.sending, parcel, moment),
        trained=_last_trained(session.trained, parcel),
        tasks_done=session.tasks_done + 1,
        failure="",
        rests=0,
        sat_outs=0,
    )


def _told_of(gone: str) -> Actions:
    """Of an update nothing is kept: a verdict that comes later finds nothing."""
    if not gone:
        return ()
    text = f"what update {gone} left out is not sent any more: it has no verdict after a long time"
    return (Remark("warning", f"{text}; `fedmq explain {gone[:8]}` may say why"),)


def _last_trained(last: Trained, parcel: Parcel) -> Trained:
    if parcel.kind != "train":
        return last
    version = parcel.base_version
    if (parcel.run_id, parcel.incarnation) == (last.run_id, last.incarnation):
        version = max(version, last.version)
    return Trained(parcel.run_id, version, parcel.incarnation)


def _payload_gone(session: Session, update_id: str, trained: Trained, moment: Moment) -> Step:
    """An update cannot be sent any more: its task is given up, its version may be tried again."""
    parcel = sending.parcel(session.sending, update_id)
    left, actions = sending.lost(session.sending, update_id)
    owes = owed.settle(session.owed, update_id)
    session = replace(session, sending=left, trained=trained, owed=owes)
    session = replace(session, asking=asking.ask_again(session.asking, moment.now))
    if parcel is None or not moment.online:
        return session, actions  # its lease ends, and says the same
    reason = "its update was lost by the disk"
    declined = Declined(
        parcel.run_id, parcel.task_id, session.options.worker_id, parcel.incarnation, reason
    )
    return session, (*actions, Say(Ref("declined", parcel.task_id, 0, moment.serial), declined))


def _refuse(session: Session, tag: int, reason: str, moment: Moment) -> Step:
    """What cannot be read goes to the dead letters, where the coordinator finds it."""
    session = _rest(session, moment)
    stop: Actions = ()
    if isinstance(session.work, Waiting):  # before it is settled, or the next would be on its way
        session, stop = replace(session, work=Idle()), (StopConsuming(),)
    remark = Remark("error", f"a task that cannot be read was put aside: {reason}")
    return session, (*stop, Reject(tag, requeue=False), remark)


def _settled(session: Session, event: Published | Unpublished, moment: Moment) -> Step:
    ref = event.ref
    match ref.about:
        case "taken" | "declined":
            session, actions = beginning.settled(session, event, moment)
            session, more = _work(session, event, moment)
            return session, (*more, *actions)
        case "part" | "object" | "update":
            session, actions = beginning.settled(session, event, moment)
            session, more = _shipped(session, event, moment)
            return session, (*more, *actions)
        case "presence":
            phase = session.phase
            if isinstance(phase, Leaving) and phase.goodbye == ref:
                session = replace(
                    session, phase=Leaving(phase.until, phase.code, phase.reason, None)
                )
            if isinstance(event, Unpublished):
                not_asked = asking.not_asked(session.asking, ref, moment)
                session = replace(session, asking=not_asked)
            return session, ()
        case unreachable:
            assert_never(unreachable)


def _shipped(session: Session, event: Published | Unpublished, moment: Moment) -> Step:
    ref = event.ref
    if isinstance(event, Unpublished):
        left, actions = sending.unpublished(session.sending, ref, moment)
        remark = Remark("warning", f"update {ref.subject} is sent again: {event.reason}")
        session = replace(session, sending=left)
        if ref == session.asking.question:  # nobody answers it
            session = replace(session, asking=asking.ask_again(session.asking, moment.now))
        return session, (*actions, remark)
    left, actions = sending.published(session.sending, ref, moment)
    session = replace(session, sending=left)
    if actions:  # a whole update is in the broker's hands
        unheard = (ref.subject, *session.unheard)[:UNHEARD_MAX]
        session = replace(session, unheard=unheard)
    return session, actions


def _stands(session: Session, ref: Ref, standing: Standing, moment: Moment) -> Step:
    heard = asking.heard(session.asking, ref, standing, session.options, moment)
    left, actions = sending.stands(session.sending, standing, moment)
    stored = session.options.has_depot and standing.takes_stored
    stored_from = session.options.depot_min_bytes if stored else None
    left = replace(left, stored_from=stored_from)
    unheard = tuple(one for one in session.unheard if one not in standing.verdicts)
    owes = owed.settle(session.owed, *standing.verdicts)
    session = replace(session, asking=heard, sending=left, unheard=unheard, owed=owes)
    if not heard.run_is_over:
        session, more = _go_away(replace(session, last_call=math.inf), moment)
        return session, (*actions, *more)
    if session.last_call == math.inf:
        session = replace(session, last_call=moment.now + _LAST_VERDICTS_S)
    task = assignment.task(session.work)
    if task is None or task.run_id != standing.run_id:
        return session, actions
    reason = f"the run is over ({standing.state})"
    work, more = assignment.give_up(session.work, reason, session.options, moment, None)
    return replace(session, work=work), (*actions, *more)


def _go_away(session: Session, moment: Moment) -> Step:
    """Do as told and come back later, unless something is open; then the next answer counts."""
    away_s, options = session.asking.away_s, session.options
    open_here = assignment.task(session.work) is not None or session.sending.shipments
    stays = isinstance(options.plan, Once) or not isinstance(session.phase, Staying)
    if not away_s or open_here or stays or not moment.online:
        return session, ()
    stop: Actions = (StopConsuming(),) if isinstance(session.work, Waiting) else ()
    session = replace(session, work=Idle() if stop else session.work)
    return session, (*stop, GoAway(away_s))


def _follow_up(session: Session, moment: Moment) -> Step:
    """Send, ask and take, as far as it is time to."""
    if not isinstance(session.phase, Staying) or not moment.online:
        return session, ()
    actions: list[Action] = []
    left, sent = sending.pump(session.sending, moment)
    if left is not session.sending:
        session = replace(session, sending=left)
    actions += sent
    session, said = beginning.say(session, moment)
    actions += said
    for action in sent:
        if isinstance(action, SendUpdate):
            told = asking.asked_by_update(session.asking, action.ref, moment)
            session = replace(session, asking=told)
    if session.asking.ask_at <= moment.now:
        say = presence(session, moment, leaving=False)
        session = replace(session, asking=asking.asked(session.asking, say.ref, moment))
        actions.append(say)
    session, more = _consume_or_not(session, moment)
    return session, (*actions, *more)


def _consume_or_not(session: Session, moment: Moment) -> Step:
    wanted = Waiting(session.asking.queue) if _wants_task(session, moment) else Idle()
    work = session.work
    if not isinstance(work, Idle | Waiting) or work == wanted:
        return session, ()
    stop: Actions = (StopConsuming(),) if isinstance(work, Waiting) else ()
    begin: Actions = (Consume(wanted.queue),) if isinstance(wanted, Waiting) else ()
    return replace(session, work=wanted), (*stop, *begin)


def _wants_task(session: Session, moment: Moment) -> bool:
    """Whether the coordinator allows a task and one is of use."""
    asked, options = session.asking, session.options
    return (
        asked.may_take
        and not asked.run_is_over
        and moment.now >= session.rest_until
        and not _avoids_pool(session, moment)
        and not outbox_is_full(session)
        and not beginning.holds_delivery(session)  # one at a time
        and not owed.holds_back(session.owed, asked.run_id, asked.incarnation, moment.now)
        and not (isinstance(options.plan, Once) and session.tasks_done > 0)
    )


def _avoids_pool(session: Session, moment: Moment) -> bool:
    """Whether a task of the pool would be one for the version that is sat out."""
    asked = session.asking
    return asked.queue == "pool" and sits_out(session, asked.run_id, asked.version, moment)


def outbox_is_full(session: Session) -> bool:
    """Whether no task is taken until the outbox has been emptied."""
    options, held = session.options, session.sending
    return (
        held.payload_bytes >= options.outbox_bytes_max
        or len(held.shipments) >= options.outbox_updates_max
    )
