"""The machine's state from the store, at a start and after a write that failed.

Rules (docs/decisions/0018): stored times are another process's, and its clock may have been wrong:
no timer runs longer than one that begins now. Nor does one end before what waits in the broker was
looked at: who answered in time while no coordinator ran is not late for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from coordinator.deadline import TIMED, WINDOW
from coordinator.intake import KIND
from coordinator.policy import RoundPolicy
from coordinator.records import LedgerRow, RunRow, TaskRow
from coordinator.states import Closed, Collecting, Draining, Paused, Run, State
from coordinator.tasks import OpenTasks
from coordinator.work import Work

GRACE_S = 10.0  # to connect, and to take what has come meanwhile


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says of a run.

    Attributes:
        tasks: Those that are open.
        counted: The updates in the sum of the open round, in the order of their arrival.
        next_task: How many tasks were ever made.
        newest_taken: The highest number of a task that was ever taken from the pool.
        owed: Tasks of the open round that lapsed, and in whose place none was offered yet.
        durations: How long the last tasks took, in seconds.
    """

    row: RunRow
    incarnation: int
    tasks: list[TaskRow]
    counted: list[LedgerRow]
    next_task: int
    newest_taken: int
    owed: list[str]
    durations: list[float]

    @classmethod
    def read(cls, work: Work, row: RunRow) -> Self:
        """Read what belongs to a run's row."""
        over = row.state in ("draining", "ended")
        return cls(
            row=row,
            incarnation=work.incarnation(),
            tasks=work.open_tasks(row.run_id, KIND),
            counted=[] if over else work.counted_in_round(row.run_id, row.version),
            next_task=work.next_number(row.run_id, KIND),
            newest_taken=work.newest_taken(row.run_id),
            owed=work.owed_tasks(row.run_id, row.version),
            durations=work.durations(row.run_id, TIMED, WINDOW),
        )


def end_of(ran_s: float, policy: RoundPolicy, now: float) -> float | None:
    """When a run that ran for so long ends with what it has, None for no limit."""
    return now + max(0.0, policy.max_seconds - ran_s) if policy.max_seconds else None


def restore_state(
    stored: Stored, policy: RoundPolicy, now: float, salt: str, stopped: bool = False
) -> State:
    """The machine's state from the store; the open round goes by the policy that is stored.

    Args:
        stored: What the store says.
        policy: The one that is set now; the machine is told of it by `PolicyChanged`.
        now: The coordinator's time.
        salt: Of the tasks that this process makes.
        stopped: The run stopped early, and goes on no more though rounds are left.
    """
    row, counted = stored.row, len(stored.counted)
    opened_with = RoundPolicy.from_json(row.policy)
    ends_at = end_of(row.ran_s, policy, now)
    run = Run(
        run_id=row.run_id,
        incarnation=stored.incarnation,
        policy=opened_with,
        version=row.version,
        tasks=OpenTasks.restore(
            (task.as_open() for task in stored.tasks), now, opened_with.lease_s, GRACE_S
        ),
        salt=salt,
        next_task=stored.next_task,
        newest_taken=stored.newest_taken,
        owed=tuple(stored.owed),
        durations=tuple(stored.durations),
        ends_at=ends_at,
    )
    grace_s = min(GRACE_S, opened_with.deadline_s)
    deadline_at = min(max(row.deadline_at, now + grace_s), now + opened_with.deadline_s)
    match row.state:
        case "closed":
            return Closed(run)
        case "paused":
            return Paused(run, counted, min(row.opened_at, now), now)
        case "collecting":
            opened_at = min(row.opened_at, now)
            return Collecting(run, counted, opened_at, deadline_at, row.extensions, draw_at=now)
        case _:
            in_time = ends_at is None or now < ends_at
            if row.version < policy.rounds and in_time and not stopped:
                return Closed(run)  # rounds or time were added: the run goes on
            # It has ended; what still comes is recorded for a while.
            return Draining(run, now + policy.drain_s)
