"""A task, from its offer to its end."""

from __future__ import annotations

from typing import Any

from coordinator.explaining.answer import SHORT, Explanation, Scene
from coordinator.records import LedgerRow, TaskRow
from coordinator.wording import count_of, moment, span
from schemas.digest import update_id_of
from settings.errors import one_line

LEASE_ENDED = "its lease ended"  # what `coordinator.dispatch` says of a lapsed task


def explain_task(scene: Scene, task: TaskRow) -> Explanation:
    """What became of a task."""
    answers = scene.accounts.updates_of_task(task.task_id)
    words = [
        *history_of(scene, task),
        *(_answer_in_words(row) for row in answers),
        *([] if answers or not task.worker_id else where_it_may_be(scene, task)),
        *_strays_for(scene, task),
    ]
    facts = {**facts_of(scene, task), "updates": [row.update_id for row in answers]}
    return Explanation("task", task.task_id, words, facts)


def history_of(scene: Scene, task: TaskRow) -> list[str]:
    """What is known of a task, in sentences."""
    name = f"Task {task.task_id[:SHORT]}"
    instead = f", in place of task {task.replaces[:SHORT]}" if task.replaces else ""
    to = f" to worker {task.worker_id}" if task.direct else ""
    words = [
        f"{name} was offered{to} {moment(task.offered_at)} in the round of version "
        f"{task.offered_version}{instead}."
    ]
    if task.taken_at is not None:
        words.append(_taken(scene, task))
    words.append(_state(scene, task))
    replacement = scene.accounts.replacement_of(task)
    if replacement is not None:
        words.append(
            f"Task {replacement.task_id[:SHORT]} was offered in its place "
            f"{moment(replacement.offered_at)}."
        )
    return words


def facts_of(scene: Scene, task: TaskRow) -> dict[str, Any]:
    """A task as JSON has it."""
    replacement = scene.accounts.replacement_of(task)
    return {
        "task": task.task_id,
        "run": task.run_id,
        "state": task.state,
        "reason": task.reason,
        "worker": task.worker_id or None,
        "direct": task.direct,
        "offered_version": task.offered_version,
        "base_version": task.base_version,
        "offered_at": task.offered_at,
        "taken_at": task.taken_at,
        "lease_end": task.lease_end,
        "ended_at": task.ended_at,
        "replaces": task.replaces or None,
        "replaced_by": None if replacement is None else replacement.task_id,
    }


def where_it_may_be(scene: Scene, task: TaskRow) -> list[str]:
    """Where the update is that a worker owes a task, as far as the store can tell."""
    if task.state == "declined" or (task.state == "ended" and task.taken_at is None):
        return ["No update of it came, and none is to be expected."]
    if task.state == "offered":
        return ["No update of it came: it has not been taken."]
    worker = task.worker_id
    update_id = update_id_of(scene.accounts.work.incarnation(), task.task_id, worker)
    seen = scene.accounts.worker(worker)
    parts = scene.parts_here(update_id)
    words = [f"No update of it has arrived; its id would be {update_id}."]
    if parts:
        words.append(
            f"An upload of it was begun: {count_of(parts, 'part')} came, and the worker is told "
            "which are missing when it asks."
        )
    else:
        words.append(
            f"It is in training, in the outbox of worker {worker}, or in the broker's queue of "
            "updates."
        )
    if seen is not None:
        gone = ", and was leaving" if seen.leaving else ""
        words.append(
            f"Worker {worker} was last seen {moment(seen.last_seen)}, "
            f"{span(scene.now - seen.last_seen)} ago{gone}; an update in its outbox is sent when "
            "it connects again."
        )
    return words


def end_in_words(state: str, reason: str) -> str:
    """How a task stands, and why."""
    if state == "answered" and reason == LEASE_ENDED:
        return "answered, after its lease had ended"
    return f"{state}: {one_line(reason)}" if reason else state


def _taken(scene: Scene, task: TaskRow) -> str:
    assert task.taken_at is not None
    text = (
        f"Worker {task.worker_id} took it {moment(task.taken_at)} to train on version "
        f"{task.base_version}"
    )
    if task.lease_end is None:
        return f"{text}."
    over = task.lease_end <= scene.now or task.state not in ("offered", "taken")
    return f"{text}; its lease {'was' if over else 'is'} until {moment(task.lease_end)}."


def _state(scene: Scene, task: TaskRow) -> str:
    ended = "" if task.ended_at is None else f" {moment(task.ended_at)}"
    reason = one_line(task.reason)
    match task.state:
        case "offered":
            return _offered(task)
        case "taken":
            return "It is open: its update is awaited."
        case "answered":
            return f"It was answered{ended}."
        case "declined":
            return f"It was given up{ended}: {reason}."
        case "lapsed":
            return f"Its lease ended without an answer; an update of it {_chance(scene, task)}."
        case _:
            untaken = ", untaken" if task.taken_at is None else ""
            return f"It was ended{ended}{untaken}: {reason}."


def _offered(task: TaskRow) -> str:
    if not task.direct:
        return "It is open: a worker that may take a task can have it."
    until = "" if task.lease_end is None else f"; its lease is until {moment(task.lease_end)}"
    return f"It is open, and waits for its worker{until}."


def _chance(scene: Scene, task: TaskRow) -> str:
    """What an update of a lapsed task can expect, under the policy of the open round."""
    run = scene.accounts.run(task.run_id)
    if run.policy["late"] == "weigh":
        return "may still be counted, by its staleness"
    if not task.replaced and task.base_version == run.version:
        return "may still be counted, until another task is offered in its place"
    return "is refused now"


def _answer_in_words(row: LedgerRow) -> str:
    return (
        f"Update {row.update_id[:SHORT]} of worker {row.worker_id} answered it "
        f"{moment(row.received_at)}: {row.verdict} ({one_line(row.reason)})."
    )


def _strays_for(scene: Scene, task: TaskRow) -> list[str]:
    strays = scene.accounts.strays_for_task(task.task_id, 1)
    return [
        f"A message that says it answers this task took no update id: {stray.verdict} "
        f"({one_line(stray.reason)}), digest {stray.digest[:SHORT]}, {moment(stray.received_at)}."
        for stray in strays
    ]
