"""A worker's session: what it holds, asks and sends, as one pure machine.

    advance(session, event, now, rng) -> (session, actions)
    wake_at(session) -> float | None

It is made of machines that each have a file: `assignment` (the task in hand), `unsaid` (who knows
of it), `sending` (the outbox) and `asking` (how things stand). This one decides what lies between
them: when a task may be taken, when the worker is done, and how it leaves.

    Staying ──(stop, or done as planned)──▶ Leaving ──(goodbye said, or no time left)──▶ Left
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from schemas.frozen import replace
from schemas.messages import NAMES_MAX, Declined, Presence, Standing, Start, Task
from worker import asking, assignment, owed, sending, unsaid
from worker.asking import Asking
from worker.events import (
    Action,
    Actions,
    Consume,
    ConsumerEnded,
    GoAway,
    Leave,
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
from worker.options import Forever, Moment, Once, Options, UntilRunEnds
from worker.owed import Left as LeftBehind
from worker.owed import Owed
from worker.parcel import NOTHING_TRAINED, Parcel, Trained
from worker.sending import Sending
from worker.states import (
    Declining,
    Fetching,
    Full,
    Idle,
    Keeping,
    Ready,
    SitOut,
    Taking,
    Training,
    Waiting,
    Work,
)
from worker.unsaid import Unsaid

_REST_S, _REST_MOST_S = 1.0, 60.0
_SIT_OUT_S, _SIT_OUT_MOST_S = 60.0, 3600.0
_LAST_VERDICTS_S = 10.0  # how long to wait for them once the run is over
_LAST_CONNECTION_S = 60.0  # how long, then, to wait for a broker that is gone
UNHEARD_MAX = 32
"""Updates out of the outbox of which the verdict is still asked for."""


@dataclass(frozen=True, slots=True)
class Staying:
    """At work."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Saying goodbye.

    Attributes:
        until: When to leave whatever is still in flight.
        goodbye: The last presence, while it is in flight.
    """

    until: float
    code: int
    reason: str
    goodbye: Ref | None


@dataclass(frozen=True, slots=True)
class Left:
    """Over; nothing is done any more."""


@dataclass(frozen=True)
class Session:
    """All that a worker knows while it runs. Build it with `begin`.

    Attributes:
        events: How many there were.
        unsaid: The task in hand, or done a moment ago, if nobody knows yet that it is here.
        unheard: Updates out of the outbox whose verdict is not known yet, the newest first.
        owed: Updates that left numbers, and have no verdict.
        trained: Run, and newest version trained on in it.
        sat_out: Run and version that training failed on, or that was not found; not tried again
            before `sat_out_until`.
        sat_outs: Versions that were sat out since the last training that was done.
        rest_until: No task is taken before.
        rests: Tasks given up, or consumers lost, in a row.
        patience_until: For `Once`: when to stop waiting for broker or task.
        tasks_done: Tasks of this session that were seen through.
        failure: Why the last task could not be done, "" if it could.
        last_call: Until when verdicts are waited for once the run is over.
        offline_at: When the connection was last lost.
        seen_at: When the last event was.
    """

    options: Options
    work: Work
    sending: Sending
    patience_until: float
    asking: Asking = field(default_factory=Asking)
    phase: Staying | Leaving | Left = field(default_factory=Staying)
    online: bool = False
    events: int = 0
    unsaid: Unsaid | None = None
    unheard: tuple[str, ...] = ()
    owed: Owed = field(default_factory=Owed)
    trained: Trained = NOTHING_TRAINED
    sat_out: SitOut | None = None
    sat_out_until: float = math.inf
    sat_outs: int = 0
    rest_until: float = 0.0
    rests: int = 0
    tasks_done: int = 0
    failure: str = ""
    last_call: float = math.inf
    offline_at: float = -math.inf
    seen_at: float = -math.inf


Step = tuple[Session, Actions]


def begin(
    options: Options,
    now: float,
    held: tuple[Task, Start | None, int, bool] | None = None,
    parcels: tuple[Parcel, ...] = (),
    unheard: tuple[str, ...] = (),
    trained: Trained = NOTHING_TRAINED,
    left: tuple[LeftBehind, ...] = (),
) -> Session:
    """A session that goes on where the store left off.

    Args:
        options: What it goes by.
        now: Monotonic seconds.
        held: The inbox: task, start, attempts, and whether it can go on from there: the start's
            model is in the cache, and somebody knows that the task is here.
        parcels: The outbox.
        unheard: Updates out of the outbox whose verdict is not known.
        trained: Run last worked for and newest version trained on in it.
        left: Updates that left numbers, and have no verdict.
    """
    plan = options.plan
    return Session(
        options=options,
        work=Idle() if held is None else assignment.resume(*held, options, now),
        sending=sending.begin(parcels),
        patience_until=now + plan.wait_s if isinstance(plan, Once) else math.inf,
        unheard=unheard,
        owed=owed.begin(left, now),
        trained=trained,
    )


def advance(session: Session, event: SessionEvent, now: float, rng: Rng) -> Step:
    """What an event does, and what is to be done, in order."""
    if isinstance(session.phase, Left):
        return session, ()
    session = replace(session, events=session.events + 1, seen_at=now)
    moment = _moment(session, event, now, rng)
    session, first = _take_in(session, event, moment)
    session, second = _follow_up(session, moment)
    session, third = _plan(session, moment)
    return session, (*first, *second, *third)


def wake_at(session: Session) -> float | None:
    """When to send `Tick` at the latest; None if time alone changes nothing."""
    times = [assignment.wake_at(session.work, session.options, session.online)]
    if session.online and isinstance(session.phase, Staying):
        times += [session.asking.ask_at, sending.wake_at(session.sending)]
        times.append(math.inf if session.unsaid is None else session.unsaid.say_at)
    match session.phase:
        case Staying():
            # What these allow was looked at with every event since: only the future counts.
            edges = (
                session.rest_until,
                session.sat_out_until,
                session.patience_until,
                session.last_call,
                session.owed.until,
                session.offline_at + _LAST_CONNECTION_S,
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
            return _work(_unsaid_online(session, moment), event, moment)
        case WentOffline():
            session = replace(
                session,
                online=False,
                offline_at=moment.now,
                asking=asking.went_offline(session.asking),
                sending=sending.went_offline(session.sending),
            )
            session, actions = _unsaid_offline(session)
            session, more = _work(session, event, moment)
            return session, (*actions, *more)
        case Published() | Unpublished():
            return _settled(session, event, moment)
        case StandingCame(ref, standing):
            return _stands(session, ref, standing, moment)
        case StartCame(start):
            heard = asking.heard_time(session.asking, start, moment.now)
            return _starts(replace(session, asking=heard), start, moment)
        case TaskCame(tag, task, known):
            if not isinstance(session.phase, Staying):
                return session, (Reject(tag, requeue=True),)
            known_start = _at_once(session, event, moment)
            if known_start is not None:
                begun = unsaid.begin(task, known_start, tag, moment.now)
                session = replace(session, unsaid=begun)
            return _work(session, TaskCame(tag, task, known, known_start), moment)
        case StartKept(task_id):
            return _with_unsaid(session, lambda held: unsaid.kept(held, task_id))
        case NonsenseCame(tag, reason):
            return _refuse(session, tag, reason, moment)
        case ConsumerEnded(reason):
            session, actions = _work(_rest(session, moment), event, moment)
            return session, (*actions, Remark("info", f"no tasks to be had: {reason}"))
        case TrainingDone(_, parcel):
            owes, gone = owed.add(session.owed, parcel, moment.now)
            session = replace(_trained(session, parcel, moment), owed=owes)
            if session.unsaid is not None:
                left = unsaid.trained(session.unsaid, parcel.task_id, parcel.update_id)
                session = replace(session, unsaid=left)
            session, actions = _work(session, event, moment)
            return session, (*actions, *_told_of(gone))
        case PayloadGone(update_id, trained):
            return _payload_gone(session, update_id, trained, moment)
        case Stop():
            if isinstance(session.phase, Staying):
                return _leave(session, 0, "told to stop", moment)
            return session, ()
        case ModelNotKept(from_depot=False) | TrainingFailed(kind="disk") if _is_unsaid(session):
            assert session.unsaid is not None
            return _not_begun(session, session.unsaid, event, moment)
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
    held = session.unsaid
    failed = isinstance(event, TrainingFailed) and event.kind != "disk"
    if held is not None and (failed or isinstance(event, TrainingMoved)) and _is_unsaid(session):
        session = replace(session, unsaid=replace(held, stored=True))
    before = session.work
    work, actions = assignment.advance(before, event, session.options, moment)
    if work is not before:
        session = replace(session, work=work)
    if _is_unsaid(session):
        actions = tuple(
            Train(action.task, action.start, action.deadline_s, said=False)
            if isinstance(action, Train)
            else action
            for action in actions
        )
    if isinstance(before, Declining) and isinstance(event, Published) and work == Idle():
        session = _declined(session, before, moment)
    ended = isinstance(before, Taking | Full) or isinstance(event, TrainingFailed)
    if ended and work == Idle():  # not wanted any more, or room again
        session = replace(session, asking=asking.ask_again(session.asking, moment.now))
        session = _patient(session, moment)  # what is behind it in the pool may be wanted
    return session, actions


def _starts(session: Session, start: Start, moment: Moment) -> Step:
    """Begin, unless the last training on that very version failed here a short while ago.

    A worker that takes from the pool takes none while that is so. One that is chosen cannot say
    so before, and its slot is wanted for another.
    """
    if session.unsaid is not None and session.unsaid.task_id == start.task_id:
        return _heard(session, session.unsaid, start, moment)
    held = assignment.task(session.work)
    sits_out = held is not None and held.kind == "train" and start.task_id == held.task_id
    if not (
        sits_out and start.wanted and _sits_out(session, start.run_id, start.base_version, moment)
    ):
        return _work(session, StartCame(start), moment)
    reason = f"version {start.base_version} could not be trained on here before"
    work, actions = assignment.give_up(session.work, reason, session.options, moment, None)
    return replace(session, work=work), actions


def _at_once(session: Session, came: TaskCame, moment: Moment) -> Start | None:
    """What a task that came is begun on, None if the coordinator is to be asked."""
    task, options = came.task, session.options
    start = unsaid.start_of(session.asking.told, task, moment.now)
    free = isinstance(session.work, Idle | Waiting) and session.unsaid is None
    if start is None or came.known != "new" or not free:
        return None
    fault, _ = assignment.start_fault(task, start, options)
    if fault or assignment.unfit(task, options, moment):
        return None
    return None if _sits_out(session, start.run_id, start.base_version, moment) else start


def _not_begun(
    session: Session, held: Unsaid, event: ModelNotKept | TrainingFailed, moment: Moment
) -> Step:
    """The disk did not take a task that was begun at once: it is taken as any other.

    Unless it is in the inbox by now, or `Taken` was said: then the disk is tried again.
    """
    work = session.work
    if not isinstance(work, Fetching | Training) or held.stored or held.tries > 0:
        return _work(session, event, moment)
    work, actions = assignment.not_begun(work, held.tag, moment)
    return replace(session, work=work, unsaid=None), actions


def _heard(session: Session, held: Unsaid, start: Start, moment: Moment) -> Step:
    """The coordinator answers for a task that was begun before it was asked."""
    same = start.wanted and start.base_version == held.start.base_version
    in_hand = assignment.holds(session.work, start.task_id)
    if same or not in_hand or not held.is_young(moment.now):
        return _with_unsaid(session, unsaid.heard)
    work, anew = assignment.begin_anew(session.work, start, session.options, moment)
    session = replace(session, work=work)
    if not start.wanted:
        session = replace(session, unsaid=None)
        if work == Idle():
            session = replace(session, asking=asking.ask_again(session.asking, moment.now))
        return session, (*anew, *unsaid.acked(held))
    session = replace(session, unsaid=replace(held, start=start))
    session, actions = _with_unsaid(session, unsaid.heard)
    return session, (*actions, *anew)


def _holds_delivery(session: Session) -> bool:
    """Whether the delivery of a task that was begun at once is still to be acked."""
    return session.unsaid is not None and session.unsaid.tag != unsaid.NO_DELIVERY


def _is_unsaid(session: Session) -> bool:
    """Whether that is so of the task in hand."""
    held = session.unsaid
    return (
        held is not None
        and held.tag != unsaid.NO_DELIVERY
        and assignment.holds(session.work, held.task_id)
    )


def _with_unsaid(session: Session, step: Callable[[Unsaid], tuple[Unsaid | None, Actions]]) -> Step:
    if session.unsaid is None:
        return session, ()
    left, actions = step(session.unsaid)
    return replace(session, unsaid=left), actions


def _unsaid_offline(session: Session) -> Step:
    """The broker has the delivery again; what was not begun yet is nowhere else, and forgotten."""
    held = session.unsaid
    waits = _is_unsaid(session) and isinstance(session.work, Fetching | Ready)
    if waits and held is not None and not held.stored:
        return replace(session, work=Idle(), unsaid=None), (StopFetching(),)
    return _with_unsaid(session, unsaid.went_offline)


def _unsaid_online(session: Session, moment: Moment) -> Session:
    """Say it, unless whoever holds the task does."""
    held = session.unsaid
    if held is None:
        return session
    says = isinstance(session.work, Fetching | Ready | Training)
    says = says and assignment.holds(session.work, held.task_id)
    left = unsaid.went_online(held, moment.now) if says else None
    return replace(session, unsaid=left)


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
            session, actions = _told(session, event, moment)
            session, more = _work(session, event, moment)
            return session, (*more, *actions)
        case "part" | "object" | "update":
            session, actions = _told(session, event, moment)
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


def _told(session: Session, event: Published | Unpublished, moment: Moment) -> Step:
    """The broker has something that may say who has the task in hand, or has not."""
    if isinstance(event, Published):
        return _with_unsaid(session, lambda held: unsaid.published(held, event.ref))
    return _with_unsaid(session, lambda held: (unsaid.unpublished(held, event.ref, moment), ()))


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
    if session.unsaid is not None and session.unsaid.say_at <= moment.now:
        session, said = _with_unsaid(
            session, lambda held: unsaid.say(held, session.options, moment)
        )
        actions += said
    for action in sent:
        if isinstance(action, SendUpdate):
            told = asking.asked_by_update(session.asking, action.ref, moment)
            session = replace(session, asking=told)
    if session.asking.ask_at <= moment.now:
        say = _presence(session, moment, leaving=False)
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


def _presence(session: Session, moment: Moment, leaving: bool) -> Say:
    options = session.options
    trained = session.trained
    open_updates = (*sending.open_updates(session.sending), *session.unheard)
    message = Presence(
        worker_id=options.worker_id,
        run_id=trained.run_id,
        last_version=trained.version,
        incarnation=trained.incarnation,
        busy=assignment.task(session.work) is not None,
        leaving=leaving,
        open_updates=open_updates[:NAMES_MAX],
    )
    # Asked and said goodbye in one moment, they must still differ.
    return Say(Ref("presence", options.worker_id, int(leaving), moment.serial), message)


def _wants_task(session: Session, moment: Moment) -> bool:
    """Whether the coordinator allows a task and one is of use."""
    asked, options = session.asking, session.options
    return (
        asked.may_take
        and not asked.run_is_over
        and moment.now >= session.rest_until
        and not _avoids_pool(session, moment)
        and not outbox_is_full(session)
        and not _holds_delivery(session)  # one at a time
        and not owed.holds_back(session.owed, asked.run_id, asked.incarnation, moment.now)
        and not (isinstance(options.plan, Once) and session.tasks_done > 0)
    )


def _avoids_pool(session: Session, moment: Moment) -> bool:
    """Whether a task of the pool would be one for the version that is sat out."""
    asked = session.asking
    return asked.queue == "pool" and _sits_out(session, asked.run_id, asked.version, moment)


def _sits_out(session: Session, run_id: str, version: int, moment: Moment) -> bool:
    """Whether a version is one that training failed on a short while ago."""
    failed = session.sat_out
    return (
        failed is not None
        and (failed.run_id, failed.version) == (run_id, version)
        and moment.now < session.sat_out_until
    )


def outbox_is_full(session: Session) -> bool:
    """Whether no task is taken until the outbox has been emptied."""
    options, held = session.options, session.sending
    return (
        held.payload_bytes >= options.outbox_bytes_max
        or len(held.shipments) >= options.outbox_updates_max
    )


def _plan(session: Session, moment: Moment) -> Step:
    """Leave if the plan is fulfilled, and when goodbye is said."""
    match session.phase:
        case Staying():
            over = _over(session, moment)
            if over is None:
                return session, ()
            session, actions = _leave(session, *over, moment)
            session, last = _plan(session, moment)
            return session, (*actions, *last)
        case Leaving(until, code, reason, goodbye):
            unsaid = goodbye is not None or isinstance(session.work, Declining)
            if moment.online and moment.now < until and (unsaid or session.sending.in_flight):
                return session, ()
            return replace(session, phase=Left()), (Leave(code, reason),)
        case Left():
            return session, ()
        case unreachable:
            assert_never(unreachable)


def _leave(session: Session, code: int, reason: str, moment: Moment) -> Step:
    work, actions = assignment.advance(session.work, Stop(), session.options, moment)
    session = replace(session, work=work)
    goodbye = _presence(session, moment, leaving=True) if moment.online else None
    phase = Leaving(
        moment.now + session.options.leave_s, code, reason, goodbye.ref if goodbye else None
    )
    return replace(session, phase=phase), (*actions, *((goodbye,) if goodbye else ()))


def _over(session: Session, moment: Moment) -> tuple[int, str] | None:
    """Exit code and reason if the plan is fulfilled, or cannot be."""
    match session.options.plan:
        case Forever():
            return None
        case Once():
            return _once_over(session, moment)
        case UntilRunEnds():
            return _run_over(session, moment)
        case unreachable:
            assert_never(unreachable)


def _run_over(session: Session, moment: Moment) -> tuple[int, str] | None:
    held, work, state = session.sending, session.work, session.asking.state
    if not session.asking.run_is_over or isinstance(work, Ready | Training):
        return None
    code, reason = int(state == "failed"), f"the run is over ({state})"
    if isinstance(work, Idle | Full) and not held.has_unsent:
        waits = held.shipments and moment.now < session.last_call
        return None if waits else (code, reason)
    if moment.online or moment.now < session.offline_at + _LAST_CONNECTION_S:
        return None
    kept = len(held.shipments)
    return code, f"{reason}; the broker was not reached, updates kept for the next start: {kept}"


def _once_over(session: Session, moment: Moment) -> tuple[int, str] | None:
    patient, work = moment.now < session.patience_until, session.work
    if isinstance(work, Ready | Training):
        return None
    if not moment.online:
        return None if patient else (1, "the broker was not reached; nothing is lost, try later")
    if isinstance(work, Keeping | Taking | Fetching | Declining) or session.sending.has_unsent:
        if patient or isinstance(work, Fetching):
            return None
        return 1, "there was no answer in time; nothing is lost, try later"
    if session.sending.shipments and patient:
        return None
    if isinstance(work, Full):
        return None if patient else (1, "the disk takes no task; make room in the state folder")
    if session.tasks_done:
        return int(bool(session.failure)), session.failure or "the task is done"
    if session.asking.run_is_over:
        return 0, f"the run is over ({session.asking.state})"
    if session.asking.away_s and not session.sending.shipments:
        return 0, f"nothing is due; wanted again in about {session.asking.away_s:.0f} s"
    return None if patient else (0, "nothing was due")
