"""Tasks, from their offer to their end: from the pool, or to workers that are drawn.

    pool     a slot is free ── offered to all ────────── one takes it ─▶ under a lease ─▶ answered,
    direct   a slot is free ── one is drawn for it ── offered to it ──▶ under a lease ─▶ declined,
                    ▲              │ nobody can be                                       lapsed
                    └──────────────┘ again when one is seen, and after a while

A pool task pins no version, so one that nobody has taken is as good for the next version and stays
(docs/decisions/0004). It is given up, in case the broker lost it, when a deadline passes without
quorum, or short of the goal though later tasks were taken: the pool keeps its order.

A direct task pins the version that is current when its worker is drawn (docs/decisions/0023). Who
may be drawn is not known here; that a worker has one direct task at a time is kept here.
"""

from __future__ import annotations

import math

from coordinator.deadline import TIMED, remembered
from coordinator.events import (
    Action,
    DenyTask,
    DrawWorkers,
    EndTask,
    GrantTask,
    OfferTask,
    TaskDeclined,
    TaskTaken,
    UpdateAnnounced,
    UpdateArrived,
    Verdict,
)
from coordinator.states import Collecting, Run
from coordinator.tasks import OpenTask
from schemas.frozen import replace

DRAW_SOON_S = 0.2  # workers that are seen at about one time are drawn among, not the first of them
DRAW_AGAIN_S = 10.0  # where too few could be drawn: somebody's rest may have ended


def take(run: Run, event: TaskTaken, now: float) -> tuple[Run, list[Action]]:
    """A worker has a task and asks what to train on."""
    actions: list[Action] = []
    # First, or a worker that asks again is granted a task whose replacement comes a moment later.
    run = replace_lapsed(run, now, actions)
    run, granted = _grant(run, event, now)
    return run, actions + granted


def _grant(run: Run, event: TaskTaken, now: float) -> tuple[Run, list[Action]]:
    task = run.tasks.get(event.task_id)
    if task is None:
        return run, [DenyTask(event.task_id, event.worker_id, "the task is no longer open")]
    if task.offered_to not in ("", event.worker_id):
        return run, [DenyTask(event.task_id, event.worker_id, "it was offered to another worker")]
    base_version = run.version if task.base_version is None else task.base_version
    if event.counted_before or event.barred:
        actions: list[Action] = []
        if task.worker_id in ("", event.worker_id):
            whose = "that had counted" if event.counted_before else f"that {event.barred}"
            run = ended(run, [task], f"taken by a worker {whose}", actions)
        counted = f"this worker already counted for version {base_version}"
        reason = counted if event.counted_before else f"this worker {event.barred}"
        return run, [*actions, DenyTask(event.task_id, event.worker_id, reason)]
    lease_end = task.lease_end
    if lease_end is None:
        lease_end = now + run.policy.lease_s
        run = _leased(run, task, event.worker_id, lease_end)
    return run, [GrantTask(task.task_id, event.worker_id, base_version, lease_end)]


def announced(run: Run, event: UpdateAnnounced, now: float) -> tuple[Run, list[Action]]:
    """An update is on its way: a lease of its task begins, as if it was said to be taken now.

    A direct task is under one since it was offered.
    """
    task = run.tasks.get(event.task_id)
    if task is None or task.lease_end is not None:
        return run, []
    lease_end = now + run.policy.lease_s
    run = _leased(run, task, event.worker_id, lease_end)
    granted = GrantTask(task.task_id, event.worker_id, event.base_version, lease_end, event.since)
    return run, [granted]


def _leased(run: Run, task: OpenTask, worker_id: str, lease_end: float) -> Run:
    tasks = run.tasks.take(task.task_id, worker_id, lease_end)
    return replace(run, tasks=tasks, newest_taken=max(run.newest_taken, task.number))


def decline(run: Run, event: TaskDeclined) -> tuple[Run, list[Action]]:
    """A worker gives a task up, or the broker one that nobody has taken."""
    task = run.tasks.get(event.task_id)
    if task is None or task.worker_id not in ("", event.worker_id):
        return run, []  # ended already, or another worker has it
    run = replace(run, tasks=run.tasks.remove(task.task_id))
    return run, [EndTask(task.task_id, "declined", event.reason, task.offered_to)]


def answer(run: Run, update: UpdateArrived, verdict: Verdict) -> tuple[Run, list[Action]]:
    """An update has its verdict: the task that it answers is done with.

    A worker that was told what to train on, and was soon done, did not say before that it has the
    task (docs/decisions/0058): its update says so.
    """
    durations = run.durations
    if verdict in TIMED:
        durations = remembered(durations, update.duration_s)
    if update.task_id in run.owed and verdict != "unknown task":
        run = replace(run, owed=tuple(owed for owed in run.owed if owed != update.task_id))
    task = run.tasks.get(update.task_id)
    if task is None or task.offered_to not in ("", update.worker_id):
        # Nobody but the worker that was drawn ends a direct task.
        return replace(run, durations=durations), []
    actions: list[Action] = []
    newest_taken = run.newest_taken
    if update.since is not None:
        lease_end = task.lease_end or update.since + run.policy.lease_s
        version, since = update.base_version, update.since
        actions.append(GrantTask(task.task_id, update.worker_id, version, lease_end, since))
        newest_taken = newest_taken if task.direct else max(newest_taken, task.number)
    tasks = run.tasks.remove(task.task_id)
    run = replace(run, tasks=tasks, durations=durations, newest_taken=newest_taken)
    return run, [*actions, EndTask(task.task_id, "answered", verdict, task.offered_to)]


def replace_lapsed(run: Run, now: float, actions: list[Action]) -> Run:
    """End the tasks whose lease has ended; others are offered in their place.

    In direct dispatch that is done as soon as workers can be drawn for them.
    """
    while (task := run.tasks.lapsed(now)) is not None:
        run = replace(run, tasks=run.tasks.remove(task.task_id))
        actions.append(EndTask(task.task_id, "lapsed", "its lease ended", task.offered_to))
        if run.policy.dispatch == "direct":
            run = replace(run, owed=(*run.owed, task.task_id))
        else:
            run = _offered(run, task.task_id, actions)
    return run


def replace_untaken(run: Run, below: int, why: str, actions: list[Action]) -> Run:
    """Give up the untaken tasks with numbers below one, in case the broker lost them."""
    for task in run.tasks.untaken():
        if task.number < below:
            run = ended(run, [task], why, actions)
            run = _offered(run, task.task_id, actions)
    return run


def end_stale(run: Run, actions: list[Action]) -> Run:
    """End the direct tasks whose updates would be too stale to count.

    The oldest version is pinned by the task whose lease began first.
    """
    oldest = run.version - run.policy.max_staleness
    while (task := run.tasks.first_leased()) is not None:
        if task.base_version is None or task.base_version >= oldest:
            break
        run = ended(run, [task], "its version is too old to count", actions)
    return run


def ended(run: Run, tasks: list[OpenTask], reason: str, actions: list[Action]) -> Run:
    """End tasks that are not wanted any more."""
    for task in tasks:
        run = replace(run, tasks=run.tasks.remove(task.task_id))
        actions.append(EndTask(task.task_id, "ended", reason, task.offered_to))
    return run


def refilled(
    state: Collecting, actions: list[Action], now: float
) -> tuple[Collecting, list[Action]]:
    """Offer tasks, or draw workers for them, until `concurrency` are in flight."""
    run, missing = state.run, _free_slots(state)
    if run.policy.dispatch == "pool":
        for _ in range(missing):
            run = _offered(run, "", actions)
        return replace(state, run=run, draw_at=None), actions
    if missing <= 0:
        return state if state.draw_at is None else replace(state, draw_at=None), actions
    if state.draw_at is not None and state.draw_at > now:
        return state, actions
    actions.append(DrawWorkers(missing, run.version))
    return replace(state, draw_at=math.inf), actions


def draw_soon(state: Collecting, now: float) -> Collecting:
    """Where too few workers could be drawn, one more may be there now."""
    if state.draw_at is None:
        return state
    return replace(state, draw_at=min(state.draw_at, now + DRAW_SOON_S))


def drawn(
    state: Collecting, worker_ids: tuple[str, ...], now: float
) -> tuple[Collecting, list[Action]]:
    """Offer a task to each worker that was drawn, as far as there is room."""
    run, actions = state.run, list[Action]()
    missing = _free_slots(state)
    for worker_id in worker_ids:
        if missing > 0 and worker_id not in run.tasks.asked:
            run = _offered_to(run, worker_id, now, actions)
            missing -= 1
    draw_at = now + DRAW_AGAIN_S if missing > 0 else None
    return replace(state, run=run, draw_at=draw_at), actions


def _free_slots(state: Collecting) -> int:
    """How many more tasks may be in flight, negative if there are too many.

    Where late updates are refused, one that answers in this round keeps its slot until the round
    closes: a fresh task could hardly be answered in time.
    """
    policy = state.run.policy
    held = state.counted if policy.late == "refuse" else 0
    return policy.concurrency - len(state.run.tasks) - held


def _offered(run: Run, replaces: str, actions: list[Action]) -> Run:
    """With one more task in the pool."""
    task_id = run.task_id(run.next_task)
    actions.append(OfferTask(task_id, run.next_task, run.version, replaces))
    tasks = run.tasks.offer(OpenTask(task_id, run.version, replaces=replaces, number=run.next_task))
    return replace(run, tasks=tasks, next_task=run.next_task + 1)


def _offered_to(run: Run, worker_id: str, now: float, actions: list[Action]) -> Run:
    """With one more task, for one worker; its lease begins, and it pins the current version."""
    task_id, number, version = run.task_id(run.next_task), run.next_task, run.version
    replaces, lease_end = run.owed[0] if run.owed else "", now + run.policy.lease_s
    actions.append(OfferTask(task_id, number, version, replaces, worker_id, version, lease_end))
    task = OpenTask(
        task_id, version, worker_id, lease_end, run.tasks.next_lease, replaces, number, version
    )
    return replace(run, tasks=run.tasks.ask(task), next_task=number + 1, owed=run.owed[1:])
