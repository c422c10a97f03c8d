"""The round machine: `advance(state, event, now) -> (state, actions)`.

    Closed ── version stored ──▶ Collecting ── goal, or deadline with quorum ──▶ Closed
      │                           │   ▲  └── deadline without quorum: extended, again and again
      │                           ▼   │ enough workers seen
      │                          Paused ── quorum ──▶ Closed
      └── last version stored ──▶ Draining ── time ──▶ Ended

Rules of the file: ids and numbers only, no tensor comes here; `now` is the coordinator's time in
seconds; every action of one `advance` belongs to one transaction; the same events give the same
actions.

What becomes of single tasks is in `coordinator.dispatch`.
"""

from __future__ import annotations

from typing import assert_never

from coordinator.changing import amended, renewed, told
from coordinator.deadline import deadline_of
from coordinator.dispatch import (
    announced,
    answer,
    decline,
    draw_soon,
    drawn,
    end_stale,
    ended,
    refilled,
    replace_lapsed,
    replace_untaken,
    take,
)
from coordinator.events import (
    TRY_AGAIN,
    Action,
    ChangePolicy,
    CloseReason,
    CloseRound,
    DenyTask,
    DrainRun,
    EndRun,
    Event,
    ExtendRound,
    LetTryAgain,
    OpenRound,
    PauseRun,
    PolicyChanged,
    RoundDropped,
    RunStopped,
    TaskDeclined,
    TaskTaken,
    TimePassed,
    UpdateAnnounced,
    UpdateArrived,
    VersionStored,
    WorkersDrawn,
    WorkerSeen,
)
from coordinator.round import judge, judge_after_end
from coordinator.states import Closed, Collecting, Draining, Ended, Paused, Run, State, Step
from schemas.frozen import replace

DEADLINES_PAUSED = 10
"""After how many deadlines a paused run lets workers try again whose update was refused."""


def advance(state: State, event: Event, now: float) -> Step:
    """The next state, and what to do in the same transaction."""
    match state:
        case Collecting():
            return _collecting(state, event, now)
        case Paused():
            return _paused(state, event, now)
        case Closed():
            return _closed(state, event, now)
        case Draining() | Ended():
            return _over(state, event, now)
        case _:
            assert_never(state)


def _collecting(state: Collecting, event: Event, now: float) -> Step:
    match event:
        case UpdateArrived():
            return _count(state, event, now)
        case TaskTaken():
            run, actions = take(state.run, event, now)
            return refilled(replace(state, run=run), actions, now)
        case UpdateAnnounced():
            run, actions = announced(state.run, event, now)
            return replace(state, run=run), actions
        case TaskDeclined():
            run, actions = decline(state.run, event)
            draw_at = None if actions else state.draw_at
            return refilled(replace(state, run=run, draw_at=draw_at), actions, now)
        case WorkerSeen():
            return draw_soon(state, now), []
        case WorkersDrawn():
            return drawn(state, event.worker_ids, now)
        case PolicyChanged():
            return _amend(state, event, now)
        case RoundDropped():
            return _close(state, "rolled back", [])
        case RunStopped():
            return _stopped(state, event.why, now)
        case TimePassed():
            return _look_at_the_clock(state, now)
        case VersionStored():
            return state, []
        case _:
            assert_never(event)


def _paused(state: Paused, event: Event, now: float) -> Step:
    match event:
        case UpdateArrived():
            return _count(state, event, now)
        case TaskTaken():
            run, actions = take(state.run, event, now)
            state = replace(state, run=run)
            of_no_use = event.counted_before or bool(event.barred)
            return _resumed(_seen(state, event.worker_id, of_no_use), actions, now)
        case UpdateAnnounced():
            run, actions = announced(state.run, event, now)
            current = event.base_version == run.version
            sent = state.sent | {event.worker_id} if current else state.sent
            return replace(state, run=run, sent=sent), actions
        case TaskDeclined():
            run, actions = decline(state.run, event)
            return replace(state, run=run), actions
        case WorkerSeen():
            return _resumed(_seen(state, event.worker_id, event.spent, event.sent), [], now)
        case PolicyChanged():
            return _renew(state, event, now)
        case RoundDropped():
            return _close(state, "rolled back", [])
        case RunStopped():
            return _stopped(state, event.why, now)
        case TimePassed():
            if state.run.ends_at is not None and state.run.ends_at <= now:
                return _out_of_time(state, now)
            if state.again_at <= now:
                again = replace(state, again_at=_again_at(state.run, now))
                return again, [LetTryAgain(state.run.version)]
            return state, []
        case WorkersDrawn() | VersionStored():
            return state, []
        case _:
            assert_never(event)


def _closed(state: Closed, event: Event, now: float) -> Step:
    match event:
        case VersionStored():
            actions: list[Action] = []
            run = renewed(replace(state.run, version=event.version), now, actions)
            if event.version >= run.policy.rounds:
                return _drain(run, "all rounds are done", actions, now)
            if run.ends_at is not None and run.ends_at <= now:
                return _drain(run, "time was up", actions, now)
            if event.stopped:
                return _drain(run, event.stopped, actions, now)
            return _open(run, actions, now)
        case PolicyChanged():
            return Closed(told(state.run, event)), []
        case UpdateArrived() | UpdateAnnounced() | TaskTaken() | TaskDeclined():
            # The shell makes the version before it hands in anything else, so that what comes
            # after a close meets the next round.
            raise AssertionError(f"{type(event).__name__} while a version is being made")
        case WorkerSeen() | WorkersDrawn() | RoundDropped() | RunStopped() | TimePassed():
            return state, []  # who wants the round dropped, or the run stopped, says so again
        case _:
            assert_never(event)


def _over(state: Draining | Ended, event: Event, now: float) -> Step:
    match event:
        case UpdateArrived():
            version = state.run.version
            return state, [judge_after_end(event, version).record(event.update_id, version)]
        case TaskTaken():
            return state, [DenyTask(event.task_id, event.worker_id, "the run is over")]
        case TimePassed():
            if isinstance(state, Draining) and state.until <= now:
                return Ended(state.run), [EndRun(state.run.version)]
            return state, []
        case TaskDeclined() | WorkerSeen() | WorkersDrawn() | PolicyChanged() | VersionStored():
            return state, []
        case UpdateAnnounced() | RoundDropped() | RunStopped():
            return state, []
        case _:
            assert_never(event)


def _open(run: Run, actions: list[Action], now: float) -> Step:
    deadline_at = now + deadline_of(run.policy, run.durations)
    actions.append(OpenRound(run.version, now, deadline_at, run.policy))
    run = end_stale(replace(run, owed=()), actions)
    return refilled(Collecting(run, 0, now, deadline_at, 0), actions, now)


def _count(state: Collecting | Paused, event: UpdateArrived, now: float) -> Step:
    run = state.run
    judgement = judge(event, run.version, run.policy)
    actions: list[Action] = [judgement.record(event.update_id, run.version)]
    run, ends = answer(run, event, judgement.verdict)
    actions += ends
    counted = state.counted + (1 if judgement.counted else 0)
    state = replace(state, run=run, counted=counted)
    if counted >= run.policy.goal:
        return _close(state, "goal", actions)
    if isinstance(state, Paused):
        if counted >= run.policy.quorum:
            return _close(state, "deadline", actions)
        current = judgement.staleness == 0
        done = current and judgement.verdict not in TRY_AGAIN
        another = not current or event.task is None  # than the one that is on its way
        sent = another and event.worker_id in state.sent
        state = _seen(state, event.worker_id, done, sent)
        return _resumed(state, actions, now)
    return refilled(draw_soon(state, now), actions, now)


def _close(state: Collecting | Paused, why: CloseReason, actions: list[Action]) -> Step:
    run = state.run
    actions.append(CloseRound(run.version, why))
    if run.policy.late == "refuse" or why == "rolled back":
        # Their updates could only be late, or from versions that were left behind: the slots are
        # better used for the next version.
        run = ended(run, run.tasks.taken(), "the round closed", actions)
    return Closed(run), actions


def _out_of_time(state: Collecting | Paused, now: float) -> Step:
    if state.counted:
        return _close(state, "time", [])  # what was counted goes into the last version
    return _drain(state.run, "time was up", [], now)


def _stopped(state: Collecting | Paused, why: str, now: float) -> Step:
    if state.counted:
        return _close(state, "stopped", [])  # as if time was up; the version says why, once stored
    return _drain(state.run, why, [], now)


def _look_at_the_clock(state: Collecting, now: float) -> Step:
    run = state.run
    actions: list[Action] = []
    if run.ends_at is not None and run.ends_at <= now:
        return _out_of_time(state, now)
    run = replace_lapsed(run, now, actions)
    if now < state.deadline_at:
        return refilled(replace(state, run=run), actions, now)
    if state.counted >= run.policy.quorum:
        run = replace_untaken(run, run.newest_taken, "later tasks were taken before it", actions)
        return _close(replace(state, run=run), "deadline", actions)
    run = replace_untaken(run, run.next_task, "nobody took it by the deadline", actions)
    if state.extensions >= run.policy.max_extensions:
        actions.append(PauseRun(run.version))
        return Paused(run, state.counted, state.opened_at, _again_at(run, now)), actions
    return _extend(replace(state, run=run), state.extensions + 1, actions, now)


def _extend(state: Collecting, extensions: int, actions: list[Action], now: float) -> Step:
    deadline_at = now + state.run.policy.deadline_s
    actions.append(ExtendRound(state.run.version, extensions, deadline_at))
    state = replace(state, extensions=extensions, deadline_at=deadline_at, draw_at=None)
    return refilled(state, actions, now)


def _amend(state: Collecting, event: PolicyChanged, now: float) -> Step:
    """Another policy was set: the open round takes its timing."""
    run, actions = amended(state.run, event, now), list[Action]()
    if run.policy != state.run.policy:
        deadline_at = min(state.deadline_at, now + run.policy.deadline_s)
        actions.append(ChangePolicy(run.policy, deadline_at))
        state = replace(state, deadline_at=deadline_at)
    return refilled(replace(state, run=run), actions, now)


def _renew(state: Paused, event: PolicyChanged, now: float) -> Step:
    """Another policy was set: a paused run takes it, and goes on if that is enough."""
    actions: list[Action] = []
    run = renewed(told(state.run, event), now, actions)
    again_at = min(state.again_at, _again_at(run, now))
    state, changed = replace(state, run=run, again_at=again_at), run.policy != state.run.policy
    if changed:
        actions.append(ChangePolicy(run.policy, now))
    if state.counted >= run.policy.goal:
        return _close(state, "goal", actions)
    if state.counted >= run.policy.quorum:
        return _close(state, "deadline", actions)
    return _resumed(state, actions, now) if changed else (state, actions)


def _seen(state: Paused, worker_id: str, counted: bool, sent: bool = False) -> Paused:
    """One more worker is there; one that counted for this version cannot do so again."""
    who = {worker_id}
    return replace(
        state,
        seen=state.seen - who if counted else state.seen | who,
        sent=state.sent | who if sent else state.sent - who,
    )


def _resumed(state: Paused, actions: list[Action], now: float) -> Step:
    """Go on if a quorum may come, and somebody is there to take a task."""
    enough = state.counted + len(state.seen) >= state.run.policy.quorum
    if not enough or state.seen <= state.sent:  # an update that comes counts in the pause as well
        return state, actions
    run = replace_lapsed(state.run, now, actions)
    collecting = Collecting(run, state.counted, state.opened_at, now, 0)
    return _extend(collecting, 0, actions, now)


def _drain(run: Run, why: str, actions: list[Action], now: float) -> Step:
    run = ended(run, run.tasks.in_order(), "the run is over", actions)
    until = now + run.policy.drain_s
    actions.append(DrainRun(run.version, why, until))
    return Draining(run, until), actions


def _again_at(run: Run, now: float) -> float:
    return now + DEADLINES_PAUSED * run.policy.deadline_s
