"""The coordinator as a service: one thread, one mailbox, one transaction at a time.

    mailbox ──▶ batch of deliveries ──▶ transaction ──commit──▶ acks, answers, publishes, the sum
                     ▲                        └── failed: load the state again, reconnect
                     └── clock (`wake_at`)

Rules: everything that happens comes through the mailbox, so nothing here needs a lock; deliveries
that came in together share one fsync and one commit; a round's version is made before anything that
came after its close is handed in.
"""

from __future__ import annotations

import contextlib
import logging
import queue
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from sqlalchemy.exc import SQLAlchemyError

from broker.topology import Names, Queue, Topology
from broker.transport import (
    AnswerTo,
    Confirmed,
    Connected,
    ConsumerLost,
    Declared,
    Delivered,
    Disconnected,
    Doubtful,
    Failed,
    Outgoing,
    Post,
    Refused,
    Returned,
    Transport,
)
from broker.transport import Event as TransportEvent
from coordinator import answers
from coordinator.batch import Batch, Desk
from coordinator.clock import Clock
from coordinator.effects import (
    Ack,
    AddToSum,
    AnswerPresence,
    AnswerStart,
    AnswerUnwanted,
    DropTasks,
    Effect,
    ForgetParts,
    LookAtModel,
    PublishRefused,
    PublishTask,
)
from coordinator.errors import BrokerRefused, CoordinatorError, Fenced, Restored, StoreError
from coordinator.evaluation import Evaluation
from coordinator.events import TimePassed, VersionStored
from coordinator.intake import CODEC, Expected
from coordinator.models import ModelFolder
from coordinator.modelstream import ModelStream, ModelVersion
from coordinator.offering import TaskOutlet
from coordinator.present import PresentWorkers
from coordinator.progress import Observer, Progress, ignore
from coordinator.records import RunRow, VersionRow
from coordinator.run import Closed, Collecting, Draining, Ended, Paused, State, wake_at
from coordinator.spool import Spool
from coordinator.startup import StateFolder, begin_run, find_run, policy_of, restore_state
from coordinator.store import Store
from coordinator.versions import Versions
from schemas.digest import digest_of
from schemas.layout import Layout
from schemas.messages import Message, Task, encode
from settings import Settings

_log = logging.getLogger(__name__)

BATCH_MAX = 256  # deliveries in one transaction: none waits long for its ack
PREFETCH_BYTES = 256 * 1024 * 1024  # unsettled updates in memory
CONTROL_PREFETCH = 256
WAITING_MAX = 10_000  # workers that wait until the model is on the stream
RETRY_S = 1.0  # before a lost consumer or a returned task is tried again
NOTE_S = 1.0  # what the broker confirmed is written with what comes, or after so long
RECOVER_S = (1.0, 2.0, 5.0, 10.0, 30.0)  # after a write failed: the disk may be full for a while
EVALUATION_LOOK_S = 0.1
EVALUATION_LOOKS_MAX = 6000  # at the end of a run, for the last versions: ten minutes


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A version was evaluated."""

    version: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Someone asked the service to stop; the run goes on at the next start."""


MailboxEvent = TransportEvent | Evaluated | StopRequested


class CoordinatorService:
    """A coordinator for one federation.

    Args:
        settings: Of the federation.
        open_transport: Makes the transport, given where to post its events.
        observer: Takes a `Progress` whenever something changed; on the service's thread.
        new_run: Begin another run even if the last is not finished.
        restored: The store was restored from a backup: go on in a new incarnation.
        clock: The coordinator's time in seconds; for tests.

    Raises:
        CoordinatorError: If it cannot start; then it has let go of everything.
    """

    def __init__(
        self,
        settings: Settings,
        open_transport: Callable[[Post], Transport],
        observer: Observer = ignore,
        *,
        new_run: bool = False,
        restored: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._clock = Clock()
        self._now = clock or self._clock.now
        self._mailbox: queue.SimpleQueue[MailboxEvent] = queue.SimpleQueue()
        self._names = Names(settings.federation.name)
        self._policy = policy_of(settings)
        self._stopping = False
        with contextlib.ExitStack() as opened:
            try:
                self._open(opened, open_transport, new_run, restored)
            except (OSError, SQLAlchemyError) as error:
                where = settings.coordinator.state_dir
                raise StoreError(f"{where} cannot be used: {_in_short(error)}") from error
            self._opened = opened.pop_all()

    def _open(
        self,
        opened: contextlib.ExitStack,
        open_transport: Callable[[Post], Transport],
        new_run: bool,
        restored: bool,
    ) -> None:
        settings = self._settings
        folder = StateFolder(settings.coordinator.state_dir)
        opened.callback(folder.close)
        self._store = Store.create_or_open(folder.store, settings.federation.name, self._now())
        opened.callback(self._store.close)
        self._store.take_epoch()
        self._spool = Spool(folder.spool)
        opened.callback(self._spool.close)
        self._models = ModelFolder(folder.models)
        with self._store.reading() as work:
            row = find_run(work, settings, new_run)
        if restored:
            self._store.take_incarnation(0, self._now())
        self._finished_before = row is not None and row.state in ("draining", "ended")
        if row is None or restored:
            self._spool.forget_all_parts()  # of tasks that nobody waits for any more
        if row is None:
            row = begin_run(self._store, self._models, settings, self._now())
        self._layout = Layout.from_rows(row.layout)
        self._evaluation = Evaluation(
            settings, self._layout, lambda v, m: self._mailbox.put(Evaluated(v, m))
        )
        opened.callback(self._evaluation.close)
        self._transport = open_transport(self._mailbox.put)
        opened.callback(self._transport.stop)
        self._stream = ModelStream(self._transport, self._now, self._model_ready)
        self._present = PresentWorkers()
        self._attempts: dict[str, int] = {}
        self._tasks = TaskOutlet(self._transport, self._task_message)
        self._offset_hint: tuple[int, int] | None = None
        self._mend_at: float | None = None
        self._note_at: float | None = None
        self._kept: list[MailboxEvent] = []
        self._retry_at: float | None = None
        self._failures = 0
        self._redeclare = False
        self._state: State
        self._load(row)
        self._forget_connection()

    # from the outside

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._state.run.run_id

    @property
    def finished_before(self) -> bool:
        """The run had ended before this start."""
        return self._finished_before

    def run(self) -> Progress:
        """Serve until the run has ended, or `stop`; how it stands then.

        Raises:
            CoordinatorError: If it cannot go on.
        """
        try:
            self.begin()
            while not self._stopping and not isinstance(self._state, Ended):
                self.handle(self._next_events())
            self._finish()
            return self.look()
        finally:
            self.close()

    def begin(self) -> None:
        """What comes before the first event; `run` does it, who hands in events does it first."""
        self.handle([])  # a round that was closing, or version 0, needs no broker
        self._guarded(self._evaluate_newest)
        if self._mend_at is None:
            self._transport.start()
            self._progress("connecting")

    def stop(self) -> None:
        """Ask the service to stop; from any thread or a signal handler."""
        self._mailbox.put(StopRequested())

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        self._opened.close()

    def look(self, state: str = "", note: str = "") -> Progress:
        """How the run stands."""
        run = self._state.run
        return Progress(
            run_id=run.run_id,
            state=state or _state_name(self._state),
            version=max(run.version, 0),
            rounds=self._policy.rounds,
            counted=self._state.counted if isinstance(self._state, Collecting | Paused) else 0,
            goal=self._policy.goal,
            open_tasks=len(run.tasks),
            online=self._present.count(self._now(), 2 * self._settings.worker.presence_s + 5),
            updates=dict(self._verdicts),
            evaluated=self._versions.evaluated,
            metrics=self._versions.metrics,
            note=note,
        )

    # the loop

    def _next_events(self) -> list[MailboxEvent]:
        wake = self.wake_at()
        timeout = None if wake is None else max(0.0, wake - self._now())
        try:
            events = [self._mailbox.get(timeout=timeout)]
        except queue.Empty:
            return []
        while len(events) < BATCH_MAX:
            try:
                events.append(self._mailbox.get_nowait())
            except queue.Empty:
                break
        return events

    def wake_at(self) -> float | None:
        """When to hand in events next, though there be none; None if only an event can matter."""
        if self._mend_at is not None:
            return self._mend_at
        times = [*self._written_at(), self._stream.wake_at(), self._retry_at]
        known = [time for time in times if time is not None]
        return min(known) if known else None

    def _written_at(self) -> tuple[float | None, ...]:
        """When something is to be written though nothing comes."""
        return wake_at(self._state), self._note_at

    def handle(self, events: list[MailboxEvent]) -> None:
        """Take what happened, in order, and look at the clock."""
        self._clock.look()
        try:
            self._guarded(lambda: self._handle(events))
        except CoordinatorError as error:
            self._note_why_it_stops(error)
            raise

    def _handle(self, events: list[MailboxEvent]) -> None:
        if self._mend_at is not None:
            events = self._wait_to_mend(events)
            if self._mend_at is not None:
                return
        deliveries: list[Delivered] = []
        for event in events:
            if isinstance(event, Delivered) and event.consumer in self._consumers:
                deliveries.append(event)
            else:
                if isinstance(event, Disconnected):
                    deliveries.clear()  # void: the broker delivers them again
                self._take(event)
        deliveries = [d for d in deliveries if d.consumer in self._consumers]  # others are void
        self._look_at_timers()
        due = any(time is not None and time <= self._now() for time in self._written_at())
        if deliveries or due or isinstance(self._state, Closed):
            self._process(deque(deliveries), due)

    def _take(self, event: MailboxEvent) -> None:
        match event:
            case StopRequested():
                self._stopping = True
            case Evaluated():
                self._versions.note_metrics(event.version, event.metrics)
                self._progress()
            case Connected():
                self._declare()
            case Declared():
                self._begin_to_consume()
            case Disconnected():
                self._forget_connection()
                self._progress("connecting", event.reason)
            case Failed():
                raise BrokerRefused(f"the broker refuses the coordinator: {event.reason}")
            case _ if self._stream.handle(event):
                if self._stream.lost:
                    self._redeclare = True
                    self._retry_later()
            case Confirmed() | Returned() | Refused() | Doubtful():
                if self._tasks.handle(event):
                    self._redeclare |= isinstance(event, Returned)
                    self._retry_later()
                if self._tasks.confirmed:
                    self._note_soon()
            case ConsumerLost() if event.consumer in self._consumers:
                del self._consumers[event.consumer]
                self._redeclare = True
                self._retry_later()
            case _:
                pass  # confirms of what needs none: diagnostic copies

    def _look_at_timers(self) -> None:
        now = self._now()
        self._stream.tick()
        if self._retry_at is not None and self._retry_at <= now:
            self._retry_at = None
            if self._redeclare:
                self._redeclare = False
                self._transport.declare(self._topology())
            else:
                self._tasks.publish_again()

    # connection

    def _forget_connection(self) -> None:
        self._consumers: dict[int, Callable[[Batch, Delivered], None]] = {}
        self._tasks.disconnected()
        self._waiting_starts: dict[tuple[str, str], AnswerStart] = {}
        self._tidied = False
        self._redeclare = False
        self._retry_at = None
        self._stream.disconnected()
        self._present.forget_addresses()

    def _model_queue(self) -> Queue:
        return self._names.model_queue(self.run_id, self._layout.num_bytes)

    def _topology(self) -> Topology:
        fixed = self._names.topology
        return Topology(fixed.exchanges, (*fixed.queues, self._model_queue()), fixed.bindings)

    def _declare(self) -> None:
        self._transport.declare(self._topology())

    def _begin_to_consume(self) -> None:
        if self._stream.offset is None:
            self._connect_stream()
        update_bytes = min(self._layout.update_bytes, self._settings.rounds.part_bytes) + 4096
        prefetch = min(max(PREFETCH_BYTES // update_bytes, 8), 1024)
        handlers = (
            (self._names.control_queue, CONTROL_PREFETCH, Batch.take_control),
            (self._names.update_queue(), prefetch, Batch.take_update),
            (self._names.parked_queue, 1, self._take_parked),
        )
        standing = set(self._consumers.values())
        for source, count, handler in handlers:
            if handler not in standing:
                self._consumers[self._transport.consume(source, count)] = handler
        if not self._tidied:
            self._tidy()
        self._publish_doubted()
        self._progress()

    def _tidy(self) -> None:
        """Nobody reads the models of earlier runs.

        Their tasks stay in the pool, where whoever takes one is told that it is not wanted: a purge
        goes over another connection than publishes do, and could take the first tasks of this run.
        """
        self._tidied = True
        with self._store.reading() as work:
            earlier = [row.run_id for row in work.runs() if row.run_id != self.run_id]
        for run_id in earlier:
            self._transport.delete(self._names.model_queue(run_id, 0))

    def _connect_stream(self) -> None:
        if self._state.run.version < 0:
            return  # version 0 is about to be made known
        row = self._versions.row(self._state.run.version)
        if row is not None:
            hint = None if self._stream.lost else row.stream_offset
            self._stream.connect(self._model_queue(), self._as_streamed(row), hint)

    def _publish_doubted(self) -> None:
        with self._store.reading() as work:
            rows = work.open_tasks(self.run_id)
        self._tasks.publish_doubted(row.task_id for row in rows if not row.published)

    def _note_soon(self) -> None:
        """What the broker has confirmed is written, if with nothing else, before long."""
        if self._note_at is None:
            self._note_at = self._now() + NOTE_S

    def _retry_later(self) -> None:
        if self._retry_at is None:
            self._retry_at = self._now() + RETRY_S

    # transactions

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do work that writes; if the disk refuses, go back to what the store says."""
        try:
            work()
        except (OSError, SQLAlchemyError) as error:
            self._break_off(error)

    def _break_off(self, error: Exception) -> None:
        """A write failed: drop the connection, so that nothing is acked, and wait."""
        delay = RECOVER_S[min(self._failures, len(RECOVER_S) - 1)]
        self._failures += 1
        _log.error("could not write (%s); trying again in %.0f s", _in_short(error), delay)
        self._mend_at = self._now() + delay
        self._spool.close()
        self._transport.disconnect()
        self._forget_connection()
        self._progress("connecting", f"could not write: {_in_short(error)}")

    def _wait_to_mend(self, events: list[MailboxEvent]) -> list[MailboxEvent]:
        """Until it is time, nothing is written, or a full disk would make a busy loop.

        Then the state is what the store says, and the connection is made again. Returns what is
        to be taken after that: events of the old connection are void.
        """
        assert self._mend_at is not None
        for event in events:
            if isinstance(event, StopRequested):
                self._stopping = True
            elif isinstance(event, Failed):
                self._take(event)
            elif isinstance(event, Evaluated):
                self._kept.append(event)
        if self._now() < self._mend_at:
            return []
        self._reload()
        self._mend_at = None
        self._transport.start()
        kept, self._kept = self._kept, []
        return kept

    def _process(self, deliveries: deque[Delivered], due: bool) -> None:
        parked = self._note_attempts(deliveries)
        while deliveries or due or isinstance(self._state, Closed):
            if isinstance(self._state, Closed):
                self._make_version()
                continue
            batch = self._transact(deliveries, due)
            due = False
            self._carry_out(batch.effects)
        for digest in parked:
            del self._attempts[digest]
        self._progress()

    def _transact(self, deliveries: deque[Delivered], due: bool) -> Batch:
        with self._store.transaction() as work:
            batch = Batch(self._desk(), work, self._state)
            if due:
                batch.advance(TimePassed())
            while deliveries and not batch.closed:
                delivery = deliveries.popleft()
                self._consumers[delivery.consumer](batch, delivery)
            for task_id in self._tasks.confirmed:
                work.update_task(task_id, published=True)
            if self._offset_hint is not None:
                version, offset = self._offset_hint
                work.update_version(self.run_id, version, stream_offset=offset)
            self._spool.sync()
        self._tasks.confirmed.clear()
        self._offset_hint = self._note_at = None
        self._committed(batch)
        return batch

    def _note_attempts(self, deliveries: deque[Delivered]) -> set[str]:
        """A parked message's attempt is on disk before it is decoded: it may be what kills us.

        Only the first in a process counts: what else fails meanwhile is not the message's doing.
        """
        parked = [d for d in deliveries if self._consumers[d.consumer] == self._take_parked]
        digests = {digest_of(d.body) for d in parked}
        unknown = digests - self._attempts.keys()
        if unknown:
            with self._store.transaction() as work:
                attempts = {digest: work.attempt_parked(digest) for digest in sorted(unknown)}
            self._attempts.update(attempts)
        return digests

    def _take_parked(self, batch: Batch, delivery: Delivered) -> None:
        batch.take_parked(delivery, self._attempts.get(digest_of(delivery.body), 1))

    def _note_why_it_stops(self, error: CoordinatorError) -> None:
        """What the next start has to know; this one stops whether or not it can be written."""
        with contextlib.suppress(OSError, SQLAlchemyError, Fenced):
            if isinstance(error, Restored):
                self._store.see_incarnation(error.incarnation)
            with self._store.transaction() as work:
                for digest in self._attempts:
                    work.take_back_attempt(digest)

    def _committed(self, batch: Batch) -> None:
        self._failures = 0
        self._state = batch.state
        for verdict, count in batch.verdicts.items():
            self._verdicts[verdict] = self._verdicts.get(verdict, 0) + count

    def _desk(self) -> Desk:
        run = self._state.run
        expected = Expected(
            run_id=run.run_id,
            incarnation=run.incarnation,
            version=run.version,
            layout=self._layout,
            part_bytes=self._settings.rounds.part_bytes,
            max_norm=self._policy.max_norm,
            digest_of_version=self._versions.digest_of,
        )
        assert self._store.epoch is not None
        return Desk(expected, self._spool, self._store.epoch, self._now())

    # state

    def _reload(self) -> None:
        with self._store.reading() as work:
            row = work.last_run()
        assert row is not None
        self._load(row)

    def _load(self, row: RunRow) -> None:
        """The state as the store has it; the sum is made again from the spool."""
        with self._store.reading() as work:
            incarnation = work.incarnation()
            tasks = work.open_tasks(row.run_id)
            counted = work.counted_in_round(row.run_id, row.version)
            self._verdicts = work.count_by_verdict(row.run_id)
        if row.state in ("draining", "ended"):
            counted = []
        self._state = restore_state(
            row, incarnation, tasks, len(counted), self._policy, self._now()
        )
        self._note_at = self._now()  # a setting may have changed: tasks may have to be offered
        self._reopened = isinstance(self._state, Closed) and row.state != "closed"
        self._versions = Versions(row.run_id, self._layout, self._store, self._spool, self._models)
        self._versions.add_again(counted)

    def _as_streamed(self, row: VersionRow) -> ModelVersion:
        return ModelVersion(
            run_id=row.run_id,
            incarnation=self._state.run.incarnation,
            version=row.version,
            digest=row.digest,
            model=self._versions.model(row),
            part_bytes=self._settings.rounds.part_bytes,
        )

    # versions

    def _make_version(self) -> None:
        """Turn the sum of the closed round into the next version, and open the next round."""
        run = self._state.run
        next_version = run.version if self._reopened else run.version + 1
        self._reopened = False
        row = self._versions.row(next_version)
        made = row is None
        if row is None:
            base = self._versions.row(run.version)
            assert base is not None
            self._store.require_epoch()  # the file is written outside of the transaction
            row = self._versions.make(base, self._close_reason(), self._now())
        with self._store.transaction() as work:
            if made:
                work.insert_version(row)
            batch = Batch(self._desk(), work, self._state)
            batch.advance(VersionStored(row.version))
        self._committed(batch)
        self._versions.begin_round(row)
        self._stream.publish(self._as_streamed(row))
        self._carry_out(batch.effects)
        self._evaluation.evaluate(row.version, self._models.path(row.file))
        if isinstance(self._state, Collecting):
            self._tell_waiting()
        if made:
            keep = self._settings.coordinator
            self._versions.prune(row.version, keep.keep_versions, keep.spool_keep_rounds)

    def _close_reason(self) -> str:
        with self._store.reading() as work:
            row = work.last_run()
        return "" if row is None else row.why

    def _model_ready(self, version: int, offset: int) -> None:
        self._offset_hint = (version, offset)
        self._note_soon()
        waiting, self._waiting_starts = self._waiting_starts, {}
        for start in waiting.values():
            self._answer_start(start)

    def _evaluate_newest(self) -> None:
        """The newest version, if the last process ended before it was evaluated."""
        row = self._versions.row(self._state.run.version)
        if row is not None and not row.metrics:
            self._evaluation.evaluate(row.version, self._models.path(row.file))

    # effects

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ack():
                    self._transport.ack(effect.tag)
                case AddToSum():
                    self._versions.add(effect.payload, effect.weight)
                case PublishTask():
                    self._tasks.publish(effect.task_id)
                case PublishRefused():
                    name = self._names.refused_queue.name
                    self._transport.publish(Outgoing("", name, effect.body, effect.message_id))
                case AnswerStart():
                    self._answer_start(effect)
                case AnswerUnwanted():
                    self._answer_unwanted(effect)
                case AnswerPresence():
                    self._answer_presence(effect)
                case ForgetParts():
                    self._spool.forget_parts(effect.update_id)
                case LookAtModel():
                    self._stream.doubt()
                case DropTasks():
                    self._transport.purge(self._names.task_queue)
                    self._tell_waiting()
                case _:
                    assert_never(effect)

    def _task_message(self, task_id: str) -> Outgoing | None:
        run = self._state.run
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

    def _answer_start(self, effect: AnswerStart) -> None:
        run, now = self._state.run, self._now()
        if effect.task_id not in run.tasks:  # it ended while the worker waited
            reason = "the task is no longer open"
            self._answer_unwanted(AnswerUnwanted(effect.to, run.run_id, effect.task_id, reason))
            return
        if self._stream.offset is None:
            if len(self._waiting_starts) < WAITING_MAX:  # who does not fit in asks again
                self._waiting_starts[effect.to.address, effect.task_id] = effect
            return
        model = self._versions.row(run.version)
        assert model is not None
        answer = answers.wanted(
            effect.task_id,
            effect.lease_end,
            model,
            self._layout.digest,
            incarnation=run.incarnation,
            offset=self._stream.offset,
            part_bytes=self._settings.rounds.part_bytes,
            run_seed=self._settings.run.seed,
            now=now,
        )
        self._answer(effect.to, answer)

    def _answer_unwanted(self, effect: AnswerUnwanted) -> None:
        self._answer(effect.to, answers.unwanted(effect, self._state.run.incarnation, self._now()))

    def _answer_presence(self, effect: AnswerPresence) -> None:
        standing = answers.standing(effect, self._state, self._now())
        waiting = not standing.may_take
        self._present.see(effect.presence, effect.to, waiting, self._now())
        if effect.to is not None and not effect.presence.leaving:
            self._answer(effect.to, standing)

    def _tell_waiting(self) -> None:
        over = isinstance(self._state, Draining | Ended)
        told = self._present.everyone() if over else self._present.waiting()
        for to, presence in told:
            asked = AnswerPresence(to, presence, {}, {}, ())
            self._answer(to, answers.standing(asked, self._state, self._now()))

    def _answer(self, to: AnswerTo, message: Message) -> None:
        self._transport.answer(to, encode(message))

    # the end

    def _finish(self) -> None:
        if self._note_at is not None:
            self._guarded(lambda: self._carry_out(self._transact(deque(), due=False).effects))
        if isinstance(self._state, Ended):
            self._tell_waiting()
            self._wait_for_evaluation()
        self._progress()

    def _wait_for_evaluation(self) -> None:
        """The last versions are evaluated, unless that takes too long or someone stops us."""
        for _ in range(EVALUATION_LOOKS_MAX):
            idle = self._evaluation.wait(EVALUATION_LOOK_S)
            while not self._mailbox.empty():
                event = self._mailbox.get()
                if isinstance(event, Evaluated | StopRequested):
                    self._guarded(partial(self._take, event))
            if idle or self._stopping:
                return

    def _progress(self, state: str = "", note: str = "") -> None:
        self._observer(self.look(state, note))


def _state_name(state: State) -> str:
    return type(state).__name__.lower()


def _in_short(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
