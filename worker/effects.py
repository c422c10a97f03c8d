"""Between the session and the world: what is wanted is done, what happens is told.

`carry_out(action)` does what the session wants; `take_in(happening)` says what an event of the
transport or a report of the trainer means. Both give the session's next events.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import assert_never

from broker import transport as wire
from broker.topology import Names
from broker.transport import Outgoing, Transport
from depot import update_name
from schemas.buffer import Buffer
from schemas.errors import DecodeError
from schemas.messages import (
    Declined,
    Presence,
    Standing,
    Start,
    Taken,
    Task,
    TaskSource,
    decode,
    encode,
)
from worker import events
from worker.bydepot import ByDepot, ObjectPut
from worker.chores import Chores
from worker.config import WorkerConfig
from worker.errors import PayloadLostError, StoreError
from worker.events import Action, Events, Ref
from worker.fetching import FromDepot, RangeCame, RangeMissed
from worker.models import ModelCache
from worker.report import Tally
from worker.sending import DEPOT_TRIES
from worker.shipping import Body, Shipping
from worker.store import Store
from worker.supply import ModelSupply
from worker.trainer import Broken, Finished, Job, Moved, Report, Trainer
from worker.traits import Device

_log = logging.getLogger("worker")

TASK_PREFETCH = 1
_CONSUMERS_KEPT = 8
_MARKS_TRIMMED_EVERY = 256  # trainings
_QUESTIONS_KEPT = 16  # an answer to an older one is of no use

FromElsewhere = Report | FromDepot | ObjectPut
Happening = wire.Event | FromElsewhere


class Effects:
    """The session's hands and ears. Used by one thread.

    Args:
        config: Of the worker.
        store: Its inbox and outbox.
        cache: Its models.
        transport: The way to the broker.
        trainer: What does the training.
        notify: Takes the trainer's reports and what comes from the depot, from any thread.
        device: What the worker declares of itself.
        depot: Where models and updates may lie; None: there is none.
    """

    def __init__(
        self,
        config: WorkerConfig,
        store: Store,
        cache: ModelCache,
        transport: Transport,
        trainer: Trainer,
        notify: Callable[[FromElsewhere], None],
        device: Device,
        depot: ByDepot | None = None,
    ) -> None:
        self._config = config
        self._names = Names(config.federation)
        self._store = store
        self._life = store.life
        self._transport = transport
        self._trainer = trainer
        self._notify = notify
        self._device = device
        self.tally = Tally()
        self._refs: dict[int, Ref] = {}  # by the transport's token, until it is settled
        self._questions: dict[int, Ref] = {}
        # Consumers of this connection, the current one last. What was delivered to one before it
        # was cancelled may still be in the mailbox.
        self._consumers: deque[int] = deque(maxlen=_CONSUMERS_KEPT)
        self._is_online = False
        self._unreached = False  # and it has been said
        self._unput = False  # the depot took no update, and it has been said
        self._declined = ""  # the last task given up
        self._shipping = Shipping(store)
        self._chores = Chores(config.worker_id)
        self._depot = depot
        self._supply = ModelSupply(self._names, cache, transport, depot, notify, store.make_room)

    def close(self) -> None:
        """Let go of what is open here."""
        self._supply.close()

    # What is wanted.

    def carry_out(self, action: Action) -> Events:
        """Do what the session wants."""
        match action:
            case events.Say(ref, message):
                self._say(ref, message)
            case events.SendUpdate(ref, update_id, stored):
                return self._send(ref, update_id, partial(self._shipping.update, stored=stored))
            case events.PutObject(ref, update_id):
                return self._put_object(ref, update_id)
            case events.SendPart(ref, update_id, index):
                return self._send(ref, update_id, partial(self._shipping.part, index=index))
            case events.Consume(queue):
                self._consumers.append(self._consume(queue))
            case events.StopConsuming():
                if self._consumers:
                    self._transport.cancel(self._consumers[-1])
            case events.Ack(tag):
                self._transport.ack(tag)
            case events.Reject(tag, requeue):
                self._transport.reject(tag, requeue)
            case events.KeepTask(task):
                return self._keep(task)
            case events.KeepStart(task, start, said):
                return self._keep_start(task, start, said)
            case events.Fetch(start):
                return self._supply.fetch(start)
            case events.StopFetching():
                self._supply.stop()
            case events.Train(task, start, deadline_s, said):
                return self._train(task, start, deadline_s, said)
            case events.CancelTraining(task_id, forgive):
                self._trainer.cancel(self._key(task_id))
                if forgive:
                    self._tidy("forgive", task_id, self._store.inbox.forgive_attempt)
            case events.KillTraining(task_id):
                self._trainer.kill(self._key(task_id))
            case events.DropTask(task_id):
                return self._drop(task_id)
            case events.Release(update_id):
                self._shipping.gone(update_id)
                self._tidy("release", update_id, self._store.release)
                self._is_sent(update_id)
            case events.Settle(update_id, verdict):
                self._shipping.gone(update_id)
                self._tidy("settle", update_id, partial(self._settle, verdict=verdict))
            case events.MarkSent(update_id, sent):
                self._shipping.look_again(update_id)
                self._tidy("sent", update_id, partial(self._store.mark_sent, sent=sent))
                if sent:
                    self._is_sent(update_id)
            case events.Forget(update_id):
                self._shipping.gone(update_id)
                self._tidy("forget", update_id, self._store.forget)
            case events.Remark(level, text):
                self._log(getattr(logging, level.upper()), text)
            case events.GoAway(for_s):  # the service does it
                self._log(logging.INFO, f"not needed: comes back in about {for_s:.0f} s")
            case events.Leave():
                pass  # the service's own business
            case unreachable:
                assert_never(unreachable)
        return ()

    @property
    def has_chores(self) -> bool:
        """Whether the disk did not take something, which `tidy_again` tries again."""
        return len(self._chores) > 0

    def tidy_again(self) -> None:
        """Try what the disk did not take."""
        self._store.make_room()
        self._chores.try_again()

    def _tidy(self, what: str, subject: str, do: Callable[[str], object]) -> None:
        """Change what the store remembers; nothing is lost if that fails, it is only done later."""
        self._chores.do((what, subject), lambda: do(subject))

    def _settle(self, update_id: str, verdict: str) -> None:
        if self._store.settle(update_id, verdict):
            self.tally.verdicts[verdict] += 1
            self._log(logging.INFO, f"update {update_id:.8}: {verdict}")

    def _is_sent(self, update_id: str) -> None:
        self.tally.sent += 1
        self._log(logging.INFO, f"update {update_id:.8} is in the broker's hands")

    def _log(self, level: int, text: str) -> None:
        _log.log(level, "%s: %s", self._config.worker_id, text)

    def _key(self, task_id: str) -> str:
        return f"{self._config.worker_id}/{task_id}"

    def _consume(self, source: TaskSource) -> int:
        own = source == "own"
        queue = self._names.worker_queue(self._config.worker_id) if own else self._names.task_queue
        return self._transport.consume(queue, TASK_PREFETCH)

    def _say(self, ref: Ref, message: Presence | Taken | Declined) -> None:
        asks = isinstance(message, Taken) or (isinstance(message, Presence) and not message.leaving)
        if isinstance(message, Declined):
            self._declined = message.task_id
            self._log(logging.WARNING, f"task {message.task_id:.8} is given up: {message.reason}")
        elif isinstance(message, Presence):
            message = self._device.declare(message)
        token = self._transport.publish(
            Outgoing(
                exchange=self._names.control_exchange,
                routing_key=self._names.control_key(ref.about, self._config.worker_id),
                body=encode(message),
                message_id=ref.subject,
                answerable=asks,
            )
        )
        self._refs[token] = ref
        if asks:
            self._ask(token, ref)

    def _ask(self, token: int, ref: Ref) -> None:
        self._questions[token] = ref
        while len(self._questions) > _QUESTIONS_KEPT:
            del self._questions[next(iter(self._questions))]

    def _send(self, ref: Ref, update_id: str, body_of: Callable[[str], Body]) -> Events:
        try:
            run_id, head, payload = body_of(update_id)
        except PayloadLostError as error:
            self._log(logging.ERROR, f"an update is given up: {error}")
            return self._payload_gone(ref, update_id)
        except StoreError as error:
            return (events.Unpublished(ref, str(error)),)
        key = self._names.update_key(run_id, 0, self._config.worker_id)
        token = self._transport.publish(
            Outgoing(
                self._names.update_exchange,
                key,
                head,
                message_id=update_id,
                answerable=ref.about == "update",
                payload=payload,
            )
        )
        self._refs[token] = ref
        if ref.about == "update":
            self._ask(token, ref)
        return ()

    def _payload_gone(self, ref: Ref, update_id: str) -> Events:
        try:
            return (events.PayloadGone(update_id, self._store.last_trained(but=update_id)),)
        except StoreError as error:  # it is found to be gone when it is sent the next time
            return (events.Unpublished(ref, str(error)),)

    def _put_object(self, ref: Ref, update_id: str) -> Events:
        """Put an update's payload into the depot."""
        assert self._depot is not None, "the session knows whether there is one"
        try:
            digest, payload = self._shipping.whole(update_id)
        except PayloadLostError as error:
            self._log(logging.ERROR, f"an update is given up: {error}")
            return self._payload_gone(ref, update_id)
        except StoreError as error:
            return (events.Unpublished(ref, str(error)),)
        self._depot.put(ref, update_name(update_id, digest), payload, self._notify)
        return ()

    def _keep_start(self, task: Task, start: Start, said: bool) -> Events:
        try:
            self._store.inbox.keep_start(task, start, said)
        except StoreError as error:  # it is tried again, and the broker has the task until then
            self._store.make_room()
            self._log(logging.ERROR, f"a task is not acknowledged yet: {error}")
            return ()
        return (events.StartKept(task.task_id),)

    def _keep(self, task: Task) -> Events:
        self._chores.drop(("drop", task.task_id))
        try:
            self._store.inbox.keep_task(task)
        except StoreError as error:
            self._store.make_room()
            self._log(logging.ERROR, f"a task is not taken: {error}")
            return (events.TaskNotKept(task.task_id, str(error)),)
        return (events.TaskKept(task.task_id),)

    def _drop(self, task_id: str) -> Events:
        if task_id == self._declined:  # or the coordinator did not want it
            self.tally.declined += 1
        self._tidy("drop", task_id, self._store.inbox.drop_task)
        # Given up, and finished all the same: it goes where finished updates go.
        return tuple(e for e in self._trained(task_id) if isinstance(e, events.TrainingDone))

    def _train(self, task: Task, start: Start, deadline_s: float | None, said: bool) -> Events:
        is_fresh = self._supply.was_read_just_now(start.model_digest)
        try:
            store = self._store
            if not (store.inbox.begin_attempt(start) if said else store.inbox.begin(task, start)):
                # A training process that outlived another agent may have finished it since.
                gone = events.TrainingFailed(task.task_id, "cancelled", "it is not in the inbox")
                return self._finished(task.task_id) or (gone,)
        except StoreError as error:
            return (events.TrainingFailed(task.task_id, "disk", str(error)),)
        config = self._config
        does = "evaluates" if task.kind == "evaluate" else "trains on"
        self._log(logging.INFO, f"{does} version {start.base_version} for task {task.task_id:.8}")
        job = Job(
            worker_id=config.worker_id,
            task_id=task.task_id,
            folder=str(config.folder),
            task=encode(task),
            start=encode(start),
            learner=config.learner,
            data=config.data,
            device=config.device,
            deadline_s=deadline_s,
            config=dict(config.learner_config),
            examples=config.traits.examples,
            life=self._life,
            model_is_fresh=is_fresh,
        )
        begun = self._trainer.submit(job, self._notify)
        return (events.TrainingMoved(task.task_id),) if begun else ()

    def _tell_unreached(self, reason: str, retry_in_s: float) -> None:
        """Say it loudly once, and quietly at each further attempt."""
        if retry_in_s:  # else it was meant
            level = logging.INFO if self._unreached else logging.WARNING
            self._unreached = True
            again = f"trying again in {retry_in_s:.0f} s"
            self._log(level, f"the broker is not reached ({reason}); {again}")

    def _tell_not_put(self, error: str) -> None:
        """Say once that the depot does not take an update, and once that it does again."""
        if bool(error) == self._unput:
            return
        self._unput = bool(error)
        if error:
            how = f"tried again, after {DEPOT_TRIES} times through the broker"
            self._log(logging.WARNING, f"an update is not put into the depot: {error}; {how}")
        else:
            self._log(logging.INFO, "updates are put into the depot again")

    # What happens.

    def take_in(self, happening: Happening) -> Events:
        """What an event of the transport, or a report of the trainer, means to the session."""
        match happening:
            case wire.Connected():
                self._is_online, self._unreached = True, False
                self._log(logging.INFO, "connected to the broker")
                return (events.WentOnline(),)
            case wire.Disconnected(reason, retry_in_s):
                self._tell_unreached(reason, retry_in_s)
                return self._went_offline()
            case wire.Confirmed(token):
                return tuple(events.Published(ref) for ref in self._settled(token))
            case wire.Returned(token, reason) | wire.Refused(token, reason):
                return tuple(events.Unpublished(ref, reason) for ref in self._settled(token))
            case wire.Doubtful(token):
                reason = "the connection was lost"
                return tuple(events.Unpublished(ref, reason) for ref in self._settled(token))
            case wire.Answered(token, body):
                return self._answered(token, body)
            case wire.Delivered():
                return self._delivered(happening)
            case wire.ConsumerLost(consumer, reason):
                return self._consumer_lost(consumer, reason)
            case wire.Failed() | wire.Declared() | wire.Provided() | wire.Consuming():
                return ()
            case wire.Counted():
                return ()
            case Moved() | Finished() | Broken():
                return self._reported(happening)
            case ObjectPut(ref, error):
                assert self._depot is not None, "it put it"
                self._depot.heard(happening)
                self._tell_not_put(error)
                return (events.Unpublished(ref, error) if error else events.Published(ref),)
            case RangeCame() | RangeMissed():
                return self._supply.came_by_depot(happening)
            case unreachable:
                assert_never(unreachable)

    def _went_offline(self) -> Events:
        self._is_online = False
        self._consumers.clear()
        self._questions.clear()
        self._shipping.went_offline()
        self._supply.went_offline()
        return (events.WentOffline(),)

    def _settled(self, token: int) -> tuple[Ref, ...]:
        ref = self._refs.pop(token, None)
        return () if ref is None else (ref,)

    def _answered(self, token: int, body: Buffer) -> Events:
        try:
            message, _ = decode(body)
        except DecodeError as error:
            self._log(logging.WARNING, f"an answer cannot be read: {error}")
            return ()
        ref = self._questions.get(token)
        if ref is not None and isinstance(message, Standing):
            return (events.StandingCame(ref, message),)
        if ref is not None and isinstance(message, Start):
            return (events.StartCame(message),)
        return ()

    def _delivered(self, delivery: wire.Delivered) -> Events:
        if self._supply.is_read_by(delivery.consumer):
            return self._supply.came(delivery)
        if delivery.consumer not in self._consumers:
            return ()
        try:
            message, _ = decode(delivery.body)
        except DecodeError as error:
            return (events.NonsenseCame(delivery.tag, str(error)),)
        if not isinstance(message, Task):
            reason = f"expected a task, came {type(message).__name__}"
            return (events.NonsenseCame(delivery.tag, reason),)
        try:
            known = self._store.known(message.task_id)
        except StoreError:
            known = "new"  # keeping it will fail too, and be tried again
        return (events.TaskCame(delivery.tag, message, known),)

    def _consumer_lost(self, consumer: int, reason: str) -> Events:
        if self._supply.is_read_by(consumer):
            return self._supply.lost()
        if self._consumers and consumer == self._consumers[-1]:
            self._consumers.remove(consumer)
            return (events.ConsumerEnded(reason),)
        return ()

    def _reported(self, report: Report) -> Events:
        match report:
            case Moved(task_id):
                return (events.TrainingMoved(task_id),)
            case Finished(task_id):
                found = self._trained(task_id)
                self._count(found)
                self._note_written(found)
                return found or (
                    events.TrainingFailed(task_id, "crash", "its update is not in the outbox"),
                )
            case Broken(task_id, kind, reason):
                if kind == "disk":
                    self._tidy("forgive", task_id, self._store.inbox.forgive_attempt)
                # Its process may have died, or been killed, after the commit and before the word.
                return self._trained(task_id) or (events.TrainingFailed(task_id, kind, reason),)
            case unreachable:
                assert_never(unreachable)

    @property
    def _is_sent_at_once(self) -> bool:
        """Whether nothing of the outbox is on its way before what is written now."""
        waits = any(ref.about in ("update", "part", "object") for ref in self._refs.values())
        return self._is_online and not waits

    def _note_written(self, found: Events) -> None:
        match found:
            case (events.TrainingDone(_, parcel),) if self._is_sent_at_once:
                self._shipping.written(parcel.update_id)
            case _:
                pass

    def _count(self, found: Events) -> None:
        """Count what a training process did."""
        match found:
            case (events.TrainingDone(_, parcel),) if parcel.kind == "evaluate":
                self.tally.evaluated += 1
            case _:
                self.tally.trained += 1
        if (self.tally.trained + self.tally.evaluated) % _MARKS_TRIMMED_EVERY == 0:
            self._tidy("trim", "marks", lambda _: self._store.trim_marks())

    def _trained(self, task_id: str) -> Events:
        try:
            return self._finished(task_id)
        except StoreError as error:  # looked at again before it is trained again
            return (events.TrainingFailed(task_id, "disk", str(error)),)

    def _finished(self, task_id: str) -> Events:
        """What the store knows of a training's end; nothing if it has not ended with an update."""
        known, parcel = self._store.outcome(task_id)
        match known:
            case "open":
                assert parcel is not None, "it is in the outbox"
                return (events.TrainingDone(task_id, parcel),)
            case "done":
                self._store.inbox.drop_task(task_id)
                reason = "its update was in safe hands before"
                return (events.TrainingFailed(task_id, "unfit", reason),)
            case "held" | "new":
                return ()
            case unreachable:
                assert_never(unreachable)
