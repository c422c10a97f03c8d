"""What people ask of the store: which updates there are, and what became of them.

Rules: only questions, no writes; lists are read in pages, each a transaction of its own, so that
whoever reads slowly holds nothing up, and memory does not grow with the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, Table, and_, func, or_, select, tuple_

from coordinator import schema
from coordinator.errors import RunError
from coordinator.records import LedgerRow, RunRow, StrayRow, TaskRow, WorkerRow
from coordinator.store import Store
from coordinator.work import Work

PAGE_ROWS = 1000
STRAY_PAGE_ROWS = 10_000  # each page sorts them all

_RowT = TypeVar("_RowT")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which updates are asked for; None: any.

    Attributes:
        round_version: The version whose round was open when the update came.
        refused: Any verdict but "counted"; of strays, those that were not accepted later.
        until: Only what came before this time.
        kind: Of task: "train" or "evaluate".
    """

    run_id: str | None = None
    round_version: int | None = None
    worker_id: str | None = None
    verdict: str | None = None
    refused: bool = False
    until: float | None = None
    kind: str | None = None

    @property
    def strays_too(self) -> bool:
        """Whether a message without an update id, and so without run and round, may be meant."""
        return self.run_id is None and self.round_version is None


def each_update(store: Store, wanted: Wanted, page_rows: int = PAGE_ROWS) -> Iterator[LedgerRow]:
    """The updates asked for, in the order of their arrival."""
    last = 0
    while True:
        with store.reading() as work:
            rows = Accounts(work).updates(wanted, last, page_rows)
        yield from rows
        if len(rows) < page_rows:
            return
        last = rows[-1].arrival


def each_stray(
    store: Store, wanted: Wanted, page_rows: int = STRAY_PAGE_ROWS
) -> Iterator[StrayRow]:
    """The strays asked for, oldest first; by worker, those that speak in its name."""
    last: StrayRow | None = None
    while True:
        with store.reading() as work:
            rows = Accounts(work).strays(wanted, last, page_rows)
        yield from rows
        if len(rows) < page_rows:
            return
        last = rows[-1]


class Accounts:
    """Questions within one transaction."""

    def __init__(self, work: Work) -> None:
        self.work = work

    # runs

    def run(self, prefix: str = "") -> RunRow:
        """The run whose id begins so; the newest if nothing is said.

        Raises:
            RunError: If there is none, or more than one.
        """
        runs = self.work.runs()
        if not runs:
            raise RunError("expected a run, but none was ever begun here: start the coordinator")
        found = [row for row in runs if row.run_id.startswith(prefix)] if prefix else runs[-1:]
        if len(found) != 1:
            known = ", ".join(row.run_id[:8] for row in runs) or "none"
            came = f"{prefix!r}, how {len(found)} of them begin" if found else repr(prefix)
            raise RunError(f"expected the id of one run ({known}), came {came}")
        return found[0]

    def run_after(self, run: RunRow) -> RunRow | None:
        """The run that was begun after another."""
        return next((row for row in self.work.runs() if row.number > run.number), None)

    # updates

    def updates(self, wanted: Wanted, after: int, limit: int) -> list[LedgerRow]:
        """A page of updates: those that arrived after a number."""
        table = schema.ledger
        query = select(table).where(table.c.arrival > after, *_conditions(wanted))
        return self.work.rows(LedgerRow, query.order_by(table.c.arrival).limit(limit))

    def last_updates(self, wanted: Wanted, limit: int) -> list[LedgerRow]:
        """The updates that came last, oldest first."""
        table = schema.ledger
        query = select(table).where(*_conditions(wanted)).order_by(table.c.arrival.desc())
        return self.work.rows(LedgerRow, query.limit(limit))[::-1]

    def updates_like(self, prefix: str, limit: int) -> list[LedgerRow]:
        """Updates whose id begins so."""
        return self._like(LedgerRow, schema.ledger, schema.ledger.c.update_id, prefix, limit)

    def updates_of_task(self, task_id: str) -> list[LedgerRow]:
        """The updates that answered a task: two workers may have held it."""
        table = schema.ledger
        query = select(table).where(table.c.task_id == task_id).order_by(table.c.arrival)
        return self.work.rows(LedgerRow, query)

    def verdicts(self, wanted: Wanted) -> dict[str, int]:
        """How many updates have each verdict."""
        column = schema.ledger.c.verdict
        query = select(column, func.count()).where(*_conditions(wanted)).group_by(column)
        return self._counts(query)

    def copies(self, run_id: str) -> int:
        """How many deliveries of a run's updates were copies of one that has its verdict."""
        table = schema.ledger
        query = select(func.coalesce(func.sum(table.c.copies), 0)).where(table.c.run_id == run_id)
        total: int = self.work.connection.execute(query).scalar_one()
        return total

    def latecomers(self, run_id: str, version: int, limit: int) -> list[LedgerRow]:
        """Updates of a version that came when its round had closed."""
        table = schema.ledger
        query = (
            select(table)
            .where(
                table.c.run_id == run_id,
                table.c.round_version > version,
                table.c.base_version == version,
            )
            .order_by(table.c.arrival)
            .limit(limit)
        )
        return self.work.rows(LedgerRow, query)

    # strays

    def strays(self, wanted: Wanted, after: StrayRow | None, limit: int) -> list[StrayRow]:
        """A page of strays."""
        table = schema.strays
        conditions: list[ColumnElement[bool]] = []
        if wanted.verdict is not None:
            conditions.append(table.c.verdict == wanted.verdict)
        if wanted.refused or wanted.verdict is not None:
            conditions.append(table.c.accepted_at.is_(None))
        if wanted.worker_id is not None:
            conditions.append(table.c.claims["worker_id"].as_string() == wanted.worker_id)
        if after is not None:
            place = tuple_(table.c.received_at, table.c.digest)
            conditions.append(place > (after.received_at, after.digest))
        query = select(table).where(*conditions)
        return self.work.rows(
            StrayRow, query.order_by(table.c.received_at, table.c.digest).limit(limit)
        )

    def strays_like(self, prefix: str, limit: int) -> list[StrayRow]:
        """Strays whose digest begins so."""
        return self._like(StrayRow, schema.strays, schema.strays.c.digest, prefix, limit)

    def strays_for_task(self, task_id: str, limit: int) -> list[StrayRow]:
        """Strays that claim to answer a task, and were not accepted later."""
        table = schema.strays
        query = select(table).where(
            table.c.claims["task_id"].as_string() == task_id, table.c.accepted_at.is_(None)
        )
        return self.work.rows(StrayRow, query.order_by(table.c.received_at).limit(limit))

    def accepted_strays(self) -> int:
        """How many strays came again and were accepted."""
        table = schema.strays
        query = select(func.count()).where(table.c.accepted_at.is_not(None))
        count: int = self.work.connection.execute(query).scalar_one()
        return count

    # tasks

    def tasks_like(self, prefix: str, limit: int) -> list[TaskRow]:
        """Tasks whose id begins so."""
        return self._like(TaskRow, schema.tasks, schema.tasks.c.task_id, prefix, limit)

    def replacement_of(self, task: TaskRow) -> TaskRow | None:
        """The task that was offered in place of another."""
        if not task.replaced:
            return None
        table = schema.tasks
        query = select(table).where(table.c.run_id == task.run_id, table.c.replaces == task.task_id)
        return next(iter(self.work.rows(TaskRow, query.limit(1))), None)

    def tasks_of_worker(self, worker_id: str, limit: int) -> list[TaskRow]:
        """The tasks that a worker took last, oldest first."""
        table = schema.tasks
        query = select(table).where(table.c.worker_id == worker_id)
        query = query.order_by(table.c.taken_at.desc(), table.c.number.desc()).limit(limit)
        return self.work.rows(TaskRow, query)[::-1]

    def taken_by(self, run_id: str, worker_id: str) -> int:
        """How many tasks of a run a worker took, or was given."""
        table = schema.tasks
        query = select(func.count()).where(table.c.run_id == run_id, table.c.worker_id == worker_id)
        count: int = self.work.connection.execute(query).scalar_one()
        return count

    def task_ends_of_worker(self, worker_id: str) -> list[tuple[str, str, int]]:
        """State, reason and number of the tasks that a worker took."""
        return self._ends(schema.tasks.c.worker_id == worker_id)

    def task_ends_of_round(self, run_id: str, version: int) -> list[tuple[str, str, int]]:
        """State, reason and number of a round's tasks: taken in it, or offered and never taken."""
        table = schema.tasks
        untaken = and_(table.c.base_version.is_(None), table.c.offered_version == version)
        return self._ends(
            and_(table.c.run_id == run_id, or_(table.c.base_version == version, untaken))
        )

    def declined(self, run_id: str) -> dict[str, int]:
        """How often tasks of a run were given up, by reason."""
        table = schema.tasks
        query = (
            select(table.c.reason, func.count())
            .where(table.c.run_id == run_id, table.c.state == "declined")
            .group_by(table.c.reason)
        )
        return self._counts(query)

    def offered_in_round(self, run_id: str, version: int) -> int:
        """How many tasks were offered while a version was current."""
        table = schema.tasks
        query = select(func.count()).where(
            table.c.run_id == run_id, table.c.offered_version == version
        )
        count: int = self.work.connection.execute(query).scalar_one()
        return count

    def untaken(self, run_id: str) -> int:
        """How many open tasks nobody has taken."""
        table = schema.tasks
        query = select(func.count()).where(table.c.run_id == run_id, table.c.state == "offered")
        count: int = self.work.connection.execute(query).scalar_one()
        return count

    def takers(self, after: str, limit: int) -> list[tuple[str, str]]:
        """A page of all tasks that somebody took, by their ids, each with its worker."""
        table = schema.tasks
        query = select(table.c.task_id, table.c.worker_id)
        query = query.where(table.c.task_id > after, table.c.worker_id != "")
        rows = self.work.connection.execute(query.order_by(table.c.task_id).limit(limit))
        return [(row[0], row[1]) for row in rows]

    # workers

    def worker(self, worker_id: str) -> WorkerRow | None:
        """A worker that was seen."""
        table = schema.workers
        query = select(table).where(table.c.worker_id == worker_id)
        return next(iter(self.work.rows(WorkerRow, query)), None)

    def knows_worker(self, worker_id: str) -> bool:
        """Whether a worker was seen, took a task, or sent an update."""
        columns = (schema.workers.c, schema.ledger.c, schema.tasks.c)
        return bool(worker_id) and any(
            self.work.connection.execute(
                select(column.worker_id).where(column.worker_id == worker_id).limit(1)
            ).first()
            for column in columns
        )

    def _ends(self, condition: ColumnElement[bool]) -> list[tuple[str, str, int]]:
        table = schema.tasks
        query = (
            select(table.c.state, table.c.reason, func.count())
            .where(condition)
            .group_by(table.c.state, table.c.reason)
            .order_by(table.c.state, func.count().desc(), table.c.reason)
        )
        return [(row[0], row[1], row[2]) for row in self.work.connection.execute(query)]

    def _like(
        self, kind: type[_RowT], table: Table, column: ColumnElement[str], prefix: str, limit: int
    ) -> list[_RowT]:
        # A range and not LIKE, which no index helps.
        query = select(table).where(column >= prefix, column < prefix + "g").order_by(column)
        return self.work.rows(kind, query.limit(limit))

    def _counts(self, query: Select[Any]) -> dict[str, int]:
        counts = {row[0]: row[1] for row in self.work.connection.execute(query)}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    table = schema.ledger
    equal: Mapping[str, object] = {
        "run_id": wanted.run_id,
        "round_version": wanted.round_version,
        "worker_id": wanted.worker_id,
        "verdict": wanted.verdict,
        "kind": wanted.kind,
    }
    conditions = [table.c[name] == value for name, value in equal.items() if value is not None]
    if wanted.refused:
        conditions.append(table.c.verdict != "counted")
    if wanted.until is not None:
        conditions.append(table.c.received_at < wanted.until)
    return conditions
