"""A world for the session: broker, disk and trainer, which check each action they are asked for."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.messages import Declined, Presence, Standing, Start, Taken, Task, part_count
from tests.worker.examples import a_standing, a_start, an_update
from worker import assignment, events, known, session, states, unsaid
from worker.events import Action, Ref
from worker.known import Session
from worker.options import ATTEMPTS_MAX, Options
from worker.parcel import Parcel
from worker.sending import PUTS, WINDOW

OPTIONS = Options("w1", train_timeout_s=100.0)


@dataclass
class World:
    """Broker, disk and trainer as the session sees them; each action is checked, then done."""

    options: Options = OPTIONS
    now: float = 1000.0
    online: bool = False
    consuming: bool = False
    disk_is_full: bool = False
    tags: dict[int, Task] = field(default_factory=dict)  # delivered and unsettled
    flying: list[Ref] = field(default_factory=list)
    said: dict[Ref, Presence | Taken | Declined] = field(default_factory=dict)
    questions: list[Ref] = field(default_factory=list)  # how things stand: updates ask too
    inbox: dict[str, tuple[Task, Start | None, int]] = field(default_factory=dict)
    outbox: dict[str, Parcel] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)  # task to update
    cache: set[str] = field(default_factory=set)
    training: str | None = None
    committed: Parcel | None = None  # by the training process, which has not said so yet
    fetching: Start | None = None
    # What makes it right to ack, to drop, and to let an update go.
    taken_known: set[str] = field(default_factory=set)
    declined_known: set[str] = field(default_factory=set)
    unwanted: set[str] = field(default_factory=set)
    given_back: set[str] = field(default_factory=set)
    update_confirmed: set[str] = field(default_factory=set)
    parts_confirmed: dict[str, set[int]] = field(default_factory=dict)
    objects_put: set[str] = field(default_factory=set)
    verdicts_told: set[str] = field(default_factory=set)
    trainings: list[str] = field(default_factory=list)
    updates_sent: list[str] = field(default_factory=list)
    known_tags: set[int] = field(default_factory=set)  # deliveries of what was done before
    to_say: set[str] = field(default_factory=set)  # in the inbox, and goes on before it is said
    unsaid: set[str] = field(default_factory=set)  # in the inbox, and the coordinator is asked
    left: int | None = None
    reason: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    actions: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(0)
        self.session: Session = self._begin()

    def _begin(self) -> Session:
        held, resumed = None, None
        if self.inbox:
            task, start, attempts = next(iter(self.inbox.values()))
            has_model = start is not None and start.model_digest in self.cache
            goes_on = has_model and task.task_id not in self.unsaid
            held = (task, start, attempts, goes_on)
            if goes_on and start is not None and task.task_id in self.to_say:
                resumed = unsaid.resume(task, start, self.now)
        parcels = tuple(self.outbox.values())
        return known.begin(self.options, self.now, held, parcels, unsaid=resumed)

    def restart(self) -> None:
        """The worker's process is killed and started again: only the disk stays."""
        self.cut()
        self.training = self.fetching = self.committed = None
        self.left = None
        self.session = self._begin()

    def cut(self) -> None:
        """The connection is gone, and with it what belongs to it."""
        self.online = self.consuming = False
        self.given_back |= {task.task_id for task in self.tags.values()}
        self.tags.clear()
        self.flying.clear()
        self.fetching = None

    def happens(self, event: events.SessionEvent) -> None:
        """Tell the session, and do what it wants."""
        todo = [event]
        while todo:
            self.session, actions = session.advance(self.session, todo.pop(0), self.now, self.rng)
            for action in actions:
                assert self.left is None, f"{action} after it left"
                todo += self.do(action)

    def do(self, action: Action) -> list[events.SessionEvent]:
        self.counts[type(action).__name__] += 1
        self.actions.append(action)
        match action:
            case events.Say(ref, message):
                self._fly(ref)
                self.said[ref] = message
                if ref.about == "presence":
                    self.questions.append(ref)
            case events.SendPart(ref, update_id, index):
                assert index < self.outbox[update_id].parts
                self._fly(ref)
            case events.PutObject(ref, update_id):
                assert self.options.has_depot
                assert self.outbox[update_id].parts > 0
                self._fly(ref)
            case events.SendUpdate(ref, update_id, stored):
                parcel = self.outbox[update_id]
                confirmed = self.parts_confirmed.get(update_id, set())
                if stored:
                    assert update_id in self.objects_put, "closed before its object was there"
                else:
                    assert confirmed >= set(range(parcel.parts)), "closed before its parts"
                self.updates_sent.append(update_id)
                self._fly(ref)
                self.questions.append(ref)
            case events.Consume(queue):
                assert self.online
                assert queue == self.session.asking.queue
                assert not self.consuming
                assert not self.inbox, "one task at a time"
                self.consuming = True
            case events.StopConsuming():
                self.consuming = False
            case events.Ack(tag):
                assert not self.consuming, "the next would be on its way"
                task_id = self.tags.pop(tag).task_id
                self.counts["done unsaid"] += task_id not in self.taken_known
                over = task_id in self.done.keys() | self.declined_known | self.unwanted
                heard = task_id in self.taken_known | self.declined_known
                heard = (
                    heard or self.done.get(task_id) in self.update_confirmed | self.verdicts_told
                )
                stored = over or task_id in self.inbox
                assert tag in self.known_tags or (stored and heard), (
                    "acked before it was stored and known"
                )
            case events.Reject(tag):
                assert not self.consuming, "the next would be on its way"
                self.given_back.add(self.tags.pop(tag).task_id)
            case events.KeepTask(task) if self.disk_is_full:
                return [events.TaskNotKept(task.task_id, "no space left")]
            case events.KeepStart() if self.disk_is_full:
                return []
            case events.KeepStart(task, start, said):
                if task.task_id not in self.done:
                    attempts = self.inbox[task.task_id][2] if task.task_id in self.inbox else 0
                    self.inbox[task.task_id] = (task, start, attempts)
                    self.unsaid.discard(task.task_id)
                    (self.to_say.discard if said else self.to_say.add)(task.task_id)
                return [events.StartKept(task.task_id)]
            case events.KeepTask(task):
                assert not self.inbox or task.task_id in self.inbox
                self.inbox.setdefault(task.task_id, (task, None, 0))
                return [events.TaskKept(task.task_id)]
            case events.DropTask(task_id):
                assert task_id in self.declined_known | self.unwanted | self.given_back
                self.inbox.pop(task_id, None)
                # Given up, and finished all the same: the shell looks, and finds the update.
                if self.committed is not None and self.committed.task_id == task_id:
                    return [self._reported()]
            case events.Fetch(start):
                if start.model_digest in self.cache:
                    return [events.ModelReady(str(start.model_digest))]
                assert self.online
                if self.disk_is_full:
                    return [events.ModelNotKept(str(start.model_digest), "no space left")]
                self.fetching = start
            case events.StopFetching():
                self.fetching = None
            case events.Train(task, start, said=said):
                assert self.training is None, "two trainings at once"
                assert start.model_digest in self.cache
                if task.task_id in self.done:
                    return [self._done(task.task_id)]
                if self.disk_is_full:
                    return [events.TrainingFailed(task.task_id, "disk", "no space left")]
                if not said:
                    assert task.task_id in {task.task_id for task in self.tags.values()}
                    self.inbox.setdefault(task.task_id, (task, None, 0))
                    self.unsaid.add(task.task_id)
                    self.counts["begun at once"] += 1
                    assert len(self.inbox) == 1, "one task at a time"
                else:
                    self.unsaid.discard(task.task_id)
                row, _, attempts = self.inbox[task.task_id]
                assert attempts < ATTEMPTS_MAX
                self.inbox[task.task_id] = (row, start, attempts + 1)
                self.counts["trained a third time"] += attempts + 1 == ATTEMPTS_MAX
                self.training = task.task_id
                self.trainings.append(task.task_id)
            case events.CancelTraining(task_id, forgive):
                assert self.training == task_id
                self.training = None
                if forgive and task_id in self.inbox:  # else it was done, and is told later
                    kept, kept_start, attempts = self.inbox[task_id]
                    self.inbox[task_id] = (kept, kept_start, attempts - 1)
                work = self.session.work
                anew = isinstance(work, states.Training) and work.instead is not None
                self.counts["begun anew"] += anew
                if anew and self.committed is None:
                    return [events.TrainingFailed(task_id, "cancelled", "as was asked")]
            case events.KillTraining(task_id):
                assert self.training == task_id
                if self.committed is not None and self.committed.task_id == task_id:
                    return [self._reported()]
                self.training = None
                return [events.TrainingFailed(task_id, "crash", "killed")]
            case events.Release(update_id):
                assert update_id in self.update_confirmed
                assert self.outbox.pop(update_id).parts == 0
            case events.Settle(update_id):
                assert update_id in self.verdicts_told
                self.outbox.pop(update_id, None)
            case events.MarkSent(update_id, sent):
                assert not sent or update_id in self.update_confirmed
                self.outbox[update_id] = replace(self.outbox[update_id], sent=sent)
            case events.Forget(update_id):
                del self.outbox[update_id]
            case events.Leave(code, reason):
                self.left, self.reason = code, reason
            case events.GoAway(for_s):
                assert for_s > 0
                assert self.online
                assert not self.consuming, "the next would be on its way"
                assert not self.inbox, "a task is open"
                assert not self.outbox, "an update is open"
                return self._lose_connection()
            case events.Remark():
                pass
        return []

    def _fly(self, ref: Ref) -> None:
        assert self.online, f"{ref} published while offline"
        assert ref not in self.flying
        self.flying.append(ref)
        # What is in flight of an update that got its verdict meanwhile is nobody's business.
        updates = [ref for ref in self.flying if ref.subject in self.outbox]
        puts = [ref for ref in updates if ref.about == "object"]
        assert len(puts) <= PUTS
        assert len(updates) - len(puts) <= WINDOW

    # What the world can do.

    def connect(self) -> None:
        self.online = True
        self.happens(events.WentOnline())

    def disconnect(self) -> None:
        for event in self._lose_connection():
            self.happens(event)

    def _lose_connection(self) -> list[events.SessionEvent]:
        lost = list(self.flying)
        self.cut()
        return [events.WentOffline(), *(events.Unpublished(ref, "in doubt") for ref in lost)]

    def deliver(self, task: Task, tag: int) -> None:
        self.tags[tag] = task
        known: Any = "new"
        if task.task_id in self.inbox:
            known = "held"
        elif task.task_id in self.done:
            known = "open" if self.done[task.task_id] in self.outbox else "done"
            self.known_tags.add(tag)
        self.happens(events.TaskCame(tag, task, known))

    def confirm(self, ref: Ref) -> None:
        self.flying.remove(ref)
        match ref.about:
            case "taken":
                self.taken_known.add(ref.subject)
            case "declined":
                self.declined_known.add(ref.subject)
            case "part":
                self.parts_confirmed.setdefault(ref.subject, set()).add(ref.index)
            case "object":
                self.objects_put.add(ref.subject)
            case "update":
                self.update_confirmed.add(ref.subject)
            case "presence":
                pass
        self.happens(events.Published(ref))

    def fail(self, ref: Ref) -> None:
        self.flying.remove(ref)
        self.happens(events.Unpublished(ref, "refused"))

    def start(self, task: Task, wanted: bool = True, version: int = 0, **changes: Any) -> None:
        self.taken_known.add(task.task_id)
        if not wanted:
            self.unwanted.add(task.task_id)
        self.happens(events.StartCame(a_start(task, version, wanted=wanted, **changes)))

    def stand(self, standing: Standing, ref: Ref | None = None) -> None:
        """Answer the newest question, or an older one."""
        if ref is None and self.questions:
            ref = self.questions[-1]
        if ref is not None:
            self.verdicts_told |= standing.verdicts.keys()
            for update_id, missing in standing.missing.items():  # the others are there
                if update_id in self.outbox:
                    there = set(range(self.outbox[update_id].parts)) - set(missing)
                    self.parts_confirmed.setdefault(update_id, set()).update(there)
            self.happens(events.StandingCame(ref, standing))

    def finish_training(self, payload_bytes: int = 64) -> Parcel:
        """Done by the training process, which says so."""
        parcel = self.commit_training(payload_bytes)
        self.happens(self._reported())
        return parcel

    def die_after_commit(self) -> None:
        """The training process ends unheard: the shell looks, and finds the update."""
        self.happens(self._reported())

    def _reported(self) -> events.TrainingDone:
        assert self.committed is not None
        parcel, self.committed = self.committed, None
        if self.training == parcel.task_id:
            self.training = None
        return events.TrainingDone(parcel.task_id, parcel)

    def _done(self, task_id: str) -> events.TrainingDone:
        return events.TrainingDone(task_id, self.outbox[self.done[task_id]])

    def commit_training(self, payload_bytes: int = 64) -> Parcel:
        """The inbox's row becomes the outbox's; the agent does not know yet."""
        assert self.training is not None
        assert self.committed is None
        task, start, _ = self.inbox.pop(self.training)
        assert start is not None
        update = an_update(task)
        parts = 0 if payload_bytes <= 64 else part_count(payload_bytes, 64)
        parcel = Parcel(
            update.update_id,
            task.task_id,
            task.run_id,
            start.base_version,
            payload_bytes,
            parts,
            kind=task.kind,
            incarnation=task.incarnation,
            codec=task.codec,
        )
        assert parcel.update_id not in self.done.values(), "trained twice to the end"
        self.outbox[parcel.update_id] = parcel
        self.done[task.task_id] = parcel.update_id
        self.committed = parcel
        return parcel

    def has_model(self) -> None:
        assert self.fetching is not None
        digest = str(self.fetching.model_digest)
        self.cache.add(digest)
        self.fetching = None
        self.happens(events.ModelReady(digest))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.happens(events.Tick())

    def settle_time(self) -> None:
        """Tick while it is time to: that must come to an end without time passing."""
        for _ in range(20):
            wake_at = session.wake_at(self.session)
            if wake_at is None or wake_at > self.now:
                return
            self.happens(events.Tick())
        raise AssertionError(f"a busy loop in {self.session}")

    def be_kind(self) -> None:
        """Broker, coordinator and learner do what they should, and some time passes."""
        self.settle_time()
        for ref in list(self.flying):
            if ref in self.flying:
                self.confirm(ref)
        if isinstance(self.session.work, states.Taking):
            self.start(self.task, version=self.task.base_version or 0)
        if self.fetching is not None:
            self.has_model()
        if self.committed is not None:
            self.die_after_commit()
        elif self.training is not None:
            self.finish_training()
        confirmed = self.update_confirmed & self.outbox.keys()
        self.stand(a_standing(verdicts=dict.fromkeys(confirmed, "counted")))
        self.tick(5.0)

    def last(self, about: str) -> Ref:
        return [ref for ref in self.flying if ref.about == about][-1]

    @property
    def task(self) -> Task:
        held = assignment.task(self.session.work)
        assert held is not None
        return held
