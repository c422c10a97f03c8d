"""A worker: what it sent, what it took, and whether it may take a task now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never, cast

from coordinator.accounts import Wanted
from coordinator.explaining.answer import SHORT, Explanation, Scene
from coordinator.explaining.task import end_in_words
from coordinator.explaining.task import facts_of as task_facts
from coordinator.intake import KIND
from coordinator.listing import facts_of
from coordinator.records import LedgerRow, RunRow, TaskRow
from coordinator.tries import Bar, Phase, bar_of_tasks, bar_of_update, barred
from coordinator.wording import listed, moment, span
from settings.errors import one_line

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
    strays = accounts.strays(replace(wanted, refused=True), None, 1)
    bar, why = may_take_now(scene, worker_id)
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
        f"It {'may' if bar is None else 'may not'} take a task now: {why}.",
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
        "may_take": bar is None,
        "barred": None if bar is None else bar.why,
        "why": why,
    }
    return Explanation("worker", worker_id, words, facts)


def may_take_now(scene: Scene, worker_id: str) -> tuple[Bar | None, str]:
    """What keeps a worker from taking a task, None if nothing does; and the same in words.

    It is what the coordinator answers a worker that has not lost its folder.
    """
    run, work = scene.accounts.run(), scene.accounts.work
    spent = bar_of_update(work.spent_by(run.run_id, KIND, run.version, worker_id))
    awaited = work.awaited(run.run_id, run.version, worker_id)
    late = run.policy["late"]
    # Whether it has sent the update of a task whose lease has ended only the worker can say.
    bar = barred(cast(Phase, run.state), spent or bar_of_tasks(awaited, lambda _: "", late))
    if bar is not None:
        return bar, _bar_in_words(bar, run)
    lapsed = [task_id for task_id, _ in awaited] if late == "weigh" else []
    return None, _chance(scene, run, lapsed)


def _bar_in_words(bar: Bar, run: RunRow) -> str:
    its_update = f"its update of version {run.version}"
    match bar.why:
        case "over":
            return f"run {run.run_id[:8]} is over ({run.why})"
        case "making":
            return "the next model version is being made"
        case "counted":
            return f"{its_update} is counted; the next round is another chance"
        case "refused":
            return (
                f"{its_update} was refused ({bar.verdict}), which another try would hardly change; "
                "it may try again when the round is extended, when the run has been paused for "
                "long, or in the next round"
            )
        case "in hand":
            return f"it has task {bar.about[:SHORT]} in hand"
        case "on its way":
            return f"its update {bar.about[:SHORT]} is on its way"
        case "as before":
            return "it was told so before"
        case _:
            assert_never(bar.why)


def _chance(scene: Scene, run: RunRow, lapsed: list[str]) -> str:
    """What a worker that may take a task can expect."""
    paused = "the run is paused until enough workers are seen, and " * (run.state == "paused")
    held = f"{paused}nothing that it did for version {run.version} holds it"
    untaken = scene.accounts.untaken(run.run_id)
    tasks = f", and {untaken} wait to be taken" if untaken else "; but all tasks are taken"
    unless = [
        f" (unless it says that it has sent its update of task {task_id[:SHORT]}, whose lease has "
        "ended)"
        for task_id in lapsed[:1]
    ]
    return "".join([held, tasks, *unless])


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
        f"{row.verdict} ({one_line(row.reason)})"
    )


def _task(scene: Scene, task: TaskRow) -> str:
    until = "" if task.lease_end is None else f", lease until {moment(task.lease_end)}"
    return (
        f"  unanswered: task {task.task_id[:SHORT]} for version {task.base_version}{until} "
        f"({task.state})"
    )
