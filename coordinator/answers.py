"""What the coordinator tells a worker that asks. Pure."""

from __future__ import annotations

from typing import assert_never

from coordinator.effects import AnswerPresence, AnswerUnwanted
from coordinator.evaluating import Evaluations
from coordinator.records import VersionRow
from coordinator.states import Closed, Collecting, Draining, Ended, Paused, Run, State, may_take
from schemas.messages import Base, RunState, Standing, Start, TaskSource, part_count

COME_BACK_S = (1.0, 30.0)  # the least and most that a worker is asked to wait


def base_of(
    model: VersionRow,
    layout_digest: str,
    *,
    offset: int,
    part_bytes: int,
    lease_s: float,
    prox_mu: float,
    stored: bool = False,
) -> Base:
    """What to train on: `model`. It lies on the stream at `offset`, or if stored in the depot."""
    return Base(
        model_digest=model.stream_digest,
        model_bytes=model.stream_bytes,
        layout_digest=layout_digest,
        parts=part_count(model.stream_bytes, part_bytes),
        offset=offset,
        lease_s=max(0.0, lease_s),
        prox_mu=prox_mu,
        stored=stored,
        model_codec=model.stream_codec,
        base_digest=model.digest if model.stream_digest != model.digest else None,
    )


def unwanted(effect: AnswerUnwanted, incarnation: int, now: float) -> Start:
    """The task needs no answer any more."""
    return Start(
        run_id=effect.run_id,
        task_id=effect.task_id,
        incarnation=incarnation,
        wanted=False,
        reason=effect.reason,
        base_version=-1,
        model_digest=None,
        model_bytes=0,
        layout_digest=None,
        parts=0,
        offset=0,
        seed=0,
        lease_s=0.0,
        time_s=now,
    )


def source_of(run: Run, evaluations: Evaluations, worker_id: str) -> TaskSource:
    """Where a worker's tasks come from: its own queue, if it may be drawn or was."""
    if run.policy.dispatch == "direct" or evaluations.evaluates(worker_id):
        return "own"
    return "own" if worker_id in run.tasks.asked else "pool"


def standing(
    effect: AnswerPresence, state: State, evaluations: Evaluations, now: float
) -> Standing:
    """How things stand for the worker that said it is there.

    For one that evaluates the run goes on as long as there may be something to evaluate.
    """
    run, presence = state.run, effect.presence
    evaluates = evaluations.evaluates(presence.worker_id)
    awaited = evaluates and evaluations.awaits
    come_back = COME_BACK_S[1]
    if isinstance(state, Collecting):
        come_back = min(max(state.deadline_at - now, COME_BACK_S[0]), come_back)
    if effect.hold is not None and effect.hold.wait_s:
        come_back = max(effect.hold.wait_s, COME_BACK_S[0])
    source = source_of(run, evaluations, presence.worker_id)
    asked = presence.worker_id in run.tasks.asked or evaluations.task_of(presence.worker_id)
    # In its own queue a worker finds what is meant for it and nothing else.
    bar, hold = (None, None) if source == "own" else (effect.bar, effect.hold)
    return Standing(
        run_id=run.run_id,
        state="running" if awaited else _run_state(state),
        incarnation=run.incarnation,
        version=run.version,
        may_take=awaited or may_take(state, presence.run_id, presence.last_version, bar, hold),
        come_back_s=come_back,
        verdicts=effect.verdicts,
        missing=effect.missing,
        unknown=effect.unknown,
        time_s=now,
        queue=source,
        away_s=0.0 if asked else effect.away_s,
        in_hand=effect.in_hand,
    )


def ask_again(state: State, evaluations: Evaluations, in_s: float, now: float) -> Standing:
    """Ask how things stand, in so many seconds: what was said before may not hold any more.

    It goes to workers of which nothing is known but where they are. That the run is over is not
    said while one of them may be asked to evaluate: it would leave, and its task wait for it.
    """
    awaited = isinstance(state, Draining) and evaluations.awaits
    return Standing(
        run_id=state.run.run_id,
        state="running" if awaited else _run_state(state),
        incarnation=state.run.incarnation,
        version=state.run.version,
        may_take=False,
        come_back_s=in_s,
        verdicts={},
        missing={},
        unknown=(),
        time_s=now,
    )


def _run_state(state: State) -> RunState:
    match state:
        case Collecting() | Closed():
            return "running"
        case Paused():
            return "paused"
        case Draining():
            return "draining"
        case Ended():
            return "ended"
        case _:
            assert_never(state)
