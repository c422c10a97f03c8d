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
from collections.abc import Callable
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from broker.topology import Names
from broker.transport import (
    Connected,
    Declared,
    Delivered,
    Disconnected,
    Failed,
    Post,
    Transport,
)
from coordinator.bydepot import ByDepot, by_depot
from coordinator.carrying import Effects
from coordinator.clock import Clock
from coordinator.connection import Connection
from coordinator.errors import BrokerRefused, CoordinatorError, StoreError, in_short
from coordinator.evaluation import Evaluation
from coordinator.fetching import Fetches
from coordinator.mailbox import (
    AboutModel,
    Asked,
    Evaluated,
    FetchFailed,
    HealthAsked,
    Mailbox,
    MailboxEvent,
    ModelPut,
    ModelSeen,
    PartFetched,
    ReloadRequested,
    StopRequested,
    take_events,
)
from coordinator.modelobjects import ModelObjects
from coordinator.progress import Observer, Progress, Sheltered, ignore
from coordinator.records import VersionRow
from coordinator.rereading import reread
from coordinator.startup import ORDINARY, OpenedState, Surroundings, open_state, policy_of
from coordinator.states import Collecting, Draining, Ended, Paused
from coordinator.telling import REMINDED_S, WAITING_MAX, Facts, Telling
from coordinator.writing import Arrival, RunWriter
from settings import Settings
from settings.health import Health, Reply

_log = logging.getLogger(__name__)

HEADER_BYTES = 4096  # of an update, about
PRESENCES_MISSED = 2  # then a worker counts as offline
RECOVER_S = (1.0, 2.0, 5.0, 10.0, 30.0)  # after a write failed: the disk may be full for a while
EVALUATION_LOOK_S = 0.1
EVALUATION_LOOKS_MAX = 6000  # at the end of a run, for the last versions: ten minutes


class CoordinatorService:
    """A coordinator for one federation.

    Args:
        settings: Of the federation.
        open_transport: Makes the transport, given where to post its events.
        observer: Takes a `Progress` whenever something changed; on the service's thread.
        new_run: Begin another run even if the last is not finished.
        restored: The store was restored from a backup: go on in a new incarnation.
        clock: The coordinator's time in seconds; for tests and virtual time.
        around: Its disk and its learner, likewise.
        read_again: Reads the settings again, for `reload`.

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
        around: Surroundings = ORDINARY,
        read_again: Callable[[], Settings] | None = None,
    ) -> None:
        self._settings = settings
        self._observer = Sheltered(observer)
        self._clock = Clock()
        self._now = clock or self._clock.now
        self._mailbox: Mailbox = queue.SimpleQueue()
        self._names = Names(settings.federation.name)
        self._read_again = read_again
        self._stopping = False
        self._look_at: float | None = self._now()  # a setting may have changed
        self._mend_at: float | None = None
        self._kept: list[MailboxEvent] = []
        self._fetched: deque[PartFetched] = deque()
        self._failures = 0
        self._reminded = False
        self._trouble = "not connected yet"
        with contextlib.ExitStack() as opened:
            try:
                state = open_state(
                    settings, self._now(), opened, around, new_run=new_run, restored=restored
                )
                depot = by_depot(settings, around.depot_of, around.porter_of, opened)
                self._open(opened, open_transport, state, depot)
            except (OSError, SQLAlchemyError) as error:
                where = settings.coordinator.state_dir
                raise StoreError(f"{where} cannot be used: {in_short(error)}") from error
            self._opened = opened.pop_all()

    def _open(
        self,
        opened: contextlib.ExitStack,
        open_transport: Callable[[Post], Transport],
        state: OpenedState,
        depot: ByDepot | None,
    ) -> None:
        settings = self._settings
        self._finished_before = state.finished_before
        self._spool, self._models = state.spool, state.models
        self._run = RunWriter(state, settings, policy_of(settings), self._now)
        layout = self._run.layout
        self._evaluation = Evaluation(
            settings,
            layout,
            lambda version, metrics: self._mailbox.put(Evaluated(version, metrics)),
        )
        opened.callback(self._evaluation.close)
        self._transport = open_transport(self._mailbox.put)
        opened.callback(self._transport.stop)
        part_bytes = settings.rounds.part_bytes
        stored = depot is not None and layout.num_bytes >= depot.min_bytes
        if depot is not None and not stored:  # else it is needed at once
            depot.look()
        self._message_bytes = min(layout.update_bytes, part_bytes) + HEADER_BYTES
        self._connection = Connection(
            self._transport,
            self._names,
            self.run_id,
            layout.num_bytes,
            self._message_bytes,
            self._now,
            self._run,
            lambda: self._telling.model_ready(),
            partial(self._model_objects, depot) if depot is not None and stored else None,
        )
        self._telling = Telling(
            self._transport,
            Facts(layout.digest, part_bytes, settings.run.seed, stored, depot is not None),
            self._now,
            lambda: self._run.state,
            lambda: self._run.evaluations,
            self._run.version_row,
            lambda: self._connection.offset,
            self._run.holds,
        )
        self._fetches = None if depot is None else self._fetches_of(depot)
        self._run.last_said = self._telling.last_said
        self._effects = Effects(
            self._transport,
            self._names,
            self._spool,
            self._run,
            self._connection,
            self._telling,
            self._fetches,
        )

    def _model_objects(self, depot: ByDepot, on_ready: Callable[[int, int], None]) -> ModelObjects:
        return ModelObjects(
            depot.depot,
            depot.models,
            depot.cleaner,
            self._mailbox.put,
            self._now,
            on_ready,
            self._run.versions.newest,
        )

    def _fetches_of(self, depot: ByDepot) -> Fetches:
        self._run.fetching = fetches = Fetches(
            depot.depot,
            depot.readers,
            depot.cleaner,
            self._mailbox.put,
            self._transport.ack,
            self._now,
            self._settings.coordinator.uploads_age_s,
            self._connection.prefetch // 2,
        )
        return fetches

    # from the outside

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run.run_id

    @property
    def finished_before(self) -> bool:
        """The run had ended before this start."""
        return self._finished_before

    @property
    def makes_versions(self) -> bool:
        """The run is not over: more versions are to be made."""
        return not isinstance(self._run.state, Draining | Ended)

    def run(self) -> Progress:
        """Serve until the run has ended, or `stop`; how it stands then.

        Raises:
            CoordinatorError: If it cannot go on.
        """
        try:
            self.begin()
            while not self._stopping and not self.over:
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
            self._progress()

    @property
    def over(self) -> bool:
        """Nothing is recorded any more; the same command records what still comes."""
        return isinstance(self._run.state, Ended)

    def drain(self) -> None:
        """Take all that has happened so far, and what it is time for; for virtual time.

        Raises:
            CoordinatorError: If it cannot go on.
        """
        self.handle(take_events(self._mailbox, 0.0))
        while not self._mailbox.empty():
            self.handle(take_events(self._mailbox, 0.0))

    def stop(self) -> None:
        """Ask the service to stop; from any thread or a signal handler."""
        self._mailbox.put(StopRequested())

    def reload(self) -> None:
        """Ask the service to read its settings again; from any thread or a signal handler."""
        self._mailbox.put(ReloadRequested())

    def ask_health(self, reply: Reply) -> None:
        """Ask how the service is; its loop replies. From any thread."""
        self._mailbox.put(HealthAsked(reply))

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        self._opened.close()

    def look(self) -> Progress:
        """How the run stands."""
        now, within_s = self._run.state, PRESENCES_MISSED * self._settings.worker.presence_s + 1
        return Progress(
            run_id=self.run_id,
            state=self._state_name(),
            version=max(now.run.version, 0),
            rounds=now.run.policy.rounds,
            counted=now.counted if isinstance(now, Collecting | Paused) else 0,
            goal=now.run.policy.goal,
            open_tasks=len(now.run.tasks),
            online=self._telling.online(within_s),
            offline=self._telling.offline(within_s),
            updates=dict(self._run.verdicts),
            evaluated=self._run.versions.evaluated,
            metrics=self._run.versions.metrics,
            note=self._trouble or self._connection.trouble,
        )

    def _state_name(self) -> str:
        """Where the broker matters and is not reached, that is what there is to say."""
        state = self._run.state
        if self._trouble and not isinstance(state, Ended):
            return "connecting"
        return type(state).__name__.lower()

    # the loop

    def _next_events(self) -> list[MailboxEvent]:
        wake = self.wake_at()
        return take_events(self._mailbox, None if wake is None else max(0.0, wake - self._now()))

    def wake_at(self) -> float | None:
        """When to hand in events next, though there be none; None if only an event can matter."""
        if self._mend_at is not None:
            return self._mend_at
        depot = None if self._fetches is None else self._fetches.wake_at()
        times = (*self._written_at(), self._connection.wake_at(), depot)
        return min((time for time in times if time is not None), default=None)

    def _written_at(self) -> tuple[float | None, ...]:
        """When something is to be written though nothing comes."""
        return self._run.wake_at(), self._connection.note_at, self._look_at

    def handle(self, events: list[MailboxEvent]) -> None:
        """Take what happened, in order, and look at the clock.

        Raises:
            CoordinatorError: If it cannot go on.
        """
        self._clock.look()
        try:
            self._guarded(lambda: self._handle(events))
        except CoordinatorError as error:
            self._run.note_why_it_stops(error)
            raise

    def health(self) -> Health:
        """How the service is: well if it does what a run is there for."""
        now = self.look()
        if now.note:
            return Health(False, f"version {now.version} of {now.rounds}: {now.note}")
        return Health(True, f"version {now.version} of {now.rounds}, {now.state}")

    def _handle(self, events: list[MailboxEvent]) -> None:
        if self._mend_at is not None:
            events = self._wait_to_mend(events)
            if self._mend_at is not None:
                return
        self._take_what_comes_once(events)
        deliveries: list[Delivered] = []
        for event in events:
            if isinstance(event, Delivered) and self._connection.source_of(event.consumer):
                deliveries.append(event)
            elif not isinstance(event, Asked | Evaluated | AboutModel):
                if isinstance(event, Disconnected):
                    deliveries.clear()  # void: the broker delivers them again
                self._take(event)
        trouble = self._connection.trouble
        self._connection.tick()
        if self._connection.trouble != trouble:
            self._progress()
        if self._fetches is not None:
            self._fetches.tick()
        due = any(time is not None and time <= self._now() for time in self._written_at())
        arrivals = self._arrivals(deliveries)
        arrivals.extend(self._read_whole())
        events.clear()  # so that a message is let go of as soon as it is dealt with
        if arrivals or due or self._fetched or self._run.closed:
            self._process(arrivals, due)

    def _take_what_comes_once(self, events: list[MailboxEvent]) -> None:
        """What neither broker nor store would tell again, if the disk refuses in between."""
        for event in events:
            if isinstance(event, Asked | AboutModel):
                self._take(event)
        self._kept = [event for event in events if isinstance(event, Evaluated)]
        while self._kept:
            self._take(self._kept[0])
            del self._kept[0]

    def _arrivals(self, deliveries: list[Delivered]) -> deque[Arrival]:
        """What is still ours: a consumer may have been lost after it delivered.

        What it is taken from is empty then.
        """
        sources = ((self._connection.source_of(d.consumer), d) for d in deliveries)
        arrivals = deque((source, d) for source, d in sources if source is not None)
        deliveries.clear()
        return arrivals

    def _read_whole(self) -> list[Arrival]:
        """Closing messages of updates that were read from the depot to their end."""
        whole = [] if self._fetches is None else self._fetches.complete()
        return [("updates", delivery) for delivery in whole]

    def _take(self, event: MailboxEvent) -> None:
        match event:
            case StopRequested():
                self._stopping = True
            case HealthAsked(reply):
                reply(self.health())
            case ReloadRequested():
                self._reread()
            case Evaluated():
                self._effects.carry_out(self._run.note_metrics(event.version, event.metrics))
                self._evaluation.noted(event.version)
                self._progress()
            case ModelPut() | ModelSeen():
                self._connection.handle(event)
                self._progress()
            case PartFetched():
                if self._fetches is not None and self._fetches.is_due(event):
                    self._fetched.append(event)
            case FetchFailed():
                if self._fetches is not None and self._fetches.is_due(event):
                    self._fetches.failed(event)
            case Failed():
                raise BrokerRefused(
                    f"the broker refuses the coordinator: {event.reason} (see broker.url)"
                )
            case Disconnected():
                if not self._trouble:
                    _log.warning("the connection is lost: %s", event.reason)
                self._trouble = event.reason
                self._forget_connection()
                self._progress()
            case Connected():
                self._trouble = ""
                self._connection.handle(event)
            case Declared():
                self._connection.handle(event)
                if not self._reminded:
                    self._reminded = True
                    self._telling.remind(self._run.waiting(REMINDED_S, WAITING_MAX))
                self._progress()
            case _:
                self._connection.handle(event)

    def _reread(self) -> None:
        """Read the settings again, and go by what is new in them."""
        read = self._read_again or (lambda: self._settings)
        settings = reread(self._settings, read, self.run_id)
        if settings is not None:
            self._settings, self._look_at = settings, self._now()
            self._run.change(settings, policy_of(settings))

    def _forget_connection(self) -> None:
        self._connection.forget()
        self._fetched.clear()
        if self._fetches is not None:
            self._fetches.forget()
        self._telling.forget_addresses()

    # when the disk refuses

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
        _log.error("could not write (%s); trying again in %.0f s", in_short(error), delay)
        self._mend_at = self._now() + delay
        self._spool.close()
        self._run.take_back_attempts()
        self._transport.disconnect()
        self._forget_connection()
        self._trouble = f"could not write: {in_short(error)}"
        self._progress()

    def _wait_to_mend(self, events: list[MailboxEvent]) -> list[MailboxEvent]:
        """Until it is time, nothing is written, or a full disk would make a busy loop.

        Then the state is what the store says, and the connection is made again. Returns what is
        to be taken after that: events of the old connection are void.
        """
        assert self._mend_at is not None
        for event in events:
            if isinstance(event, Asked | Failed | AboutModel):
                self._take(event)
            elif isinstance(event, Evaluated):
                self._kept.append(event)
        if self._now() < self._mend_at:
            return []
        # Each delivery that is taken and not acked brings its message nearer to being given up.
        self._run.prove_disk(self._message_bytes)
        self._run.take_back_attempts()
        self._run.load()
        self._mend_at, self._look_at = None, self._now()
        self._transport.start()
        kept, self._kept = self._kept, []
        return kept

    # transactions and what follows on them

    def _process(self, arrivals: deque[Arrival], due: bool) -> None:
        """Deal with what came: what the broker had given up last, and each of it alone.

        One of them may end this process, and it alone is to be blamed for that.
        """
        parked = [arrival for arrival in arrivals if arrival[0] == "parked"]
        for arrival in parked:
            arrivals.remove(arrival)
        self._work_off(arrivals, due)
        for source, delivery in parked:
            self._run.note_attempt(delivery)
            self._work_off(deque([(source, delivery)]), due=False)
            self._run.settled(delivery)
        self._progress()

    def _work_off(self, arrivals: deque[Arrival], due: bool) -> None:
        while arrivals or due or self._fetched or self._run.closed:
            if self._run.closed:
                self._make_version()
            else:
                self._transact(arrivals, due)
                arrivals.extend(self._read_whole())
                due = False

    def _transact(self, arrivals: deque[Arrival], due: bool) -> None:
        came = len(arrivals)
        effects = self._run.transact(arrivals, due, self._connection.notes(), self._fetched)
        self._connection.noted()
        self._look_at = None
        if came:  # a look at the clock fits on a disk that takes no update
            self._failures = 0
        self._effects.carry_out(effects)

    def _make_version(self) -> None:
        made = self._run.make_version()
        self._failures = 0
        self._connection.publish_version(self._run.as_streamed(made.row))
        self._effects.carry_out(made.effects)
        self._evaluate(made.row)
        if isinstance(self._run.state, Collecting):
            self._telling.changes()
        if made.new:
            self._run.prune(self._evaluation.in_hand())

    # evaluation and the end

    def _evaluate(self, row: VersionRow) -> None:
        self._evaluation.evaluate(row.version, self._models.path(row.file))

    def _evaluate_newest(self) -> None:
        """The newest version, if the last process ended before it was evaluated."""
        row = self._run.current()
        if row is not None and not row.metrics:
            self._evaluate(row)

    def _finish(self) -> None:
        if self._connection.note_at is not None:
            self._guarded(lambda: self._transact(deque(), due=False))
        if isinstance(self._run.state, Ended):
            self._telling.changes()
            self._wait_for_evaluation()
        self._progress()

    def _wait_for_evaluation(self) -> None:
        """The last versions are evaluated, unless that takes too long or someone stops us."""
        for _ in range(EVALUATION_LOOKS_MAX):
            idle = self._evaluation.wait(EVALUATION_LOOK_S)
            while not self._mailbox.empty():
                event = self._mailbox.get()
                if isinstance(event, HealthAsked):
                    event.reply(self.health())
                elif isinstance(event, Evaluated | StopRequested):
                    self._guarded(partial(self._take, event))
            if idle or self._stopping:
                return

    def _progress(self) -> None:
        self._observer(self.look())
