"""What the machine says, as rows of the store."""

from __future__ import annotations

from typing import Any, assert_never

from broker.transport import AnswerTo
from coordinator.effects import AnswerStart, AnswerUnwanted, DropTasks, Effect, PublishTask
from coordinator.events import (
    Action,
    ChangePolicy,
    CloseRound,
    DenyTask,
    DrainRun,
    DrawWorkers,
    EndRun,
    EndTask,
    ExtendRound,
    GrantTask,
    LetTryAgain,
    OfferTask,
    OpenRound,
    PauseRun,
    RecordVerdict,
)
from coordinator.policy import RoundPolicy
from coordinator.records import TaskRow
from coordinator.states import Run
from coordinator.work import Work


def write(
    action: Action, work: Work, run: Run, now: float, asking: AnswerTo | None
) -> Effect | None:
    """Write what an action says; what is to be done about it after the commit.

    Args:
        action: Of the machine's last step.
        work: The transaction.
        run: The run after that step.
        now: The coordinator's time.
        asking: Who asked for the step, None if nobody waits for an answer.
    """
    match action:
        case OfferTask():
            work.insert_task(_offered(action, run.run_id, now))
            if action.replaces:
                work.update_task(action.replaces, replaced=True)
            return PublishTask(action.task_id)
        case GrantTask():
            _grant(action, work, now)
            if asking is not None:
                return AnswerStart(asking, action.task_id, action.lease_end, action.base_version)
        case DenyTask():
            if asking is not None:
                return AnswerUnwanted(asking, run.run_id, action.task_id, action.reason)
        case EndTask():
            work.update_task(action.task_id, state=action.how, ended_at=now, reason=action.reason)
        case OpenRound():
            work.update_run(
                run.run_id,
                state="collecting",
                version=action.version,
                **_policy(action.policy),
                opened_at=action.opened_at,
                deadline_at=action.deadline_at,
                tries_after=work.last_arrival(),
                extensions=0,
                why="",
                ended_at=None,
            )
        case ChangePolicy():
            work.update_run(run.run_id, **_policy(action.policy), deadline_at=action.deadline_at)
        case ExtendRound():
            work.update_run(
                run.run_id,
                state="collecting",
                extensions=action.extensions,
                deadline_at=action.deadline_at,
                tries_after=work.last_arrival(),
            )
        case CloseRound():
            work.update_run(run.run_id, state="closed", why=action.why)
        case PauseRun():
            work.update_run(run.run_id, state="paused")
        case LetTryAgain():
            work.update_run(run.run_id, tries_after=work.last_arrival())
        case DrainRun():
            work.update_run(
                run.run_id,
                state="draining",
                version=action.version,
                why=action.why,
                until=action.until,
                ended_at=now,
            )
            return DropTasks()
        case EndRun():
            work.update_run(run.run_id, state="ended")
        case RecordVerdict():
            raise AssertionError("a verdict is written with its update")
        case DrawWorkers():
            raise AssertionError("it is answered, not written")
        case _:
            assert_never(action)
    return None


def _policy(policy: RoundPolicy) -> dict[str, Any]:
    """What a run's row says of its policy."""
    return {"policy": policy.as_json(), "rounds": policy.rounds, "goal": policy.goal}


def _grant(action: GrantTask, work: Work, now: float) -> None:
    work.take_task(
        action.task_id,
        state="taken",
        worker_id=action.worker_id,
        base_version=action.base_version,
        taken_at=now if action.since is None else action.since,
        lease_end=action.lease_end,
    )


def _offered(action: OfferTask, run_id: str, now: float) -> TaskRow:
    return TaskRow(
        task_id=action.task_id,
        run_id=run_id,
        number=action.number,
        kind=action.kind,
        state="offered",
        offered_version=action.version,
        direct=action.base_version is not None,
        base_version=action.base_version,
        worker_id=action.worker_id,
        replaces=action.replaces,
        replaced=False,
        published=False,
        offered_at=now,
        taken_at=None,
        lease_end=action.lease_end,
        ended_at=None,
        reason="",
    )
