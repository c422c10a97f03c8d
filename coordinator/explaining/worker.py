"""A worker: what it sent, what it took, and whether it may take a task now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coordinator.accounts import Wanted
from coordinator.cohort import cohort_of
from coordinator.explaining.answer import SHORT, Explanation, Scene
from coordinator.explaining.standing import EVALUATES, may_be_drawn, may_take
from coordinator.explaining.task import end_in_words
from coordinator.explaining.task import facts_of as task_facts
from coordinator.intake import EVALUATION, KIND
from coordinator.listing import facts_of
from coordinator.records import LedgerRow, TaskRow, WorkerRow
from coordinator.wording import listed, moment, span
from settings.errors import one_line

LAST_UPDATES = 10
LAST_TASKS = 5


def explain_worker(scene: Scene, worker_id: str) -> Explanation:
    """What is known of a worker."""
    accounts = scene.accounts
    wanted = Wanted(worker_id=worker_id)
    verdicts = accounts.verdicts(replace(wanted, kind=KIND))
    evaluations = accounts.verdicts(replace(wanted, kind=EVALUATION))
    evaluates = worker_id in cohort_of(accounts.run().settings)
    updates = accounts.last_updates(wanted, LAST_UPDATES)
    ends = accounts.task_ends_of_worker(worker_id)
    tasks = accounts.tasks_of_worker(worker_id, LAST_TASKS)
    strays = accounts.strays(replace(wanted, refused=True), None, 1)
    direct = accounts.run().policy["dispatch"] == "direct"
    bar, why = (may_be_drawn if direct else may_take)(scene, worker_id)
    seen = accounts.worker(worker_id)
    may = "be given a task" if direct else "take a task"
    words = [
        _seen(scene, worker_id),
        *([] if seen is None else _habits(seen)),
        # Where this is what keeps it from a task it is said below.
        *[f"{EVALUATES.capitalize()}."] * (evaluates and (bar is None or bar.why != "evaluates")),
        f"Its updates: {listed(verdicts)}.",
        *[f"Its evaluations: {listed(evaluations)}."] * bool(evaluations),
        *(_update(row) for row in updates),
        f"Tasks it took: {sum(count for *_, count in ends)}.",
        *(f"  {count} {end_in_words(state, reason)}" for state, reason, count in ends),
        *(_task(scene, task) for task in tasks if task.state in ("taken", "lapsed")),
        *["Messages in its name took no update id: `fedmq updates --worker " + worker_id + "`."]
        * bool(strays),
        f"It {'may' if bar is None else 'may not'} {may} now: {why}.",
    ]
    facts: dict[str, Any] = {
        "worker": worker_id,
        "first_seen": None if seen is None else seen.first_seen,
        "last_seen": None if seen is None else seen.last_seen,
        "leaving": None if seen is None else seen.leaving,
        "declares": None if seen is None else _declares(seen),
        "duration_s": None if seen is None else seen.duration_s or None,
        "train_s": None if seen is None else seen.train_s or None,
        "loss": None if seen is None else seen.loss,
        "evaluates": evaluates,
        "updates": verdicts,
        "evaluations": evaluations,
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


def _seen(scene: Scene, worker_id: str) -> str:
    seen = scene.accounts.worker(worker_id)
    if seen is None:
        return f"Worker {worker_id} sent updates, and never said that it was there."
    gone = ", and was leaving" if seen.leaving else ""
    return (
        f"Worker {worker_id} was first seen {moment(seen.first_seen)} and last "
        f"{moment(seen.last_seen)}, {span(scene.now - seen.last_seen)} ago{gone}."
    )


def _habits(seen: WorkerRow) -> list[str]:
    """What it declared, and how long its tasks take."""
    battery = "" if seen.battery < 0 else f"battery {seen.battery:.0%}"
    says = [
        f"examples {seen.examples}" * bool(seen.examples),
        f"capabilities {seen.capabilities}" * bool(seen.capabilities),
        battery,
        "metered" * seen.metered,
        f"hours {seen.hours}" * bool(seen.hours),
    ]
    says = [part for part in says if part]
    takes = f"Its tasks take about {span(seen.duration_s)}" if seen.duration_s else ""
    trains = f", {span(seen.train_s)} of that training" if takes and seen.train_s else ""
    return [
        *[f"It says: {', '.join(says)}."] * bool(says),
        *[f"{takes}{trains}."] * bool(takes),
    ]


def _declares(seen: WorkerRow) -> dict[str, Any]:
    """What it declared, None where it did not say."""
    return {
        "examples": seen.examples or None,
        "capabilities": seen.capabilities.split(),
        "battery": None if seen.battery < 0 else seen.battery,
        "metered": seen.metered,
        "hours": seen.hours or None,
    }


def _update(row: LedgerRow) -> str:
    what = "evaluation of " * (row.kind == EVALUATION)
    return (
        f"  {moment(row.received_at)}  {row.update_id[:SHORT]}  {what}version {row.base_version}  "
        f"{row.verdict} ({one_line(row.reason)})"
    )


def _task(scene: Scene, task: TaskRow) -> str:
    until = "" if task.lease_end is None else f", lease until {moment(task.lease_end)}"
    return (
        f"  unanswered: task {task.task_id[:SHORT]} for version {task.base_version}{until} "
        f"({task.state})"
    )
