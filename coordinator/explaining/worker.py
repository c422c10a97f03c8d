"""A worker: what it sent, what it took, and whether it may take a task now."""

from __future__ import annotations

from typing import Any

from coordinator.accounts import Wanted
from coordinator.explaining.answer import SHORT, Explanation, Scene
from coordinator.explaining.task import end_in_words
from coordinator.explaining.task import facts_of as task_facts
from coordinator.listing import facts_of
from coordinator.records import LedgerRow, RunRow, TaskRow
from coordinator.rows import KIND
from coordinator.wording import listed, moment, plain, span

LAST_UPDATES = 10
LAST_TASKS = 5


def explain_worker(scene: Scene, worker_id: str) -> Explanation:
    """What is known of a worker."""
    accounts = scene.accounts
    wanted = Wanted(worker_id=worker_id)
    verdicts = accounts.verdicts(wanted)
    updates = accounts.last_updates(wanted, LAST_UPDATES)
    ends = accounts.task_ends_of_worker(worker_id)
    tasks = accounts.tasks_of_worker(worker_id, LAST_TASKS)
    strays = accounts.strays(wanted, None, 1)
    may_take, why = may_take_now(scene, worker_id)
    seen = accounts.worker(worker_id)
    words = [
        _seen(scene, worker_id),
        f"Its updates: {listed(verdicts)}.",
        *(_update(row) for row in updates),
        f"Tasks it took: {sum(count for *_, count in ends)}.",
        *(f"  {count} {end_in_words(state, reason)}" for state, reason, count in ends),
        *(_task(scene, task) for task in tasks if task.state in ("taken", "lapsed")),
        *["Messages in its name took no update id: `fedmq updates --worker " + worker_id + "`."]
        * bool(strays),
        f"It {'may' if may_take else 'may not'} take a task now: {why}.",
    ]
    facts: dict[str, Any] = {
        "worker": worker_id,
        "first_seen": None if seen is None else seen.first_seen,
        "last_seen": None if seen is None else seen.last_seen,
        "leaving": None if seen is None else seen.leaving,
        "updates": verdicts,
        "last_updates": [facts_of(row) for row in updates],
        "tasks": [
            {"state": state, "reason": reason, "count": count} for state, reason, count in ends
        ],
        "last_tasks": [task_facts(scene, task) for task in tasks],
        "strays": bool(strays),
        "may_take": may_take,
        "why": why,
    }
    return Explanation("worker", worker_id, words, facts)


def may_take_now(scene: Scene, worker_id: str) -> tuple[bool, str]:
    """Whether a worker may take a task, and why or why not; as the coordinator answers it."""
    run = scene.accounts.run()
    match run.state:
        case "draining" | "ended":
            return False, f"run {run.run_id[:8]} is over ({run.why})"
        case "closed":
            return False, "the next model version is being made"
        case _:
            return _may_take_in_round(scene, worker_id, run)


def _may_take_in_round(scene: Scene, worker_id: str, run: RunRow) -> tuple[bool, str]:
    work, version = scene.accounts.work, run.version
    if work.counted_before(run.run_id, KIND, version, worker_id):
        return (
            False,
            f"its update of version {version} is counted; the next round is another chance",
        )
    for task in scene.accounts.tasks_of_worker(worker_id, LAST_TASKS)[::-1]:
        if task.run_id == run.run_id and task.state == "taken":
            return False, f"it has task {task.task_id[:SHORT]} in hand"
    if work.is_spent(run.run_id, KIND, version, worker_id):
        wanted = Wanted(run_id=run.run_id, worker_id=worker_id)
        for row in scene.accounts.last_updates(wanted, LAST_UPDATES)[::-1]:
            if row.base_version == version:
                return False, (
                    f"its update of version {version} was refused ({row.verdict}), which another "
                    "try would not change; the next round is another chance"
                )
        return False, f"its update of version {version} is counted or was refused"
    paused = (
        "the run is paused until enough workers are seen, and " if run.state == "paused" else ""
    )
    untaken = scene.accounts.untaken(run.run_id)
    if not untaken:
        return True, f"{paused}it has had no try at version {version}; but all tasks are taken"
    return True, f"{paused}it has had no try at version {version}, and {untaken} wait to be taken"


def _seen(scene: Scene, worker_id: str) -> str:
    seen = scene.accounts.worker(worker_id)
    if seen is None:
        return f"Worker {worker_id} sent updates, and never said that it was there."
    gone = ", and said that it was leaving" if seen.leaving else ""
    return (
        f"Worker {worker_id} was first seen {moment(seen.first_seen)} and last "
        f"{moment(seen.last_seen)}, {span(scene.now - seen.last_seen)} ago{gone}."
    )


def _update(row: LedgerRow) -> str:
    return (
        f"  {moment(row.received_at)}  {row.update_id[:SHORT]}  version {row.base_version}  "
        f"{row.verdict} ({plain(row.reason)})"
    )


def _task(scene: Scene, task: TaskRow) -> str:
    until = "" if task.lease_end is None else f", lease until {moment(task.lease_end)}"
    return (
        f"  unanswered: task {task.task_id[:SHORT]} for version {task.base_version}{until} "
        f"({task.state})"
    )
