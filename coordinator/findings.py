"""What evaluations found: what can be read and written of it in one transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from coordinator import schema
from coordinator.evaluating import KIND
from coordinator.records import CourseRow, EvaluationRow, LedgerRow
from coordinator.scores import Answer
from coordinator.work import Work


class Findings:
    """The evaluations of a store, within one transaction."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._connection = work.connection

    def insert(self, row: EvaluationRow) -> None:
        """Add an evaluation; one by the same of the same version gives way."""
        values: dict[str, Any] = {name: getattr(row, name) for name in row.__dataclass_fields__}
        first = insert(schema.evaluations).values(**values)
        key = ["run_id", "version", "by"]
        query = first.on_conflict_do_update(index_elements=key, set_=values)
        self._connection.execute(query)

    def change(self, run_id: str, version: int, by: str, **values: Any) -> None:
        """Change fields of an evaluation."""
        table = schema.evaluations
        query = update(table).where(
            table.c.run_id == run_id, table.c.version == version, table.c.by == by
        )
        self._connection.execute(query.values(**values))

    def of_run(self, run_id: str, by: str) -> list[EvaluationRow]:
        """All evaluations of a run by somebody, in the order in which they closed; open ones last.

        They are few beside the updates of a run; still, this is for the start and not for each.
        """
        table = schema.evaluations
        query = select(table).where(table.c.run_id == run_id, table.c.by == by)
        query = query.order_by(table.c.closed_at.is_(None), table.c.closed_at, table.c.version)
        return self._work.rows(EvaluationRow, query)

    def of_version(self, run_id: str, version: int) -> list[EvaluationRow]:
        """The evaluations of a version: by the cohort, by the coordinator."""
        table = schema.evaluations
        query = select(table).where(table.c.run_id == run_id, table.c.version == version)
        return self._work.rows(EvaluationRow, query.order_by(table.c.by))

    def newest(self, run_id: str, by: str) -> EvaluationRow | None:
        """The newest version's evaluation that has closed and says something."""
        table = schema.evaluations
        query = select(table).where(
            table.c.run_id == run_id, table.c.by == by, table.c.conclusive.is_(True)
        )
        query = query.order_by(table.c.version.desc()).limit(1)
        return next(iter(self._work.rows(EvaluationRow, query)), None)

    def answers(self, run_id: str, version: int) -> list[Answer]:
        """The counted answers of a version, in the order of their arrival."""
        table = schema.ledger
        query = select(table).where(
            table.c.run_id == run_id,
            table.c.kind == KIND,
            table.c.base_version == version,
            table.c.verdict == "counted",
        )
        rows = self._work.rows(LedgerRow, query.order_by(table.c.arrival))
        return [_answer(row) for row in rows]

    def incarnation(self) -> int:
        """The store's life."""
        return self._work.incarnation()

    def next_number(self, run_id: str) -> int:
        """The number of the next task to evaluate."""
        return self._work.next_number(run_id, KIND)

    def asked(self, run_id: str, version: int) -> dict[str, tuple[str, str]]:
        """Who was asked to evaluate a version: worker to its newest task and that one's state."""
        table = schema.tasks
        query = (
            select(table.c.worker_id, table.c.task_id, table.c.state)
            .where(table.c.run_id == run_id, table.c.kind == KIND, table.c.base_version == version)
            .order_by(table.c.number)
        )
        return {row[0]: (row[1], row[2]) for row in self._connection.execute(query)}

    # what follows

    def course(self, run_id: str) -> CourseRow:
        """What followed from the evaluations of a run."""
        table = schema.courses
        rows = self._work.rows(CourseRow, select(table).where(table.c.run_id == run_id))
        return rows[0] if rows else CourseRow(run_id)

    def set_course(self, row: CourseRow) -> None:
        """Note what follows from the evaluations of a run."""
        values: dict[str, Any] = {name: getattr(row, name) for name in row.__dataclass_fields__}
        first = insert(schema.courses).values(**values)
        self._connection.execute(
            first.on_conflict_do_update(index_elements=["run_id"], set_=values)
        )


def _answer(row: LedgerRow) -> Answer:
    """Workers send sums over all their examples; only what these weigh is capped."""
    means = {name: total / row.num_examples for name, total in row.metrics.items()}
    return Answer(row.weight, means)
