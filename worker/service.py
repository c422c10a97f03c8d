"""The worker as a service: a mailbox, a thread, and the pure session in between.

    transport ─┐                                       ┌─▶ transport
    trainer ───┼─▶ mailbox ─▶ session.advance ─actions─┼─▶ store, model cache
    owner ─────┘       (one thread, or the caller's)   └─▶ trainer

Rules of the file:

- Everything is done on one thread: the service's own (`start`), or that of whoever calls `open`,
  `drain` and `wake_at` (a simulator). The transport and the trainer only put into the mailbox. A
  transport without a thread (`Driven`) is driven while the mailbox is empty, and now and then
  while it is not.
- What the session wants is carried out in the order it says; what comes of it at once (a task that
  is on disk, a model that was in the cache) is its next event.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from broker import transport as wire
from broker.transport import Driven, Post, Transport
from depot import Depot
from depot.porter import Porter, ThreadPorter
from disk import OS_DISK, Disk
from schemas.digest import identify
from settings.health import Health, Reply
from worker import assignment, availability, events, known, session, states
from worker.bydepot import ByDepot
from worker.config import WorkerConfig
from worker.disk import FolderLock
from worker.effects import Effects, Happening
from worker.events import SessionEvent
from worker.known import Session
from worker.models import ModelCache
from worker.options import Once
from worker.report import WorkerReport
from worker.rows import ASKS, GOES_ON
from worker.store import Store
from worker.trainer import Trainer
from worker.traits import Device, battery_level
from worker.unsaid import resume

_log = logging.getLogger("worker")
_WAIT_MOST_S = 3600.0
_TIDY_S = 5.0
_MAILS_MOST = 32  # that are handled before the connection has its turn


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The owner wants the worker to leave in good order."""


@dataclass(frozen=True, slots=True)
class OnlineWanted:
    """The owner allows a connection, or does not."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class HealthAsked:
    """Someone asks how the worker is."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class _Quit:
    """The thread is to end at once."""


Mail = Happening | StopAsked | OnlineWanted | HealthAsked | _Quit


def local_minute() -> float:
    """Minutes since midnight on this machine's clock on the wall."""
    now = time.localtime()
    return now.tm_hour * 60 + now.tm_min + now.tm_sec / 60


class WorkerService:
    """One worker. Many may live in one process, each with a folder of its own.

    Args:
        config: Of the worker.
        make_transport: Gives the way to the broker; the argument takes its events.
        trainer: What trains; it may be shared, and is not closed here.
        clock: Monotonic seconds.
        disk: Where the state folder is.
        minute: Minutes since midnight of the local time, for `hours`.
        battery: How full its battery is, as `worker.traits.battery_level`.
        observe: Takes a report whenever one differs from the last, on the service's thread.
        depot: Where models and updates may lie that do not go through the broker; None: it has
            none.
        porter_of: Makes who goes there, by the name of its thread.
    """

    def __init__(
        self,
        config: WorkerConfig,
        make_transport: Callable[[Post], Transport],
        trainer: Trainer,
        *,
        clock: Callable[[], float] = time.monotonic,
        disk: Disk = OS_DISK,
        minute: Callable[[], float] = local_minute,
        battery: Callable[[], float] = battery_level,
        observe: Callable[[WorkerReport], None] | None = None,
        depot: Depot | None = None,
        porter_of: Callable[[str], Porter] = ThreadPorter,
    ) -> None:
        options = replace(config.options, has_depot=depot is not None)
        self.config = config = replace(config, options=options)
        self._depot: ByDepot | None = None
        if depot is not None:
            name = f"depot-{config.worker_id}"
            models, updates = porter_of(f"{name}-models"), porter_of(f"{name}-updates")
            self._depot = ByDepot(depot, models, updates, clock)
        self._trainer = trainer
        self._clock = clock
        self._disk = disk
        self._minute = minute
        self._device = Device(config.traits, minute, battery)
        self._observe = observe
        self._mailbox: queue.SimpleQueue[Mail] = queue.SimpleQueue()
        self._rng = random.Random(identify("worker", config.seed, config.worker_id))
        self._transport = transport = make_transport(self._mailbox.put)
        self._driven = transport if isinstance(transport, Driven) else None
        self._undriven = 0  # mails since it was driven
        self._thread: threading.Thread | None = None
        self._exit_code: int | None = None
        self._reason = ""
        self._report = WorkerReport(config.worker_id)
        self._ended = threading.Event()
        self._lock: FolderLock | None = None
        self._allowed = True  # by the owner
        self._connecting = False  # the transport was started
        self._away_until = math.inf  # told to be away until then; infinite if not
        self._tidy_at = math.inf  # when to try again what the disk did not take

    @property
    def report(self) -> WorkerReport:
        """The worker as it was after its last event; may be read from any thread."""
        return self._report

    # The life of a service, with a thread of its own.

    def start(self) -> None:
        """Open the state folder and begin to work.

        Raises:
            StateInUseError: Another worker runs on the folder.
            WrongStateError: It is another worker's.
            StoreError: It cannot be written.
        """
        self.open()
        self._thread = threading.Thread(
            target=self._run, name=f"worker-{self.config.worker_id}", daemon=True
        )
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Leave in good order: decline what was not begun, keep what was. False if it takes longer.

        Safe to call twice.
        """
        self.ask_to_stop()
        if self._thread is None:
            self.drain()
        return self.join(timeout_s)

    def ask_to_stop(self) -> None:
        """Begin to leave in good order; may be called from a signal handler."""
        self._post(StopAsked())

    def ask_health(self, reply: Reply) -> None:
        """Ask how the worker is; its own thread replies. From any thread."""
        self._post(HealthAsked(reply))

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the worker has left by itself; False if it has not in time."""
        return self._ended.wait(timeout_s)

    def kill(self) -> None:
        """End at once without a word, as `kill -9` would: the state folder stays as it is."""
        self._post(_Quit())
        if self._thread is None:
            self.drain()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    def go_offline(self) -> None:
        """Disconnect; training goes on."""
        self._post(OnlineWanted(False))

    def go_online(self) -> None:
        """Connect again (within the hours and spells that the settings give)."""
        self._post(OnlineWanted(True))

    # The same by hand, for virtual time.

    def open(self) -> None:
        """Open the state folder and begin to connect; `drain` then does what is to be done.

        Raises:
            StateInUseError: Another worker runs on the folder.
            WrongStateError: It is another worker's.
            StoreError: It cannot be written.
        """
        try:
            self._open()
        except BaseException:
            self._transport.stop()
            raise

    def _open(self) -> None:
        config, now = self.config, self._clock()
        self._lock = FolderLock(self._disk, config.folder)
        try:
            self._store = Store(config.folder, self._disk)
            try:
                self._store.claim(config.worker_id, config.federation)
                self._store.sweep()
                cache = ModelCache(config.folder / "models", self._disk)
                cache.prepare()
                self._session = _begin(config, self._store, cache, now)
            except BaseException:
                self._store.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        self._effects = Effects(
            config,
            self._store,
            cache,
            self._transport,
            self._trainer,
            self._post,
            self._device,
            self._depot,
        )
        self._spell = availability.begin(self._availability, now, self._rng)
        self._connect_or_not()
        self._settle_down()

    def drain(self) -> None:
        """Do what is in the mailbox, and what it is time for."""
        while not self._ended.is_set():
            mail = self._next_mail(wait_s=0.0)
            if mail is not None:
                self.handle(mail)
            elif self._is_time():
                self._tick()
            else:
                return

    def handle(self, mail: Mail) -> None:
        """Do what one event asks for."""
        if self._ended.is_set():
            return
        match mail:
            case _Quit():
                self._end(None, "killed")
            case StopAsked():
                self._advance(events.Stop())
            case OnlineWanted(wanted):
                self._allowed, self._away_until = wanted, math.inf
                self._connect_or_not()
            case HealthAsked(reply):
                reply(self._health())
            case wire.Failed(reason):
                self._forgive_training()
                self._end(1, f"the broker refuses this worker: {reason} (see broker.url)")
            case _:
                for event in self._effects.take_in(mail):
                    self._advance(event)
        if not self._ended.is_set():
            self._settle_down()

    def wake_at(self) -> float | None:
        """When to call `drain` at the latest though nothing came; None if that may be never."""
        if self._ended.is_set():
            return None
        times = [self._spell.until, self._look_again_at, self._tidy_at, self._away_until]
        if self._depot is not None:
            times.append(self._depot.gives_up_at)
        asked = session.wake_at(self._session)
        earliest = min(times if asked is None else [asked, *times])
        return None if earliest == float("inf") else earliest

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                wake_at, now = self.wake_at(), self._clock()
                if wake_at is not None and wake_at <= now:
                    self._tick()  # a flood of events must not hold up what is due
                mail = self._next_mail(_WAIT_MOST_S if wake_at is None else wake_at - now)
                if mail is not None:
                    self.handle(mail)
        except BaseException:
            _log.exception("%s: a bug; nothing is lost", self.config.worker_id)
            self._end(1, "a bug, see the log")

    def _post(self, mail: Mail) -> None:
        """Put something into the mailbox, from any thread."""
        self._mailbox.put(mail)
        if self._driven is not None:
            self._driven.wake()

    def _next_mail(self, wait_s: float) -> Mail | None:
        wait_s = min(max(wait_s, 0.0), _WAIT_MOST_S)
        if self._driven is not None:
            self._undriven += 1
            is_empty = self._mailbox.empty()
            if is_empty or self._undriven > _MAILS_MOST:
                self._driven.drive(wait_s if is_empty else 0.0)
                self._undriven = 0
            wait_s = 0.0
        try:
            return self._mailbox.get(timeout=wait_s)
        except queue.Empty:
            return None

    def _is_time(self) -> bool:
        wake_at = self.wake_at()
        return wake_at is not None and wake_at <= self._clock()

    def _tick(self) -> None:
        self._connect_or_not()
        if self._tidy_at <= self._clock():
            self._tidy_at = math.inf
            self._effects.tidy_again()
        if self._depot is not None:
            self._depot.give_up(self._post)
        self._advance(events.Tick())
        self._settle_down()

    def _advance(self, event: SessionEvent) -> None:
        todo: deque[SessionEvent] = deque((event,))
        while todo and not self._ended.is_set():
            self._session, actions = session.advance(
                self._session, todo.popleft(), self._clock(), self._rng
            )
            for action in actions:
                todo += self._effects.carry_out(action)
                if isinstance(action, events.GoAway):
                    self._go_away(action.for_s)
                elif isinstance(action, events.Leave):
                    self._end(action.code, action.reason)

    # Being connected, or not.

    @property
    def _availability(self) -> availability.Availability:
        chosen = self.config.availability
        if isinstance(self.config.options.plan, Once):
            return replace(chosen, on_for_s=0.0, off_for_s=0.0)
        return chosen

    def _go_away(self, for_s: float) -> None:
        self._away_until = availability.away_until(for_s, self._clock(), self._rng)
        self._connect_or_not()

    def _connect_or_not(self) -> None:
        now, minute = self._clock(), self._minute()
        if self._away_until <= now:
            self._away_until = math.inf
        self._spell = availability.advance(self._availability, self._spell, now, self._rng)
        is_open = availability.is_open(self._availability, minute)
        self._look_again_at = now + availability.look_again_s(self._availability, minute)
        away = self._away_until < math.inf
        wanted = self._allowed and self._spell.on and is_open and not away
        if wanted != self._connecting:
            self._connecting = wanted
            if wanted:
                self._transport.start()
            else:
                self._transport.disconnect()

    def _settle_down(self) -> None:
        """Tell what is new, after each event."""
        if self._effects.has_chores and self._tidy_at == math.inf:
            self._tidy_at = self._clock() + _TIDY_S
        report = self._look()
        if report != self._report:
            self._report = report
            if self._observe is not None:
                self._observe(report)

    def _look(self) -> WorkerReport:
        state, tally = self._session, self._effects.tally
        held = assignment.task(state.work)
        run_id, version, _ = state.trained
        return WorkerReport(
            worker_id=self.config.worker_id,
            doing=type(state.work).__name__.lower(),
            online=state.online and not self._ended.is_set(),
            task_id="" if held is None else held.task_id,
            run_id=run_id,
            version=version,
            trained=tally.trained,
            evaluated=tally.evaluated,
            sent=tally.sent,
            declined=tally.declined,
            open_updates=len(state.sending.shipments),
            verdicts=dict(tally.verdicts),
            exit_code=self._exit_code,
            reason=self._reason,
        )

    def _health(self) -> Health:
        """Well is a worker that reaches the broker, or is away because it is meant to be."""
        now = self._look()
        if now.doing == "full":
            return Health(False, f"{now.worker_id}: the disk takes no task")
        if self._connecting and not now.online:
            return Health(False, f"{now.worker_id}: does not reach the broker, {now.doing}")
        return Health(True, f"{now.worker_id}: {'online' if now.online else 'away'}, {now.doing}")

    def _end(self, code: int | None, reason: str) -> None:
        """Let go of everything; what is on disk stays."""
        self._exit_code, self._reason = code, reason
        try:
            with ExitStack() as last:  # each of them, whatever the others raise
                last.callback(self._settle_down)
                if self._lock is not None:
                    last.callback(self._lock.release)
                last.callback(self._store.close)
                last.callback(self._transport.stop)
                last.callback(self._effects.close)
                if self._depot is not None:
                    last.callback(self._depot.close)
                last.callback(self._end_training, at_once=code is None)
        except Exception:
            _log.exception("%s: a bug while it ended; nothing is lost", self.config.worker_id)
        finally:
            self._ended.set()

    def _forgive_training(self) -> None:
        """What ends the worker is none of the training's doing: it counts as no attempt."""
        work = self._session.work
        if isinstance(work, states.Training):
            self._effects.carry_out(events.CancelTraining(work.task.task_id, forgive=True))

    def _end_training(self, *, at_once: bool) -> None:
        held = assignment.task(self._session.work)
        if held is not None:
            end = self._trainer.kill if at_once else self._trainer.cancel
            end(f"{self.config.worker_id}/{held.task_id}")


def _begin(config: WorkerConfig, store: Store, cache: ModelCache, now: float) -> Session:
    """A session that goes on where the state folder left off."""
    # A training process that outlived its agent for a moment may finish the task meanwhile.
    with store.snapshot():
        held = store.inbox.held()
        parcels = store.parcels()
        unheard = store.unheard(known.UNHEARD_MAX)
        trained = store.last_trained()
        left = store.owed()
    in_hand, unsaid = None, None
    if held is not None:
        start = held.start
        is_ready = start is not None and cache.has(start.model_digest, start.model_bytes)
        in_hand = (held.task, start, held.attempts, is_ready and held.said != ASKS)
        if is_ready and start is not None and held.said == GOES_ON:
            unsaid = resume(held.task, start, now)
    return known.begin(
        config.options,
        now,
        held=in_hand,
        parcels=parcels,
        unheard=unheard,
        trained=trained,
        left=left,
        unsaid=unsaid,
    )
