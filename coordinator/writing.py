"""The run as the store has it: what comes in is written, and what is to be done comes out.

Rules: the state in memory is that of the last commit and never ahead of it; after a failure it is
loaded again; the same deliveries in the same order give the same ledger and the same models.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from broker.topology import Names
from broker.transport import Delivered, Outgoing
from coordinator.batch import Batch, Desk
from coordinator.connection import Notes, Source
from coordinator.effects import Effect
from coordinator.errors import CoordinatorError, Fenced, Restored
from coordinator.events import TimePassed, VersionStored
from coordinator.intake import CODEC, Expected, newest_believed
from coordinator.modelstream import ModelVersion
from coordinator.policy import RoundPolicy
from coordinator.records import RunRow, VersionRow, WorkerRow
from coordinator.run import Closed, State
from coordinator.startup import OpenedState, restore_state
from coordinator.versions import Versions
from schemas.digest import digest_of
from schemas.layout import Layout
from schemas.messages import Task, encode
from settings import Settings

Arrival = tuple[Source, Delivered]


@dataclass(frozen=True, slots=True)
class MadeVersion:
    """A version that collecting has begun for.

    Attributes:
        new: False if it was there already, and the run goes on with it.
    """

    row: VersionRow
    effects: list[Effect]
    new: bool


class RunWriter:
    """The open run.

    Attributes:
        state: Of the last commit.
        verdicts: Verdict to count, over the whole run.
    """

    def __init__(
        self, opened: OpenedState, settings: Settings, policy: RoundPolicy, now: Callable[[], float]
    ) -> None:
        self._store = opened.store
        self._spool = opened.spool
        self._models = opened.models
        self._settings = settings
        self._policy = policy
        self._now = now
        self._attempts: dict[str, int] = {}
        self._reopened = False
        self._names = Names(settings.federation.name)
        self.state: State
        self.verdicts: dict[str, int]
        self.versions: Versions
        self.layout = Layout.from_rows(opened.row.layout)
        self.load()

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.state.run.run_id

    @property
    def closed(self) -> bool:
        """A round is closed: `make_version` before anything else is handed in."""
        return isinstance(self.state, Closed)

    # what the store says

    def load(self) -> None:
        """The state as the store has it; the sum is made again from the spool."""
        row = self._row()
        with self._store.reading() as work:
            incarnation = work.incarnation()
            tasks = work.open_tasks(row.run_id)
            counted = work.counted_in_round(row.run_id, row.version)
            self.verdicts = work.count_by_verdict(row.run_id)
        if row.state in ("draining", "ended"):
            counted = []
        now = self._now()
        self.state = restore_state(row, incarnation, tasks, len(counted), self._policy, now)
        self._reopened = self.closed and row.state != "closed"
        self.versions = Versions(row.run_id, self.layout, self._store, self._spool, self._models)
        self.versions.add_again(counted)

    def _row(self) -> RunRow:
        with self._store.reading() as work:
            row = work.last_run()
        assert row is not None
        return row

    def current(self) -> VersionRow | None:
        """The current version, None before the first."""
        return self.versions.row(self.state.run.version)

    def workers(self) -> list[WorkerRow]:
        """All workers that were ever seen."""
        with self._store.reading() as work:
            return work.workers()

    def current_row(self) -> VersionRow:
        """The current version; there is one since the first task was offered."""
        row = self.current()
        assert row is not None
        return row

    def as_streamed(self, row: VersionRow) -> ModelVersion:
        """A version as it goes over the stream."""
        return ModelVersion(
            run_id=row.run_id,
            incarnation=self.state.run.incarnation,
            version=row.version,
            digest=row.digest,
            model=self.versions.model(row),
            part_bytes=self._settings.rounds.part_bytes,
        )

    def current_version(self) -> tuple[ModelVersion, int | None] | None:
        """The current version and where it may lie on the stream; None before the first."""
        row = self.current()
        return None if row is None else (self.as_streamed(row), row.stream_offset)

    def message_of(self, task_id: str) -> Outgoing | None:
        """The message of a task, None if it is not open any more."""
        run = self.state.run
        open_task = run.tasks.get(task_id)
        if open_task is None:
            return None
        task = Task(
            run_id=run.run_id,
            task_id=task_id,
            kind="train",
            incarnation=run.incarnation,
            not_after=run.ends_at,
            codec=CODEC,
            part_bytes=self._settings.rounds.part_bytes,
            replaces=open_task.replaces,
            base_version=None,
            time_s=self._now(),
        )
        return Outgoing(self._names.task_exchange, self._names.task_key, encode(task), task_id)

    def unpublished(self) -> list[str]:
        """Open tasks that the store does not know to be in the pool."""
        with self._store.reading() as work:
            rows = work.open_tasks(self.run_id)
        return [row.task_id for row in rows if not row.published]

    def earlier_runs(self) -> list[str]:
        """The ids of all runs but this one."""
        with self._store.reading() as work:
            return [row.run_id for row in work.runs() if row.run_id != self.run_id]

    # transactions

    def transact(self, arrivals: deque[Arrival], due: bool, notes: Notes) -> list[Effect]:
        """One transaction, up to the close of a round; takes from `arrivals` what went in."""
        with self._store.transaction() as work:
            batch = Batch(self._desk(), work, self.state)
            if due:
                batch.advance(TimePassed())
            while arrivals and not batch.closed:
                self._take(batch, *arrivals.popleft())
            for task_id in notes.tasks:
                work.update_task(task_id, published=True)
            if notes.offset is not None:
                version, offset = notes.offset
                work.update_version(self.run_id, version, stream_offset=offset)
            self._spool.sync()
        self._committed(batch)
        return batch.effects

    def _take(self, batch: Batch, source: Source, delivery: Delivered) -> None:
        match source:
            case "control":
                batch.take_control(delivery)
            case "updates":
                batch.take_update(delivery)
            case "parked":
                batch.take_parked(delivery, self._attempts[digest_of(delivery.body)])

    def _committed(self, batch: Batch) -> None:
        self.state = batch.state
        for verdict, count in batch.verdicts.items():
            self.verdicts[verdict] = self.verdicts.get(verdict, 0) + count

    def _desk(self) -> Desk:
        run, now = self.state.run, self._now()
        expected = Expected(
            run_id=run.run_id,
            incarnation=run.incarnation,
            newest_incarnation=newest_believed(run.incarnation, now),
            version=run.version,
            layout=self.layout,
            part_bytes=self._settings.rounds.part_bytes,
            max_norm=self._policy.max_norm,
            digest_of_version=self.versions.digest_of,
        )
        assert self._store.epoch is not None
        return Desk(
            expected,
            self._spool,
            self._store.epoch,
            now,
            self._settings.coordinator.senders == "users",
        )

    # what may have ended a process before

    def note_attempts(self, arrivals: deque[Arrival]) -> set[str]:
        """A parked message's attempt is on disk before it is decoded: it may be what kills us.

        Only the first in a process counts: what else fails meanwhile is not the message's doing.
        Returns the messages' digests, for `settled`.
        """
        digests = {digest_of(d.body) for source, d in arrivals if source == "parked"}
        unknown = digests - self._attempts.keys()
        if unknown:
            with self._store.transaction() as work:
                attempts = {digest: work.attempt_parked(digest) for digest in sorted(unknown)}
            self._attempts.update(attempts)
        return digests

    def settled(self, digests: set[str]) -> None:
        """Parked messages have been dealt with."""
        for digest in digests:
            del self._attempts[digest]

    def note_why_it_stops(self, error: CoordinatorError) -> None:
        """What the next start has to know; this one stops whether or not it can be written."""
        with contextlib.suppress(OSError, SQLAlchemyError, Fenced):
            if isinstance(error, Restored):
                self._store.see_incarnation(error.incarnation)
            with self._store.transaction() as work:
                for digest in self._attempts:
                    work.take_back_attempt(digest)

    # versions

    def make_version(self) -> MadeVersion:
        """Turn the sum of the closed round into the next version, and open the next round."""
        run = self.state.run
        row = self.versions.row(run.version if self._reopened else run.version + 1)
        new = row is None
        if row is None:
            base = self.current_row()
            self._store.require_epoch()  # the file is written outside of the transaction
            row = self.versions.make(base, self._row().why, self._now())
        with self._store.transaction() as work:
            if new:
                work.insert_version(row)
            batch = Batch(self._desk(), work, self.state)
            batch.advance(VersionStored(row.version))
        self._reopened = False
        self._committed(batch)
        self.versions.begin_round(row)
        return MadeVersion(row, batch.effects, new)

    def prune(self) -> None:
        """Delete what no setting keeps any more."""
        keep = self._settings.coordinator
        version = self.state.run.version
        self.versions.prune(version, keep.keep_versions, keep.spool_keep_rounds)
