"""When a worker is done, and how it leaves. Pure.

Staying ──(stop, or done as planned)──▶ Leaving ──(goodbye said, or no time left)──▶ Left
"""

from __future__ import annotations

from typing import assert_never

from schemas.frozen import replace
from worker import assignment
from worker.events import Leave, Stop
from worker.known import Leaving, Left, Session, Staying, Step, presence
from worker.options import Forever, Moment, Once, UntilRunEnds
from worker.states import Declining, Fetching, Full, Idle, Keeping, Ready, Taking, Training

LAST_CONNECTION_S = 60.0
"""How long to wait, once the run is over, for a broker that is gone."""


def plan(session: Session, moment: Moment) -> Step:
    """Leave if the plan is fulfilled, and when goodbye is said."""
    match session.phase:
        case Staying():
            over = _over(session, moment)
            if over is None:
                return session, ()
            session, actions = leave(session, *over, moment)
            session, last = plan(session, moment)
            return session, (*actions, *last)
        case Leaving(until, code, reason, goodbye):
            open_here = goodbye is not None or isinstance(session.work, Declining)
            if moment.online and moment.now < until and (open_here or session.sending.in_flight):
                return session, ()
            return replace(session, phase=Left()), (Leave(code, reason),)
        case Left():
            return session, ()
        case unreachable:
            assert_never(unreachable)


def leave(session: Session, code: int, reason: str, moment: Moment) -> Step:
    """Say goodbye, and begin to leave with an exit code."""
    work, actions = assignment.advance(session.work, Stop(), session.options, moment)
    session = replace(session, work=work)
    goodbye = presence(session, moment, leaving=True) if moment.online else None
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
    if moment.online or moment.now < session.offline_at + LAST_CONNECTION_S:
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
