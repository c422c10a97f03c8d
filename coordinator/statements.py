"""The questions that are asked for every update, task or round, made into SQL once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Select, Table, and_, bindparam, func, or_, select

from coordinator import schema
from coordinator.events import TRY_AGAIN
from coordinator.intake import KIND
from coordinator.prepared import Prepared, PreparedRows
from coordinator.records import LedgerRow, TaskRow, VersionRow

_ledger, _tasks, _runs, _strays = schema.ledger, schema.tasks, schema.runs, schema.strays


def _with(table: Table, *names: str) -> Callable[[Select[Any]], Select[Any]]:
    """Rows that have given values in these columns; the parameters have the columns' names."""
    return lambda rows: rows.where(*(table.c[name] == bindparam(name) for name in names))


VERSION: Final = PreparedRows(
    VersionRow, schema.versions, _with(schema.versions, "run_id", "version")
)
TASK: Final = PreparedRows(TaskRow, _tasks, _with(_tasks, "task_id"))
UPDATE: Final = PreparedRows(LedgerRow, _ledger, _with(_ledger, "update_id"))
VERDICT: Final = Prepared(_with(_ledger, "update_id")(select(_ledger.c.verdict)))

_OF_WORKER = _with(_ledger, "run_id", "kind", "base_version", "worker_id")

COUNTED: Final = Prepared(
    _OF_WORKER(select(_ledger.c.arrival).where(_ledger.c.verdict == "counted").limit(1))
)

SPENT: Final = PreparedRows(
    LedgerRow,
    _ledger,
    lambda rows: (
        _OF_WORKER(rows)
        .where(
            or_(
                _ledger.c.verdict.in_(("counted", "repeated")),
                and_(
                    _ledger.c.verdict.not_in(sorted(TRY_AGAIN)),
                    _ledger.c.incarnation == select(schema.store.c.incarnation).scalar_subquery(),
                    _ledger.c.arrival
                    > select(_runs.c.tries_after)
                    .where(_runs.c.run_id == bindparam("run_id"))
                    .scalar_subquery(),
                ),
            )
        )
        .order_by((_ledger.c.verdict == "counted").desc(), _ledger.c.arrival.desc())
        .limit(1)
    ),
)

AWAITED: Final = Prepared(
    _with(_tasks, "run_id", "worker_id", "base_version")(
        select(
            _tasks.c.task_id, _tasks.c.state, func.coalesce(_tasks.c.ended_at, _tasks.c.lease_end)
        ).where(
            or_(
                _tasks.c.state == "taken",
                and_(_tasks.c.state == "lapsed", _tasks.c.kind == KIND),
            )
        )
    )
)

TOOK_ANY: Final = Prepared(
    _with(_tasks, "run_id", "worker_id", "base_version", "kind")(select(_tasks.c.task_id).limit(1))
)

ANY_VERDICT: Final = Prepared(_OF_WORKER(select(_ledger.c.arrival).limit(1)))

NEWEST_TASK: Final = Prepared(
    _with(_tasks, "run_id", "kind")(select(func.coalesce(func.max(_tasks.c.number), -1)))
)

LAST_ARRIVAL: Final = Prepared(select(func.coalesce(func.max(_ledger.c.arrival), 0)))

STRAYS_OF_SIZE: Final = Prepared(_with(_strays, "num_bytes")(select(_strays.c.num_bytes).limit(1)))

WHY_CLOSED: Final = Prepared(_with(_runs, "run_id")(select(_runs.c.why)))

OLDEST_SEGMENT: Final = Prepared(
    _with(_ledger, "run_id")(
        select(func.min(_ledger.c.segment)).where(
            _ledger.c.round_version >= bindparam("from_version"), _ledger.c.segment > 0
        )
    )
)
