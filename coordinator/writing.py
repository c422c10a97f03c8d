"""The run as the store has it: what comes in is written, and what is to be done comes out.

Rules: the state in memory is that of the last commit and never ahead of it; after a failure it is
loaded again; the same deliveries in the same order give the same ledger and the same models.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from broker.topology import Names
from broker.transport import Delivered, Outgoing
from coordinator import evaluating
from coordinator.batch.batch import Batch
from coordinator.batch.desk import Desk
from coordinator.cohort import Cohort
from coordinator.connection import Notes, Source
from coordinator.effects import Effect
from coordinator.enrolment import Enrolment
from coordinator.errors import CoordinatorError, Fenced, Restored
from coordinator.evaluating import Evaluations
from coordinator.evaluator import Evaluated, Terms, load, plan_of
from coordinator.events import PolicyChanged
from coordinator.fetching import NO_FETCHING, Fetching
from coordinator.intake import Expected, newest_believed
from coordinator.mailbox import PartFetched
from coordinator.modelstream import ModelVersion
from coordinator.policy import RoundPolicy
from coordinator.records import RunRow, VersionRow, WorkerRow
from coordinator.restoring import Stored, end_of, restore_state
from coordinator.roster import Roster, Selection
from coordinator.saying import Sayings
from coordinator.selection import Selector
from coordinator.startup import OpenedState
from coordinator.states import Closed, Draining, State, wake_at
from coordinator.taskmessages import TaskMessages
from coordinator.uploads import Uploads
from coordinator.versions import Versions, streamed
from coordinator.work import Work
from learning.seeding import derive_seed
from schemas.codecs.model import ModelOnWire
from schemas.digest import digest_of
from schemas.layout import Layout
from schemas.messages import Presence
from settings import Settings

_log = logging.getLogger(__name__)

Arrival = tuple[Source, Delivered]

STRAYS_KEPT = 10_000  # rows of refused messages without an id, which anyone can make
WORKERS_KEPT = 1_000_000  # rows, each of them also 64 bytes and its name in memory
RAN_EACH_S = 10.0  # how often the time that a run ran is written, while something happens
LOOK_EACH = 1000  # messages, before the workers' rows are counted again
VERSIONS_KNOWN = 64  # rows of versions in memory
NONE_FETCHED: deque[PartFetched] = deque(maxlen=0)
SIZES_KNOWN = 4096  # lengths of messages, of which it is known whether any was refused


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
        selector: Draws workers in direct dispatch; None: the roster does.
        fetching: What is being read from the depot.
        last_said: What a worker last said of itself, None if that is not remembered.
        roster: The workers.
        verdicts: Verdict to count, over the whole run.
    """

    def __init__(
        self, opened: OpenedState, settings: Settings, policy: RoundPolicy, now: Callable[[], float]
    ) -> None:
        self._store = opened.store
        self._spool = opened.spool
        self._models = opened.models
        self._handover = opened.handover
        self._salt = opened.salt
        self._settings = settings
        self._policy = policy
        self._now = now
        self._began_at = now()
        self.selector: Selector | None = None
        self.fetching: Fetching = NO_FETCHING
        self.last_said: Callable[[str], Presence | None] = lambda _: None
        self.roster: Roster
        self._selection: Selection
        self._evaluated: Evaluated
        self._attempts: dict[str, int] = {}
        self._reopened = False
        self._sayings = Sayings()
        self._uploads: Uploads
        self._since_look = 0
        self._told = False
        self._known: dict[int, VersionRow] = {}
        self._stray_sizes: dict[int, bool] = {}
        self._terms = Terms.of(settings)
        self._tasks = _tasks_of(settings)
        self.state: State
        self.verdicts: dict[str, int]
        self.versions: Versions
        self.layout = Layout.from_rows(opened.row.layout)
        self.load()

    def change(self, settings: Settings, policy: RoundPolicy) -> None:
        """Go by other settings: the machine is told of the policy in the next transaction."""
        self._settings, self._policy = settings, policy
        self._terms = Terms.of(settings)
        self._tasks = _tasks_of(settings)
        self._told = False
        machine = replace(self.evaluations, plan=plan_of(settings))
        self._evaluated = replace(self._evaluated, machine=machine)
        if _selection_of(settings) != self._selection:
            row = self._row()
            with self._store.reading() as work:
                self.roster = self._load_roster(work, row)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.state.run.run_id

    @property
    def closed(self) -> bool:
        """A round is closed: `make_version` before anything else is handed in."""
        return isinstance(self.state, Closed)

    @property
    def evaluations(self) -> Evaluations:
        """How the cohort's evaluations stand."""
        return self._evaluated.machine

    @property
    def best_version(self) -> int:
        """The best version that was measured, -1 if there is none."""
        return self._evaluated.row.best_version

    def wake_at(self) -> float | None:
        """When something is to be written though nothing comes."""
        over = isinstance(self.state, Draining) and self.evaluations.awaits
        times = [evaluating.wake_at(self.evaluations), None if over else wake_at(self.state)]
        return min((time for time in times if time is not None), default=None)

    # what the store says

    def load(self) -> None:
        """The state as the store has it; the sum is made again from the spool."""
        row = self._row()
        self._told = False
        self._known.clear()
        self._stray_sizes.clear()
        with self._store.reading() as work:
            stored = Stored.read(work, row)
            self.verdicts = work.count_by_verdict(row.run_id)
            self.roster = self._load_roster(work, row)
            now = self._now()
            plan = plan_of(self._settings)
            self._evaluated = load(work, row, plan, self._terms, self._salt, now)
        stopped = bool(self._evaluated.row.stop_why)
        self.state = restore_state(stored, self._policy, now, self._salt, stopped)
        if self.closed:
            self._evaluated = self._evaluated.reopened()
        back = self._evaluated.row.roll_back_to
        if back >= 0 and not self._keeps(back):  # a row of the store stands for no file
            self._evaluated = self._evaluated.staying(row.version)
        self._ran_s = self._noted_ran_s = row.ran_s
        self._ran_at = now
        self._reopened = self.closed and row.state != "closed"
        self.versions = Versions(
            row.run_id, self.layout, self._store, self._spool, self._models, self._handover
        )
        self.versions.load(row.version, self.state.run.policy.algorithm, stored.counted)
        self._uploads = self._find_uploads(now)

    def _load_roster(self, work: Work, row: RunRow) -> Roster:
        self._selection = _selection_of(self._settings)
        return Roster.load(work, row, work.incarnation(), self._selection, self._now())

    def _find_uploads(self, now: float) -> Uploads:
        """The uploads on disk; a clock that was ahead when they came makes none of them older."""
        keep, size = self._settings.coordinator, max(1, self.layout.update_bytes)
        known = ((upload, min(at, now)) for upload, at in self._spool.parts.incomplete())
        return Uploads(max(1, keep.uploads_bytes // size), keep.uploads_age_s, known)

    def prove_disk(self, num_bytes: int) -> None:
        """Write as much as a message takes, and commit a row: does the disk take it again?

        Raises:
            OSError: It does not take bytes.
            SQLAlchemyError: It does not take rows.
        """
        self._spool.prove(num_bytes)
        with self._store.transaction() as work:
            work.prove()

    def _row(self) -> RunRow:
        with self._store.reading() as work:
            row = work.last_run()
        assert row is not None
        return row

    def current(self) -> VersionRow | None:
        """The current version, None before the first."""
        return self._version(self.state.run.version)

    def waiting(self, within_s: float, limit: int) -> list[WorkerRow]:
        """Workers that asked something lately, and may still wait for the answer."""
        with self._store.reading() as work:
            return Enrolment(work).waiting(self._now() - within_s, limit)

    def holds(self, presence: Presence) -> bool:
        """Whether something holds a worker from taking a task, whatever it did."""
        if self.evaluations.evaluates(presence.worker_id):
            return False  # it waits for other tasks
        return self.roster.held(presence, self._now()) is not None

    def current_row(self) -> VersionRow:
        """The current version; there is one since the first task was offered."""
        return self.version_row(self.state.run.version)

    def version_row(self, version: int) -> VersionRow:
        """A version that was made."""
        row = self._version(version)
        assert row is not None
        return row

    def _version(self, version: int) -> VersionRow | None:
        """A version, which the store is asked for once: who takes a task is told of it."""
        if self.versions.digest_of(version) is None:
            return None
        row = self._known.get(version) or self.versions.row(version)
        if row is not None:
            self._know(row)
        return row

    def _know(self, row: VersionRow) -> None:
        if len(self._known) >= VERSIONS_KNOWN:
            self._known.clear()
        self._known[row.version] = row

    def as_streamed(self, row: VersionRow) -> ModelVersion:
        """A version as it goes over the stream."""
        return ModelVersion(
            run_id=row.run_id,
            incarnation=self.state.run.incarnation,
            version=row.version,
            digest=row.stream_digest,
            model=ModelOnWire(self.versions.model(row), self.layout, row.stream_codec),
            part_bytes=self._settings.rounds.part_bytes,
        )

    def current_version(self) -> tuple[ModelVersion, int | None] | None:
        """The current version and where it may lie on the stream; None before the first."""
        row = self.current()
        return None if row is None else (self.as_streamed(row), row.stream_offset)

    def message_of(self, task_id: str) -> Outgoing | None:
        """The message of a task, None if it is not open any more."""
        return self._tasks.message_of(task_id, self.state.run, self.evaluations, self._now())

    def worker_of(self, task_id: str) -> str:
        """Whose queue a direct task goes to; "" for the pool, or if it is not open any more."""
        open_task = self.state.run.tasks.get(task_id)
        asked = self.evaluations.worker_of(task_id)
        return asked if open_task is None else open_task.offered_to

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

    def transact(
        self,
        arrivals: deque[Arrival],
        due: bool,
        notes: Notes,
        fetched: deque[PartFetched] = NONE_FETCHED,
    ) -> list[Effect]:
        """One transaction, up to the close of a round.

        Args:
            arrivals: What came; what goes in is taken from it.
            due: Whether it is time to look at the clock.
            notes: What the broker has confirmed.
            fetched: Parts that were read from the depot; likewise.
        """
        before = len(arrivals)
        with self._store.transaction() as work:
            for upload in self._uploads.expire(self._now()):  # harmless, whatever comes of this
                self._spool.parts.forget_one(upload)
            batch = self._batch(work)
            self._tell_policy(batch)
            if due:
                batch.steps.pass_time()
            while fetched:
                part = fetched.popleft()
                batch.take_fetched(part.part, part.payload)
            while arrivals and not batch.steps.closed:
                self._take(batch, *arrivals.popleft())
            work.note_published(notes.tasks)
            if notes.offset is not None:
                version, offset = notes.offset
                work.update_version(self.run_id, version, stream_offset=offset)
            self._make_room(work, batch, before - len(arrivals))
            self._note_time(work)
            self._spool.sync()
        if notes.offset is not None:
            version, offset = notes.offset
            if version in self._known:
                self._known[version] = replace(self._known[version], stream_offset=offset)
        self._committed(batch)
        return batch.effects

    def _batch(self, work: Work) -> Batch:
        return Batch(self._desk(), work, self.state, self._evaluated)

    def note_metrics(self, version: int, metrics: Mapping[str, float]) -> list[Effect]:
        """Write what the coordinator's own evaluation of a version found, and what follows."""
        with self._store.transaction() as work:
            work.update_version(self.run_id, version, metrics=dict(metrics))
            batch = self._batch(work)
            batch.steps.measured(version, metrics)
        self._known.pop(version, None)
        self._committed(batch, told=False)
        self.versions.noted(version, metrics)
        return batch.effects

    def _tell_policy(self, batch: Batch) -> None:
        """The open round goes by the policy that it was opened with, until it is told."""
        if not self._told:
            ends_at = end_of(self._ran_until_now(), self._policy, self._now())
            batch.steps.advance(PolicyChanged(self._policy, ends_at))

    def _say_what_waits(self) -> None:
        run = self.state.run
        if run.next_policy is not None:
            changes = "; ".join(run.policy.differences(run.next_policy))
            _log.warning("with version %d the round policy changes: %s", run.version + 1, changes)

    def _ran_until_now(self) -> float:
        return self._ran_s + self._now() - self._ran_at

    def _note_time(self, work: Work) -> None:
        """A run that is to end after so many seconds must know how many there were."""
        ran_s = self._ran_until_now()
        if self._policy.max_seconds and ran_s - self._noted_ran_s >= RAN_EACH_S:
            self._noted_ran_s = ran_s
            work.update_run(self.run_id, ran_s=ran_s)

    def _make_room(self, work: Work, batch: Batch, taken: int) -> None:
        """Keep what anyone can add rows to from growing for ever."""
        if batch.strays:
            work.trim_strays(STRAYS_KEPT)
        self._since_look += taken
        if self._since_look >= LOOK_EACH:
            self._since_look = 0
            self.roster.make_room(work, WORKERS_KEPT)

    def _take(self, batch: Batch, source: Source, delivery: Delivered) -> None:
        match source:
            case "control":
                batch.take_control(delivery)
            case "updates":
                batch.take_update(delivery)
            case "parked":
                batch.take_parked(delivery, self._attempts[digest_of(delivery.body)])

    def _committed(self, batch: Batch, told: bool = True) -> None:
        self.state = batch.steps.state
        self._evaluated = batch.steps.evaluated
        if told and not self._told:
            self._told = True
            self._say_what_waits()
        for verdict, count in batch.verdicts.items():
            self.verdicts[verdict] = self.verdicts.get(verdict, 0) + count
        self._say(batch.lines)

    def _say(self, lines: list[tuple[str, str]]) -> None:
        now = self._now()
        said = [self._sayings.add(topic, text, now) for topic, text in lines]
        for line in (*self._sayings.overdue(now), *said):
            if line is not None:
                _log.warning("%s", line)

    def _desk(self) -> Desk:
        run, now = self.state.run, self._now()
        if len(self._stray_sizes) >= SIZES_KNOWN:
            self._stray_sizes.clear()
        expected = Expected(
            run_id=run.run_id,
            incarnation=run.incarnation,
            newest_incarnation=newest_believed(run.incarnation, now),
            version=run.version,
            layout=self.layout,
            part_bytes=self._settings.rounds.part_bytes,
            max_norm=run.policy.max_norm,
            needs_local_steps=run.policy.algorithm.needs_local_steps,
            digest_of_version=self.versions.digest_of,
        )
        assert self._store.epoch is not None
        return Desk(
            expected,
            self._spool,
            self._store.epoch,
            now,
            self._uploads,
            self.roster,
            self.selector or self.roster,
            self._terms,
            self.versions.left_behind,
            self._keeps,
            self._stray_sizes,
            self._began_at,
            self.last_said,
            self._settings.coordinator.senders == "users",
            self.fetching,
        )

    # what may have ended a process before

    def note_attempt(self, delivery: Delivered) -> None:
        """A parked message's attempt is on disk before it is decoded: it may be what kills us."""
        digest = digest_of(delivery.body)
        if digest not in self._attempts:  # else the last could not be taken back, and stands for it
            with self._store.transaction() as work:
                self._attempts[digest] = work.attempt_parked(digest)

    def settled(self, delivery: Delivered) -> None:
        """A parked message has been dealt with."""
        self._attempts.pop(digest_of(delivery.body), None)

    def take_back_attempts(self) -> None:
        """What failed was not the parked message's doing; as far as that can be written."""
        with contextlib.suppress(OSError, SQLAlchemyError, Fenced):
            with self._store.transaction() as work:
                for digest in self._attempts:
                    work.take_back_attempt(digest)
            self._attempts.clear()

    def note_why_it_stops(self, error: CoordinatorError) -> None:
        """What the next start has to know; this one stops whether or not it can be written."""
        if isinstance(error, Restored):
            with contextlib.suppress(OSError, SQLAlchemyError, Fenced):
                self._store.see_incarnation(error.incarnation)
        self.take_back_attempts()

    # versions

    def make_version(self) -> MadeVersion:
        """Turn the sum of the closed round into the next version, and open the next round."""
        run = self.state.run
        row = self._version(run.version if self._reopened else run.version + 1)
        new = row is None
        if row is None:
            base = self.current_row()
            with self._store.leading() as work:  # the file is written outside of the transaction
                why = work.why_closed(self.run_id)
            made = self._make(base, why)
            model, codec = self.versions.model(made), self._settings.wire.model_codec
            made = streamed(made, model, self.layout, codec)
            row = replace(made, participation=self.roster.participation.record())
        with self._store.transaction() as work:
            if new:
                keep = self._settings.coordinator
                self.versions.write(work, row, keep.keep_versions, keep.spool_keep_rounds)
            batch = self._batch(work)
            self._tell_policy(batch)
            batch.steps.store_version(row.version, new)
        self._reopened = False
        self._committed(batch)
        self.versions.begin_round(row, self.state.run.policy.algorithm)
        self._know(row)
        return MadeVersion(row, batch.effects, new)

    def _make(self, base: VersionRow, why: str) -> VersionRow:
        """The version after another: of the sum, or of what is to be gone back to."""
        policy, now = self.state.run.policy, self._now()
        follows = self._evaluated.row
        if follows.roll_back_to < 0:
            guard_norm = self._settings.evaluation.guard_norm
            return self.versions.make(base, why, policy, now, guard_norm)
        like = self.version_row(follows.roll_back_to)
        _log.warning("the run goes back to version %d: %s", like.version, follows.roll_back_why)
        return self.versions.make_again(base, like, why, policy, now, follows.roll_back_why)

    def prune(self, in_hand: Collection[int] = ()) -> None:
        """Delete what no setting keeps any more.

        Args:
            in_hand: Versions that the coordinator evaluates itself: like those that the cohort
                does, they may turn out to be the best.
        """
        keep, machine = self._settings.coordinator, self.evaluations
        opened = -1 if machine.open is None else machine.open.version
        but = {self.best_version, opened, machine.due, *in_hand}
        version = self.state.run.version
        self.versions.prune(version, keep.keep_versions, keep.spool_keep_rounds, but)

    def _keeps(self, version: int) -> bool:
        return self._models.holds(self.run_id, version)


def _selection_of(settings: Settings) -> Selection:
    seed, share = settings.run.seed, settings.evaluation.cohort
    return Selection(settings.selection, seed, settings.worker.presence_s, Cohort(seed, share))


def _tasks_of(settings: Settings) -> TaskMessages:
    return TaskMessages(
        Names(settings.federation.name),
        settings.wire.codec,
        settings.rounds.part_bytes,
        partial(derive_seed, settings.run.seed),
    )
