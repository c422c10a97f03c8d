"""What somebody asks about: a word is read as a round, an update, a task or a worker.

A number is a round; six or more hexadecimal digits begin an update's or a task's id, or a stray's
digest; anything is a worker's name. Where a word can be read in several ways the first of them is
taken, and the others are named.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, get_args

from broker.topology import Names
from coordinator.accounts import Accounts
from coordinator.errors import RunError
from coordinator.explaining.answer import Explanation, Reading, Scene
from coordinator.explaining.round import explain_round
from coordinator.explaining.task import explain_task
from coordinator.explaining.update import (
    explain_stray,
    explain_unknown,
    explain_update,
    owed_like,
)
from coordinator.explaining.worker import explain_worker
from coordinator.records import RunRow
from coordinator.spool import Spool
from coordinator.store import Store
from schemas.digest import DIGEST_DIGITS, ID_DIGITS
from settings import Settings

PREFIX_MIN = 6  # hexadecimal digits of an id
READINGS: tuple[Reading, ...] = get_args(Reading)
_HEX = re.compile(rf"[0-9a-f]{{{PREFIX_MIN},{DIGEST_DIGITS}}}")
_ROUND = re.compile(r"\d{1,9}", re.ASCII)
_SHOWN = 3  # of ids that begin alike

_RowT = TypeVar("_RowT")


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """More ids than one begin with what was asked."""

    text: str


Found = Callable[[], Explanation] | Ambiguous


def explain(
    settings: Settings, asked: str, now: float, run: str = "", reading: Reading | None = None
) -> tuple[Explanation, list[Reading]]:
    """Explain what somebody asks about.

    Args:
        settings: Of the federation.
        asked: A round, an update id or a task id or how it begins, or a worker's name.
        now: The time, in UTC seconds.
        run: Whose round is meant: a run's id or how it begins; the newest if "".
        reading: What `asked` is, if it could be several things.

    Returns:
        The explanation, and as what else the word could be read.

    Raises:
        StoreError: If the coordinator has never run here.
        RunError: If there is no such thing, or more than one.
    """
    folder = settings.coordinator.state_dir
    store = Store.open_to_read(folder / "coordinator.db")
    try:
        spool = Spool(folder / "spool")
        with store.reading() as work:
            accounts = Accounts(work)
            queue = Names(settings.federation.name).refused_queue.name
            scene = Scene(
                accounts,
                now,
                settings.selection,
                queue,
                lambda update_id: _parts_here(spool, update_id),
            )
            return _explain(scene, asked, accounts.run(run), reading)
    finally:
        store.close()


def _explain(
    scene: Scene, asked: str, run: RunRow, reading: Reading | None
) -> tuple[Explanation, list[Reading]]:
    readings = READINGS if reading is None else (reading,)
    found = {name: _READERS[name](scene, asked, run) for name in readings}
    clear = {name: each for name, each in found.items() if callable(each)}
    if clear:
        name, answer = next(iter(clear.items()))
        return answer(), [other for other in clear if other != name]
    ambiguous = [each.text for each in found.values() if isinstance(each, Ambiguous)]
    if ambiguous:
        raise RunError(f"{'; '.join(ambiguous)}: give more digits")
    unknown = _unknown_update(scene, asked) if "update" in readings else None
    if unknown is not None:
        return unknown, []
    raise RunError(_nothing(asked, run, reading))


def _unknown_update(scene: Scene, asked: str) -> Explanation | None:
    """An update that did not come: one that a worker owes, or a whole id that nobody does."""
    if not _HEX.fullmatch(asked) or len(asked) > ID_DIGITS:
        return None
    owed = owed_like(scene.accounts, asked, _SHOWN)
    if len(owed) > 1:
        ids = [update_id for update_id, _ in owed]
        raise RunError(f"{_alike(asked, 'updates', ids).text}: give more digits")
    for update_id, task_id in owed:
        return explain_unknown(scene, update_id, scene.accounts.work.task(task_id))
    return explain_unknown(scene, asked, None) if len(asked) == ID_DIGITS else None


def _nothing(asked: str, run: RunRow, reading: Reading | None) -> str:
    digits = f"or at least {PREFIX_MIN} digits that it begins with"
    kinds = {
        "round": f"a round of run {run.run_id[:8]} (0 to {max(run.version, 0)})",
        "update": f"the id of an update, {digits}",
        "task": f"the id of a task, {digits}",
        "worker": "the name of a worker that was seen",
    }
    either = f"{kinds['round']}, the id of an update or a task, {digits}, or {kinds['worker']}"
    expected = either if reading is None else kinds[reading]
    return f"expected {expected}; came {asked!r}, which this store does not know"


def _as_round(scene: Scene, asked: str, run: RunRow) -> Found | None:
    if not _ROUND.fullmatch(asked) or scene.accounts.work.version(run.run_id, int(asked)) is None:
        return None
    return lambda: explain_round(scene, run, int(asked))


def _as_update(scene: Scene, asked: str, run: RunRow) -> Found | None:
    if not _HEX.fullmatch(asked):
        return None
    updates = scene.accounts.updates_like(asked, _SHOWN)
    strays = scene.accounts.strays_like(asked, _SHOWN)
    ids = [row.update_id for row in updates] + [row.digest for row in strays]
    if len(ids) > 1:
        return _alike(asked, "updates", ids)
    for update in updates:
        return lambda: explain_update(scene, update)
    for stray in strays:
        return lambda: explain_stray(scene, stray)
    return None


def _as_task(scene: Scene, asked: str, run: RunRow) -> Found | None:
    if not _HEX.fullmatch(asked):
        return None
    tasks = scene.accounts.tasks_like(asked, _SHOWN)
    if len(tasks) > 1:
        return _alike(asked, "tasks", [task.task_id for task in tasks])
    for task in tasks:
        return lambda: explain_task(scene, task)
    return None


def _as_worker(scene: Scene, asked: str, run: RunRow) -> Found | None:
    if not scene.accounts.knows_worker(asked):
        return None
    return lambda: explain_worker(scene, asked)


def _alike(asked: str, what: str, ids: list[str]) -> Ambiguous:
    return Ambiguous(f"several {what} begin with {asked!r}: {', '.join(ids)}")


_READERS: dict[Reading, Callable[[Scene, str, RunRow], Found | None]] = {
    "round": _as_round,
    "update": _as_update,
    "task": _as_task,
    "worker": _as_worker,
}


def _parts_here(spool: Spool, update_id: str) -> int:
    uploads = spool.parts.uploads(update_id)
    return spool.parts.count((update_id, uploads[0])) if uploads else 0
