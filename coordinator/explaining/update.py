"""An update: its verdict and what follows from it; or that it never came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coordinator.accounts import Accounts
from coordinator.explaining.answer import SHORT, Explanation, Scene
from coordinator.explaining.task import facts_of as task_facts
from coordinator.explaining.task import history_of, where_it_may_be
from coordinator.intake import EVALUATION, KIND
from coordinator.listing import facts_of
from coordinator.meanings import Meaning, meaning_of
from coordinator.records import LedgerRow, StrayRow, TaskRow
from coordinator.wording import count_of, moment
from schemas.digest import update_id_of
from settings.errors import one_line

TAKERS_PAGE = 10_000
UNPROVED = (
    "it cannot be read, or its id or digest does not hold, so it may be forged and stands for "
    "nobody's update"
)
TOOK_NO_ID: Mapping[str, str] = {
    "unsupported version": "this coordinator cannot read it, and so not whose it is",
    "unauthenticated": "it may be forged and stands for nobody's update",
    "unknown task": "it is a part of an update that nobody can be waiting for",
    "poison": "the coordinator never got so far as to read it",
}


def explain_update(scene: Scene, row: LedgerRow) -> Explanation:
    """What became of an update that came."""
    task = scene.accounts.work.task(row.task_id)
    where, place = _where(scene.accounts, row)
    meaning = _meaning(row.verdict, row.kind)
    words = [
        f"Update {row.update_id} of worker {row.worker_id}: {row.verdict} "
        f"({one_line(row.reason)}).",
        meaning.says,
        _arrival(row),
        *where,
        *_copies(row.copies),
        *([] if task is None else history_of(scene, task)),
        *_remedy(scene, row, meaning),
    ]
    facts = {
        **facts_of(row),
        **place,
        "meaning": meaning.says,
        "remedy": meaning.remedy,
        "task_history": None if task is None else task_facts(scene, task),
    }
    return Explanation("update", row.update_id, words, facts)


def explain_stray(scene: Scene, row: StrayRow) -> Explanation:
    """What became of a message that took no update id."""
    if row.accepted_at is not None:
        return _explain_accepted(scene, row, row.accepted_at)
    meaning = _meaning(row.verdict)
    words = [
        f"Stray {row.digest}: {row.verdict} ({one_line(row.reason)}).",
        meaning.says,
        f"It came {moment(row.received_at)}, {row.num_bytes} bytes, and took no update id: "
        f"{TOOK_NO_ID.get(row.verdict, UNPROVED)}.",
        _claims(row),
        *_copies(row.copies),
        f"What to do: {meaning.remedy}",
        _kept_copy(scene),
    ]
    facts = {
        **facts_of(row),
        "meaning": meaning.says,
        "remedy": meaning.remedy,
    }
    return Explanation("update", row.digest, words, facts)


def _explain_accepted(scene: Scene, row: StrayRow, accepted_at: float) -> Explanation:
    """A message that took no update id at first, and was no stray when it came again."""
    work = scene.accounts.work
    worker, task = (row.claims.get(name, "") for name in ("worker_id", "task_id"))
    update = work.ledger_row(update_id_of(work.incarnation(), task, worker))
    words = [
        f"Stray {row.digest}: it was accepted {moment(accepted_at)}, when the same bytes came "
        "again.",
        f"It came first {moment(row.received_at)}, {row.num_bytes} bytes, and was refused as "
        f"{row.verdict} ({one_line(row.reason)}).",
        _claims(row),
        *([] if update is None else [f"Update {update.update_id} of them: {update.verdict}."]),
        "There is nothing to do.",
    ]
    facts = {
        **facts_of(row),
        "update": None if update is None else update.update_id,
        "meaning": "",
        "remedy": "There is nothing to do.",
    }
    return Explanation("update", row.digest, words, facts)


def _claims(row: StrayRow) -> str:
    """Whose a stray says that it is."""
    worker, task = (row.claims.get(name) for name in ("worker_id", "task_id"))
    says = [f"worker {worker}"] * bool(worker) + [f"task {task[:SHORT] if task else ''}"] * bool(
        task
    )
    if not says:
        return "It does not say whose it is."
    return f"It says that it is of {', '.join(says)}; nobody can know."


def explain_unknown(scene: Scene, update_id: str, owed: TaskRow | None) -> Explanation:
    """What it can mean that no update of an id is in the ledger, and which task it would answer."""
    words = [f"Update {update_id} never arrived, as far as this ledger knows: it has no verdict."]
    facts: dict[str, Any] = {"id": update_id, "verdict": None, "task_history": None}
    if owed is not None:
        facts |= {"worker": owed.worker_id, "task": owed.task_id}
        facts["task_history"] = task_facts(scene, owed)
        words += [
            f"It is what worker {owed.worker_id} owes task {owed.task_id[:SHORT]}.",
            *history_of(scene, owed),
            *where_it_may_be(scene, owed)[1:],
        ]
    else:
        parts = scene.parts_here(update_id)
        if parts:
            words.append(f"An upload of it was begun: {count_of(parts, 'part')} came.")
        words += [
            "No task that this store knows, taken by a worker that it knows, gives this id.",
            "It may be in the outbox of a worker that has not connected, in the broker's queue of "
            "updates, or belong to another coordinator's store, or to this one before a restore.",
        ]
    words += [
        "If the message came but its id or digest did not hold it is a stray: `fedmq updates "
        "--worker NAME` lists those that speak in a worker's name.",
        "What to do: start the worker and let it connect; it asks for each update in its outbox, "
        "and sends it again until it has a verdict. Start the coordinator if it is not running.",
    ]
    return Explanation("update", update_id, words, facts, known=False)


def _meaning(verdict: str, kind: str = KIND) -> Meaning:
    return meaning_of(verdict, kind) or Meaning("", "")


def _arrival(row: LedgerRow) -> str:
    if row.kind == EVALUATION:
        return (
            f"It came {moment(row.received_at)}, an evaluation of version {row.base_version} of "
            f"run {row.run_id[:8]} on {count_of(row.num_examples, 'example')}. It weighs "
            f"{row.weight:g}."
        )
    behind = f", {count_of(row.staleness, 'version')} behind" if row.staleness else ""
    return (
        f"It came {moment(row.received_at)}, trained on version {row.base_version} of run "
        f"{row.run_id[:8]} with {count_of(row.num_examples, 'example')}, and met the round of "
        f"version {row.round_version}{behind}. It weighs {row.weight:g}{_less(row)}."
    )


def _less(row: LedgerRow) -> str:
    """What its staleness takes off its weight."""
    return f", and would weigh {row.full_weight:g} in time" if row.weight < row.full_weight else ""


def _where(accounts: Accounts, row: LedgerRow) -> tuple[list[str], dict[str, Any]]:
    """Which sum or model version a counted update is in."""
    nowhere: dict[str, Any] = {"in_version": None, "in_open_round": False}
    if row.verdict != "counted" or row.kind == EVALUATION:
        return [], nowhere
    number = row.round_version + 1
    version = accounts.work.version(row.run_id, number)
    if version is not None:
        text = (
            f"It is in model version {number}, made {moment(version.made_at)} of "
            f"{count_of(version.counted, 'update')}."
        )
        return [text], {**nowhere, "in_version": number}
    newest = accounts.run()
    if newest.run_id == row.run_id and newest.version == row.round_version:
        text = f"It is in the sum of the open round, which will be model version {number}."
        return [text], {**nowhere, "in_open_round": True}
    return [
        f"It is in no model version: another run was begun before the round of version "
        f"{row.round_version} had closed."
    ], nowhere


def _copies(copies: int) -> list[str]:
    if not copies:
        return []
    return [f"It was delivered {count_of(copies, 'more time')}; copies change nothing."]


def _remedy(scene: Scene, row: LedgerRow, meaning: Meaning) -> list[str]:
    if row.verdict == "counted":
        return []
    copied = row.kind != EVALUATION or row.verdict != "late"
    return [f"What to do: {meaning.remedy}", *[_kept_copy(scene)] * copied]


def _kept_copy(scene: Scene) -> str:
    return (
        f"A copy of the message may be in the broker's queue {scene.refused_queue}, if there was "
        "room for it: `fedmq dead list` shows what is there."
    )


def owed_like(accounts: Accounts, prefix: str, limit: int) -> list[tuple[str, str]]:
    """Ids that begin so of updates that a taken task would have, each with its task.

    No index helps here: an id is made of the task's and the worker's.
    """
    incarnation, last, found = accounts.work.incarnation(), "", list[tuple[str, str]]()
    while True:
        takers = accounts.takers(last, TAKERS_PAGE)
        for task_id, worker_id in takers:
            update_id = update_id_of(incarnation, task_id, worker_id)
            if update_id.startswith(prefix):
                found.append((update_id, task_id))
                if len(found) == limit:
                    return found
        if len(takers) < TAKERS_PAGE:
            return found
        last = takers[-1][0]
