"""What can be read and written in one transaction of the coordinator's store.

Only this module, `coordinator.statements`, `coordinator.enrolment` and `coordinator.accounts` write
queries (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    delete,
    func,
    select,
    true,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from coordinator import schema, statements
from coordinator.intake import KIND
from coordinator.prepared import change, insertion
from coordinator.records import CachedRow, LedgerRow, RunRow, StrayRow, TaskRow, VersionRow

_RowT = TypeVar("_RowT")


class Work:
    """What can be read and written in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Of the updates that this transaction has judged: who sent one asks about it right behind.
        self._given: dict[str, str] = {}
        self._counted: dict[tuple[str, str, int, str], LedgerRow] = {}

    @property
    def connection(self) -> Connection:
        """The transaction itself, for the questions of `coordinator.accounts`."""
        return self._connection

    def rows(self, kind: type[_RowT], query: Any) -> list[_RowT]:
        """What a query of a whole table finds, as values."""
        return [kind(**row) for row in self._connection.execute(query).mappings()]

    def incarnation(self) -> int:
        """The store's life."""
        value: int = self._connection.execute(select(schema.store.c.incarnation)).scalar_one()
        return value

    def newest_incarnation(self) -> int:
        """The newest life that was ever heard of: the store's, or that of a message."""
        table = schema.store
        query = select(func.max(table.c.incarnation, table.c.seen_incarnation))
        value: int = self._connection.execute(query).scalar_one()
        return value

    def see_incarnation(self, incarnation: int) -> None:
        """Note that a message of a life came."""
        query = update(schema.store).values(seen_incarnation=incarnation)
        self._connection.execute(query.where(schema.store.c.seen_incarnation < incarnation))

    def set_incarnation(self, incarnation: int) -> None:
        """Begin a new life."""
        self._connection.execute(update(schema.store).values(incarnation=incarnation))

    # runs

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        return self.rows(RunRow, select(schema.runs).order_by(schema.runs.c.number))

    def last_run(self) -> RunRow | None:
        """The newest run."""
        query = select(schema.runs).order_by(schema.runs.c.number.desc()).limit(1)
        return self._row(RunRow, query)

    def insert_run(self, row: RunRow) -> None:
        """Begin a run."""
        self._insert(schema.runs, row)

    def update_run(self, run_id: str, **values: Any) -> None:
        """Change fields of a run."""
        change(schema.runs, ("run_id",), tuple(values)).run(
            self._connection, {"_run_id": run_id, **values}
        )

    def why_closed(self, run_id: str) -> str:
        """Why the round of a run that is closed was."""
        why: str = statements.WHY_CLOSED.run(self._connection, {"run_id": run_id})[0][0]
        return why

    # versions

    def insert_version(self, row: VersionRow) -> None:
        """Add a model version whose file is on disk."""
        self._insert(schema.versions, row)

    def version(self, run_id: str, version: int) -> VersionRow | None:
        """A model version."""
        return statements.VERSION.one(self._connection, run_id=run_id, version=version)

    def versions(self, run_id: str) -> list[VersionRow]:
        """All versions of a run, oldest first."""
        table = schema.versions
        query = select(table).where(table.c.run_id == run_id).order_by(table.c.version)
        return self.rows(VersionRow, query)

    def update_version(self, run_id: str, version: int, **values: Any) -> None:
        """Change fields of a version."""
        change(schema.versions, ("run_id", "version"), tuple(values)).run(
            self._connection, {"_run_id": run_id, "_version": version, **values}
        )

    # cached updates

    def insert_cached(self, rows: Iterable[CachedRow]) -> None:
        """Add workers' last updates, whose numbers are on disk."""
        for row in rows:
            self._insert(schema.cached, row)

    def cached_as_of(self, run_id: str, version: int) -> list[CachedRow]:
        """The last update of each worker that is in force in the round of a version."""
        table = schema.cached
        newest = (
            select(table.c.worker_id, func.max(table.c.version).label("version"))
            .where(table.c.run_id == run_id, table.c.version <= version)
            .group_by(table.c.worker_id)
            .subquery()
        )
        query = (
            select(table)
            .join(
                newest,
                and_(table.c.worker_id == newest.c.worker_id, table.c.version == newest.c.version),
            )
            .where(table.c.run_id == run_id)
        )
        return self.rows(CachedRow, query)

    def cached_slots(self, run_id: str) -> list[int]:
        """The slots of all cached updates of a run, in force or not."""
        table = schema.cached
        query = select(table.c.slot).where(table.c.run_id == run_id)
        return [slot for (slot,) in self._connection.execute(query)]

    def forget_cached(self, run_id: str, above: int, up_to: int) -> list[int]:
        """Forget cached updates that others replaced, and free their slots.

        Args:
            run_id: The run.
            above: The replacements are of later versions than this one,
            up_to: and of none later than this: rounds from this version on need what is left.
        """
        table, newer = schema.cached, schema.cached.alias()
        query = (
            select(table.c.worker_id, table.c.version, table.c.slot)
            .join(newer, and_(newer.c.run_id == run_id, newer.c.worker_id == table.c.worker_id))
            .where(
                table.c.run_id == run_id,
                table.c.version < newer.c.version,
                newer.c.version > above,
                newer.c.version <= up_to,
            )
            .distinct()
        )
        slots = []
        for worker_id, version, slot in self._connection.execute(query).all():
            slots.append(slot)
            self._connection.execute(
                delete(table).where(
                    table.c.run_id == run_id,
                    table.c.worker_id == worker_id,
                    table.c.version == version,
                )
            )
        return slots

    def forget_cached_of_others(self, run_id: str) -> list[str]:
        """Forget the cached updates of all runs but one; which runs had any."""
        table = schema.cached
        other = table.c.run_id != run_id
        runs = [
            name
            for (name,) in self._connection.execute(select(table.c.run_id).where(other).distinct())
        ]
        if runs:
            self._connection.execute(delete(table).where(other))
        return runs

    # tasks

    def insert_task(self, row: TaskRow) -> None:
        """Add a task that is about to be published."""
        self._insert(schema.tasks, row)

    def task(self, task_id: str) -> TaskRow | None:
        """A task."""
        return statements.TASK.one(self._connection, task_id=task_id)

    def update_task(self, task_id: str, **values: Any) -> None:
        """Change fields of a task."""
        change(schema.tasks, ("task_id",), tuple(values)).run(
            self._connection, {"_task_id": task_id, **values}
        )

    def note_published(self, task_ids: Sequence[str]) -> None:
        """The broker has these tasks."""
        change(schema.tasks, ("task_id",), ("published",)).run_each(
            self._connection, [{"_task_id": task_id, "published": True} for task_id in task_ids]
        )

    def end_open_tasks(self, reason: str, now: float) -> None:
        """End every task that may still be answered, in all runs."""
        table = schema.tasks
        query = update(table).where(table.c.state.in_(("offered", "taken", "lapsed")))
        self._connection.execute(query.values(state="ended", reason=reason, ended_at=now))

    def newest_taken(self, run_id: str) -> int:
        """The highest number of a task that was ever taken from the pool, -1 if none was."""
        table = schema.tasks
        query = select(func.max(table.c.number)).where(
            table.c.run_id == run_id, table.c.taken_at.is_not(None), table.c.direct.is_(False)
        )
        value = self._connection.execute(query).scalar_one()
        return -1 if value is None else int(value)

    def take_task(self, task_id: str, **values: Any) -> None:
        """Change fields of a task that nobody has taken; another stays as it is."""
        change(schema.tasks, ("task_id", "state"), tuple(values)).run(
            self._connection, {"_task_id": task_id, "_state": "offered", **values}
        )

    def next_number(self, run_id: str, kind: str) -> int:
        """How many tasks of a kind were ever made in a run: they are numbered from 0 on."""
        number: int = statements.NEWEST_TASK.run(
            self._connection, {"run_id": run_id, "kind": kind}
        )[0][0]
        return number + 1

    def open_tasks(self, run_id: str, kind: str | None = None) -> list[TaskRow]:
        """Tasks offered or taken, of a kind or of any, in the order of their numbers."""
        table = schema.tasks
        query = select(table).where(
            table.c.run_id == run_id, table.c.state.in_(("offered", "taken"))
        )
        if kind is not None:
            query = query.where(table.c.kind == kind)
        return self.rows(TaskRow, query.order_by(table.c.number, table.c.kind))

    def owed_tasks(self, run_id: str, version: int) -> list[str]:
        """Tasks of a round whose lease has ended, and in whose place none was offered yet."""
        table = schema.tasks
        query = select(table.c.task_id).where(
            table.c.run_id == run_id,
            table.c.kind == KIND,
            table.c.state == "lapsed",
            table.c.offered_version == version,
            table.c.replaced.is_(False),
        )
        return list(self._connection.execute(query.order_by(table.c.number)).scalars())

    # updates

    def durations(self, run_id: str, verdicts: Collection[str], limit: int) -> list[float]:
        """How long the last tasks took whose updates have one of these verdicts, in seconds.

        From when a worker had the task to when its update came, in the order of arrival.
        """
        ledger, tasks = schema.ledger, schema.tasks
        had_at = case((tasks.c.direct, tasks.c.offered_at), else_=tasks.c.taken_at)
        query = (
            select(ledger.c.received_at - had_at)
            .join(tasks, tasks.c.task_id == ledger.c.task_id)
            .where(
                ledger.c.run_id == run_id,
                ledger.c.kind == KIND,
                ledger.c.verdict.in_(verdicts),
                had_at.is_not(None),
            )
            .order_by(ledger.c.arrival.desc())
            .limit(limit)
        )
        return [max(0.0, row[0]) for row in self._connection.execute(query)][::-1]

    def ledger_row(self, update_id: str) -> LedgerRow | None:
        """The row of an update."""
        return statements.UPDATE.one(self._connection, update_id=update_id)

    def verdict_of(self, update_id: str) -> str | None:
        """The verdict of an update, None if it has none yet."""
        if update_id in self._given:
            return self._given[update_id]
        rows = statements.VERDICT.run(self._connection, {"update_id": update_id})
        return rows[0][0] if rows else None

    def insert_ledger_row(self, row: LedgerRow) -> None:
        """Write an update's one verdict; its arrival number is given by the store."""
        values = _values(row)
        del values["arrival"]
        insertion(schema.ledger, tuple(values)).run(self._connection, values)
        self._given[row.update_id] = row.verdict
        if row.verdict == "counted":
            self._counted[row.run_id, row.kind, row.base_version, row.worker_id] = row

    def raise_copies(self, update_id: str) -> None:
        """Note that a further copy of an update came."""
        table = schema.ledger
        query = update(table).where(table.c.update_id == update_id)
        self._connection.execute(query.values(copies=table.c.copies + 1))

    def counted_before(self, run_id: str, kind: str, base_version: int, worker_id: str) -> bool:
        """Whether an update of this worker for this base version was counted."""
        asked = {
            "run_id": run_id,
            "kind": kind,
            "base_version": base_version,
            "worker_id": worker_id,
        }
        return bool(statements.COUNTED.run(self._connection, asked))

    def spent_by(self, run_id: str, kind: str, version: int, worker_id: str) -> LedgerRow | None:
        """The update that a worker's try at a version went into: counted, or else refused.

        Only a refusal for what its data are uses a try up, and only until the round is extended, or
        the run was paused for long.
        """
        counted = self._counted.get((run_id, kind, version, worker_id))
        return counted or statements.SPENT.one(
            self._connection,
            run_id=run_id,
            kind=kind,
            base_version=version,
            worker_id=worker_id,
        )

    def awaited(
        self, run_id: str, version: int, worker_id: str, since: float, *, in_pause: bool = False
    ) -> list[tuple[str, str]]:
        """A worker's tasks of a version that may still be answered: under a lease, and lapsed.

        Args:
            run_id: Of the run.
            version: That they are trained on.
            worker_id: Whose.
            since: Those that had lapsed by then are awaited no more. None does while no
                coordinator runs.
            in_pause: None lapses: one whose lease was over by then is awaited no more either.
        """
        asked = {"run_id": run_id, "worker_id": worker_id, "base_version": version}
        rows = statements.AWAITED.run(self._connection, asked)
        return [
            (task_id, state)
            for task_id, state, over_at in rows
            if over_at is None or over_at > since or (state == "taken" and not in_pause)
        ]

    def knows_a_try(self, run_id: str, version: int, worker_id: str) -> bool:
        """Whether a worker is known to have trained on a version: by its task, or its update."""
        asked = {
            "run_id": run_id,
            "kind": KIND,
            "base_version": version,
            "worker_id": worker_id,
        }
        return bool(
            statements.TOOK_ANY.run(self._connection, asked)
            or statements.ANY_VERDICT.run(self._connection, asked)
        )

    def note_on_its_way(self, run_id: str, version: int, worker_id: str, update_id: str) -> None:
        """Which update of a worker's lapsed tasks of a version is on its way; "" for none."""
        which = ("run_id", "base_version", "worker_id", "state", "kind")
        change(schema.tasks, which, ("on_its_way",)).run(
            self._connection,
            {
                "_run_id": run_id,
                "_base_version": version,
                "_worker_id": worker_id,
                "_state": "lapsed",
                "_kind": KIND,
                "on_its_way": update_id,
            },
        )

    def on_its_way(self, run_id: str, version: int, worker_id: str) -> str:
        """The update that `note_on_its_way` noted, "" if there is none."""
        table = schema.tasks
        query = select(table.c.on_its_way).where(
            table.c.run_id == run_id,
            table.c.base_version == version,
            table.c.worker_id == worker_id,
            table.c.state == "lapsed",
            table.c.kind == KIND,
        )
        found = self._connection.execute(query.order_by(table.c.on_its_way.desc()).limit(1))
        return found.scalar_one_or_none() or ""

    def last_arrival(self) -> int:
        """The arrival number of the newest update, 0 if none came."""
        number: int = statements.LAST_ARRIVAL.run(self._connection, {})[0][0]
        return number

    def counted_in_round(self, run_id: str, version: int) -> list[LedgerRow]:
        """The updates counted in the round of a version, in the order of arrival."""
        table = schema.ledger
        query = (
            select(table)
            .where(
                table.c.run_id == run_id,
                table.c.kind == KIND,
                table.c.round_version == version,
                table.c.verdict == "counted",
            )
            .order_by(table.c.arrival)
        )
        return self.rows(LedgerRow, query)

    def count_by_verdict(self, run_id: str) -> dict[str, int]:
        """How many updates of a run have each verdict; evaluations are none of them."""
        table = schema.ledger
        query = (
            select(table.c.verdict, func.count())
            .where(table.c.run_id == run_id, table.c.kind == KIND)
            .group_by(table.c.verdict)
            .order_by(func.count().desc(), table.c.verdict)
        )
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def oldest_segment(self, run_id: str, from_version: int) -> int | None:
        """The first spool segment that holds an update which met `from_version` or later."""
        asked = {"run_id": run_id, "from_version": from_version}
        value: int | None = statements.OLDEST_SEGMENT.run(self._connection, asked)[0][0]
        return value

    # bytes without an update id

    def record_stray(
        self,
        digest: str,
        verdict: str,
        reason: str,
        claims: Mapping[str, Any],
        num_bytes: int,
        now: float,
    ) -> None:
        """Record bytes that could not take an update id, under their digest; or a copy of them.

        Of bytes that were refused before it is the newest verdict that stands: unlike an update's
        it reserves nothing, and a newer program may see more in them.
        """
        first = insert(schema.strays).values(
            digest=digest,
            verdict=verdict,
            reason=reason,
            claims=dict(claims),
            num_bytes=num_bytes,
            copies=0,
            received_at=now,
        )
        newest = {"verdict": verdict, "reason": reason, "claims": dict(claims), "accepted_at": None}
        query = first.on_conflict_do_update(
            index_elements=["digest"], set_={**newest, "copies": schema.strays.c.copies + 1}
        )
        self._connection.execute(query)

    def stray(self, digest: str) -> StrayRow | None:
        """The row of bytes that could not take an update id."""
        return self._row(StrayRow, select(schema.strays).where(schema.strays.c.digest == digest))

    def has_strays_of(self, num_bytes: int) -> bool:
        """Whether bytes of this length were ever refused without an id."""
        return bool(statements.STRAYS_OF_SIZE.run(self._connection, {"num_bytes": num_bytes}))

    def accept_stray(self, digest: str, now: float) -> None:
        """Note that bytes came and were no stray, if they were one before."""
        table = schema.strays
        query = update(table).where(table.c.digest == digest, table.c.accepted_at.is_(None))
        self._connection.execute(query.values(accepted_at=now))

    def trim_strays(self, keep: int) -> None:
        """Let all but the newest rows of `strays` go; that they were there is still counted."""
        table = schema.strays
        oldest = self._oldest(table.c.digest, table.c.received_at, keep)
        if oldest is None:
            return
        gone = table.c.digest.in_(oldest)
        counted = self._verdicts_of_strays(gone)
        self._connection.execute(delete(table).where(gone))
        for verdict, rows in counted.items():
            self.drop("stray", verdict, rows)

    def count_strays(self) -> dict[str, int]:
        """How many refused messages that took no update id there are, by verdict.

        Those that came again and were taken are not among them.
        """
        counted = self._verdicts_of_strays(true())
        for verdict, rows in self.dropped("stray").items():
            counted[verdict] = counted.get(verdict, 0) + rows
        return counted

    def _verdicts_of_strays(self, which: ColumnElement[bool]) -> dict[str, int]:
        table = schema.strays
        query = select(table.c.verdict, func.count()).where(which, table.c.accepted_at.is_(None))
        rows = self._connection.execute(query.group_by(table.c.verdict))
        return {row[0]: row[1] for row in rows}

    def _oldest(self, name: Any, age: Any, keep: int) -> Any:
        """The rows of a table above the newest `keep`, None if there are none."""
        count: int = self._connection.execute(select(func.count(name))).scalar_one()
        return select(name).order_by(age, name).limit(count - keep) if count > keep else None

    def drop(self, kind: str, about: str, rows: int) -> None:
        """Note that rows gave way to newer ones, see `dropped`."""
        first = insert(schema.dropped).values(kind=kind, about=about, rows=rows)
        table = schema.dropped
        query = first.on_conflict_do_update(
            index_elements=["kind", "about"], set_={"rows": table.c.rows + rows}
        )
        self._connection.execute(query)

    def dropped(self, kind: str) -> dict[str, int]:
        """How many rows gave way to newer ones: "stray" by verdict, "worker" under ""."""
        table = schema.dropped
        query = select(table.c.about, table.c.rows).where(table.c.kind == kind)
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def attempt_parked(self, digest: str) -> int:
        """Note one more attempt at a parked message, and return how many that makes."""
        first = insert(schema.parked).values(digest=digest, attempts=1)
        query = first.on_conflict_do_update(
            index_elements=["digest"], set_={"attempts": schema.parked.c.attempts + 1}
        )
        self._connection.execute(query)
        table = schema.parked
        row = self._connection.execute(select(table.c.attempts).where(table.c.digest == digest))
        attempts: int = row.scalar_one()
        return attempts

    def prove(self) -> None:
        """Have something to commit, and nothing changed."""
        self.attempt_parked("proof")
        self.forget_parked("proof")

    def forget_parked(self, digest: str) -> None:
        """A parked message has been dealt with."""
        self._connection.execute(delete(schema.parked).where(schema.parked.c.digest == digest))

    def take_back_attempt(self, digest: str) -> None:
        """An attempt at a parked message ended for a reason that was not the message."""
        table = schema.parked
        query = update(table).where(table.c.digest == digest)
        self._connection.execute(query.values(attempts=table.c.attempts - 1))

    def _insert(self, table: Table, row: Any) -> None:
        values = _values(row)
        insertion(table, tuple(values)).run(self._connection, values)

    def _row(self, kind: type[_RowT], query: Any) -> _RowT | None:
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else kind(**row)


_Reader = tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]
_readers: dict[type, _Reader] = {}


def _values(row: Any) -> dict[str, Any]:
    names, values_of = _readers.get(type(row)) or _reader_of(type(row))
    return dict(zip(names, values_of(row), strict=True))


def _reader_of(kind: type) -> _Reader:
    """The names of a row's fields, and what reads all of them."""
    names = tuple(field.name for field in fields(kind))
    _readers[kind] = names, attrgetter(*names)
    return _readers[kind]
