"""The rows of the workers: what can be read and written of them in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import and_, delete, exists, func, or_, select, type_coerce
from sqlalchemy.types import NullType

from broker.transport import AnswerTo
from coordinator import schema
from coordinator.cohort import NO_COHORT, Cohort
from coordinator.events import TRY_AGAIN
from coordinator.fairness import Participation
from coordinator.intake import KIND
from coordinator.prepared import change, insertion_or_change
from coordinator.records import WorkerRow
from coordinator.work import Work

PAGE_ROWS = 10_000
_AS_IT_IS = NullType()

UNKNOWN: dict[str, Any] = {
    "address": "",
    "correlation_id": "",
    "examples": 0,
    "capabilities": "",
    "battery": -1.0,
    "metered": False,
    "clock_offset": -1,
    "hours": "",
    "duration_s": 0.0,
    "train_s": 0.0,
    "loss": None,
    "rest_until": 0.0,
    "unheard": 0,
}
"""What is known of a worker before it has said or done anything."""


def address_of(question: AnswerTo) -> dict[str, str]:
    """Where a worker is answered, as its row has it."""
    return {"address": question.address, "correlation_id": question.correlation_id}


class Enrolment:
    """The workers of a store, within one transaction."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._connection = work.connection

    def see(
        self,
        worker_id: str,
        leaving: bool,
        now: float,
        question: AnswerTo | None = None,
        number: int | None = None,
        **declared: Any,
    ) -> None:
        """Note that a worker was there, and where it waits for the answer to its last question.

        Args:
            worker_id: The worker.
            leaving: It said that it goes.
            now: The coordinator's time.
            question: Of its own, None to leave what is there.
            number: Its row in the registry, if it is new; None for one above all others.
            declared: Further columns, as it says.
        """
        said: dict[str, Any] = {"last_seen": now, "leaving": leaving, "unheard": 0, **declared}
        if question is not None:
            said |= address_of(question)
        number = self._next_number() if number is None else number
        new = {"first_seen": now, "number": number, **UNKNOWN, **said, "worker_id": worker_id}
        insertion_or_change(schema.workers, "worker_id", tuple(new), tuple(said)).run(
            self._connection, new
        )

    def _next_number(self) -> int:
        query = select(func.coalesce(func.max(schema.workers.c.number) + 1, 0))
        number: int = self._connection.execute(query).scalar_one()
        return number

    def change(self, worker_id: str, **values: Any) -> None:
        """Change fields of a worker, if it is known."""
        change(schema.workers, ("worker_id",), tuple(values)).run(
            self._connection, {"_worker_id": worker_id, **values}
        )

    def forget(self, worker_ids: Sequence[str]) -> None:
        """Let workers go; how many were forgotten is still counted."""
        table = schema.workers
        for start in range(0, len(worker_ids), PAGE_ROWS):
            some = worker_ids[start : start + PAGE_ROWS]
            gone = delete(table).where(table.c.worker_id.in_(some))
            self._work.drop("worker", "", self._connection.execute(gone).rowcount)

    def count(self) -> int:
        """How many workers are known."""
        count: int = self._connection.execute(
            select(func.count(schema.workers.c.number))
        ).scalar_one()
        return count

    def ids(self) -> list[str]:
        """All workers, by name."""
        column = schema.workers.c.worker_id
        return list(self._connection.execute(select(column).order_by(column)).scalars())

    def waiting(self, since: float, limit: int) -> list[WorkerRow]:
        """Workers that asked something and were seen since a time, in the order of their names."""
        table = schema.workers
        query = select(table).where(table.c.address != "", table.c.last_seen >= since)
        return self._work.rows(WorkerRow, query.order_by(table.c.worker_id).limit(limit))

    def pages(self, *columns: str) -> Iterator[list[Sequence[Any]]]:
        """These columns of all workers, in the order of their numbers.

        Yields:
            The columns of some thousands of workers each, as the database has them.
        """
        table = schema.workers
        raw = (type_coerce(table.c[name], _AS_IT_IS) for name in columns)  # conversions take long
        with self._connection.execute(select(*raw).order_by(table.c.number)) as result:
            for page in result.partitions(PAGE_ROWS):
                yield list(zip(*page, strict=True))

    # what follows from other tables

    def drawn(self, run_id: str) -> dict[str, int]:
        """How many tasks of a run each worker was given, or took."""
        table = schema.tasks
        query = select(table.c.worker_id, func.count()).where(
            table.c.run_id == run_id, table.c.kind == KIND, table.c.worker_id != ""
        )
        return self._counts(query.group_by(table.c.worker_id))

    def counted(self, run_id: str) -> dict[str, int]:
        """How many updates of each worker were counted in a run."""
        table = schema.ledger
        query = select(table.c.worker_id, func.count()).where(
            table.c.run_id == run_id, table.c.kind == KIND, table.c.verdict == "counted"
        )
        return self._counts(query.group_by(table.c.worker_id))

    def spent(self, run_id: str, version: int) -> dict[str, bool]:
        """Whose try at a version is used up, and whether by an update that was counted.

        It is `Work.spent_by`, for all workers.
        """
        ledger, runs = schema.ledger, schema.runs
        counted = ledger.c.verdict.in_(("counted", "repeated"))
        refused = and_(
            ledger.c.verdict.not_in(TRY_AGAIN),
            ledger.c.incarnation == select(schema.store.c.incarnation).scalar_subquery(),
            ledger.c.arrival
            > select(runs.c.tries_after).where(runs.c.run_id == run_id).scalar_subquery(),
        )
        query = select(ledger.c.worker_id, func.max(counted)).where(
            ledger.c.run_id == run_id,
            ledger.c.round_version == version,  # what is of this version can meet no other round
            ledger.c.kind == KIND,
            ledger.c.base_version == version,
            or_(counted, refused),
        )
        rows = self._connection.execute(query.group_by(ledger.c.worker_id))
        return {row[0]: bool(row[1]) for row in rows}

    def unseen_since_lapse(self, run_id: str, version: int) -> list[str]:
        """Workers whose task for a version lapsed, and who wait for no other.

        From whom nothing came since, or who last said that its update is on its way.
        """
        tasks, workers = schema.tasks, schema.workers
        query = (
            select(tasks.c.worker_id)
            .distinct()
            .join(workers, workers.c.worker_id == tasks.c.worker_id)
            .where(
                tasks.c.run_id == run_id,
                tasks.c.kind == KIND,
                tasks.c.state == "lapsed",
                tasks.c.base_version == version,
                or_(
                    tasks.c.ended_at > workers.c.last_seen,
                    tasks.c.on_its_way != "",
                ),
            )
        )
        return list(self._connection.execute(query).scalars())

    def participation(self, run_id: str, cohort: Cohort = NO_COHORT) -> Participation:
        """How evenly the known workers, and those that were counted, took part in a run.

        Those of the evaluation cohort never train, and are left out.
        """
        ledger, workers = schema.ledger, schema.workers
        counted = and_(
            ledger.c.run_id == run_id, ledger.c.kind == KIND, ledger.c.verdict == "counted"
        )
        each = (
            select(func.count().label("updates")).where(counted).group_by(ledger.c.worker_id)
        ).subquery()
        query = select(each.c.updates, func.count()).group_by(each.c.updates)
        by_count = {row[0]: row[1] for row in self._connection.execute(query)}
        never = select(func.count(workers.c.number)).where(
            ~exists().where(counted, ledger.c.worker_id == workers.c.worker_id)
        )
        by_count[0] = self._connection.execute(never).scalar_one()
        if cohort.share:
            by_count[0] -= sum(worker_id in cohort for worker_id in self.ids())
        return Participation.of(by_count)

    def _counts(self, query: Any) -> dict[str, int]:
        return {row[0]: row[1] for row in self._connection.execute(query)}
