"""One transaction of the coordinator: deliveries in, rows written, effects for afterwards.

Rules: a batch lives inside one store transaction; it changes nothing but the store and the spool;
what is to be seen outside (acks, answers, publishes, the sum) is an effect, carried out after the
commit. If the transaction fails the batch is thrown away, and the broker delivers everything again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from broker.transport import AnswerTo, Delivered
from coordinator.aggregation.counted import Counted
from coordinator.effects import (
    Ack,
    AddToSum,
    AnswerPresence,
    AnswerUnwanted,
    Effect,
    ForgetParts,
    LookAtModel,
    PublishRefused,
    PutAgain,
)
from coordinator.errors import Restored
from coordinator.evaluating import Evaluations
from coordinator.evaluating import Event as EvaluationEvent
from coordinator.evaluator import Evaluated, Evaluator, Terms
from coordinator.events import (
    Action,
    DrawWorkers,
    Event,
    RecordVerdict,
    Refused,
    RoundDropped,
    RunStopped,
    TaskDeclined,
    TaskTaken,
    TimePassed,
    UpdateArrived,
    VersionStored,
    WorkersDrawn,
    WorkerSeen,
)
from coordinator.intake import (
    EVALUATION,
    KIND,
    NO_LOCAL_STEPS,
    Closing,
    Expected,
    Newer,
    Part,
    Stray,
    Whole,
    evaluation_fault,
    fault_of,
    header_fault,
    incarnation_fault,
    missing_parts,
    receive,
    sender_fault,
)
from coordinator.records import NOWHERE, LedgerRow, TaskRow
from coordinator.roster import MODEL_GONE, Roster
from coordinator.rows import write
from coordinator.run import advance
from coordinator.selection import Selector
from coordinator.spool import Spool
from coordinator.states import Closed, Collecting, Draining, Ended, Paused, State
from coordinator.tries import Bar, bar_of_tasks, bar_of_update
from coordinator.uploads import Uploads
from coordinator.work import Work
from schemas.buffer import Buffer
from schemas.digest import digest_of, shard_of, update_id_of
from schemas.errors import DecodeError, UnsupportedVersion
from schemas.messages import (
    NAMES_MAX,
    Declined,
    Presence,
    Taken,
    Task,
    Update,
    UpdatePart,
    decode,
    encode,
)

POISON_ATTEMPTS = 3
MISSING_MAX = 4096  # numbers of missing parts in one answer
_SHARDS = 1


@dataclass(frozen=True, slots=True)
class Desk:
    """What a batch works with: the run's facts, and the spool.

    Attributes:
        uploads: Those that are not complete.
        roster: The workers.
        selector: Draws workers in direct dispatch.
        terms: What follows from evaluations.
        left_behind: Why no update of a version counts any more, "" if it may.
        keeps: Whether the file of a version is there.
        senders_are_users: A message must come from the broker's user of its worker's name.
    """

    expected: Expected
    spool: Spool
    epoch: int
    now: float
    uploads: Uploads
    roster: Roster
    selector: Selector
    terms: Terms
    left_behind: Callable[[int], str]
    keeps: Callable[[int], bool]
    senders_are_users: bool = False


@dataclass(frozen=True, slots=True)
class _Arrived:
    """An update: as the spool keeps it, and as a copy for people is kept, which may lack parts."""

    update: Update
    payload: Buffer
    whole: bytes
    copy: bytes


def _counted(arrived: _Arrived, verdict: RecordVerdict) -> Counted:
    update = arrived.update
    return Counted(
        payload=arrived.payload,
        worker_id=update.worker_id,
        base_version=update.base_version,
        weight=verdict.weight,
        examples=verdict.full_weight,
        local_steps=update.local_steps,
        codec=update.codec,
        update_id=update.update_id,
    )


class Batch:
    """One transaction in the making.

    Attributes:
        verdicts: Verdict to how often it was given to an update.
        lines: What to log after the commit: topic and text.
        strays: How many messages took no update id.
    """

    def __init__(self, desk: Desk, work: Work, state: State, evaluated: Evaluated) -> None:
        self._desk = desk
        self._work = work
        self.state = state
        self.effects: list[Effect] = []
        self._evaluator = Evaluator(
            work, desk.roster, desk.terms, evaluated, desk.now, self.effects, desk.keeps
        )
        self._next_task = state.run.next_task
        self.verdicts: dict[str, int] = {}
        self.lines: list[tuple[str, str]] = []
        self.strays = 0
        self._routing_key = ""
        self._wanted: list[DrawWorkers] = []
        self._stray_sizes: dict[int, bool] = {}  # each is asked for once

    @property
    def closed(self) -> bool:
        """A round closed: the version is made before anything else is handed in."""
        return isinstance(self.state, Closed)

    @property
    def evaluated(self) -> Evaluated:
        """How the evaluations stand."""
        return self._evaluator.evaluated

    @property
    def _evaluations(self) -> Evaluations:
        return self._evaluator.evaluated.machine

    # what the machines are told

    def pass_time(self) -> None:
        """Look at the clock; a run that is over waits for its evaluations."""
        if not (isinstance(self.state, Draining) and self._evaluations.awaits):
            self.advance(TimePassed())
        self._evaluate(TimePassed())

    def store_version(self, version: int, new: bool = True) -> None:
        """A version is on disk; if it is new and was to go back to an earlier one, it has."""
        if new and self.evaluated.row.roll_back_to >= 0:
            self._evaluator.set_course(roll_back_to=-1, roll_back_why="")
        stopped = self.evaluated.row.stop_why
        if not stopped:  # else nothing would follow from its evaluation
            self._evaluator.take(VersionStored(version))
        self.advance(VersionStored(version, stopped))

    def measured(self, version: int, metrics: Mapping[str, float]) -> None:
        """The coordinator has evaluated a version itself."""
        self._evaluator.measured(version, metrics, self.state.run)
        self._settle()

    def _evaluate(self, event: EvaluationEvent, asking: AnswerTo | None = None) -> None:
        """Take the evaluations a step further, with an event that asks for no verdict."""
        self._evaluator.take(event)
        self._settle(asking)

    def _settle(self, asking: AnswerTo | None = None) -> None:
        """Write what the evaluations come to, and do what follows from it."""
        self._evaluator.settle(self.state.run, asking)
        follows = self.evaluated.row
        if isinstance(self.state, Collecting | Paused):
            if follows.stop_why:
                self.advance(RunStopped(follows.stop_why))
            elif follows.roll_back_to >= 0:
                self.advance(RoundDropped())

    def advance(self, event: Event, asking: AnswerTo | None = None) -> None:
        """Take the machine a step further, and write what it says and who is drawn."""
        self._step(event, asking)
        self._draw()
        self._settle(asking)

    def _step(self, event: Event, asking: AnswerTo | None = None) -> RecordVerdict | None:
        """Take a step and write what the machine says; the verdict, if it gave one."""
        self.state, actions = advance(self.state, event, self._desk.now)
        verdict: RecordVerdict | None = None
        for action in actions:
            match action:
                case RecordVerdict():
                    verdict = action
                case DrawWorkers():
                    self._wanted.append(action)
                case _:
                    self._write(action, asking)
        if isinstance(self.state, Draining | Ended) and not self.evaluated.over:
            self._end_evaluations()
        if self.state.run.next_task != self._next_task:
            self._next_task = self.state.run.next_task
            self._work.update_run(self.state.run.run_id, next_task=self._next_task)
        return verdict

    def _write(self, action: Action, asking: AnswerTo | None) -> None:
        effect = write(action, self._work, self.state.run, self._desk.now, asking)
        if effect is not None:
            self.effects.append(effect)
        self._desk.roster.note(self._work, action, self._desk.now)

    def _end_evaluations(self) -> None:
        """The run is over: its last version is evaluated, unless it is known not to be the best."""
        last = -1 if self.evaluated.row.stop_why else self.state.run.version
        until = self.state.until if isinstance(self.state, Draining) else self._desk.now
        self._evaluator.end(last, until)

    def _draw(self) -> None:
        """Draw workers, once all else is written: who may be drawn depends on it."""
        while self._wanted:
            wanted = self._wanted.pop()
            worker_ids = self._desk.selector.draw(wanted.count, wanted.version, self._desk.now)
            self._step(WorkersDrawn(tuple(worker_ids)))

    # the updates queue

    def take_update(self, delivery: Delivered) -> None:
        """A message from the updates queue."""
        self._take(delivery, lambda: self._receive(delivery))

    def _take(self, delivery: Delivered, receive: Callable[[], bool]) -> None:
        """Receive a message; if it is accepted and was a stray before, the store learns it.

        `receive` says whether it is: a verdict was given, or stood already, a part is kept, or a
        control message was taken. Of one that is left for later nothing new is known.
        """
        self._routing_key = delivery.routing_key
        if receive() and self._may_have_been_stray(len(delivery.body)):
            self._work.accept_stray(digest_of(delivery.body), self._desk.now)
        self.effects.append(Ack(delivery.tag))

    def _may_have_been_stray(self, num_bytes: int) -> bool:
        """Whether it is worth the time to make a digest of so many bytes."""
        if num_bytes not in self._stray_sizes:
            self._stray_sizes[num_bytes] = self._work.has_strays_of(num_bytes)
        return self._stray_sizes[num_bytes]

    def _sender(self, delivery: Delivered) -> str | None:
        return delivery.user_id if self._desk.senders_are_users else None

    def _receive(self, delivery: Delivered) -> bool:
        """Receive what a worker answers a task with; whether it is accepted."""
        body = delivery.body
        match receive(body, self._desk.expected, self._sender(delivery)):
            case Newer() as newer:
                raise Restored(newer.incarnation, newer.reason)
            case Stray() as stray:
                return self._refuse(body, stray)
            case Whole() as whole if self._is_copy(whole.update):
                return True
            case Whole() as whole:
                fault = fault_of(whole.update, whole.payload, self._desk.expected)
                self._judge(_Arrived(whole.update, whole.payload, body, body), fault)
                return True
            case Closing() as closing:
                return self._close_upload(closing.update, body)
            case Part() as part:
                return self._keep_part(part, body)

    def _is_copy(self, update: Update) -> bool:
        """Whether an update has its verdict already; then this is noted as a copy of it."""
        if self._work.ledger_row(update.update_id) is None:
            return False
        self._work.raise_copies(update.update_id)
        return True

    def _judge(self, arrived: _Arrived, fault: Refused | None) -> None:
        update = arrived.update
        task = self._task_of(update)
        if task is not None and task.kind == EVALUATION:
            self._judge_evaluation(arrived, task)
            return
        fault = fault or self._left_behind(update)
        verdict = self._step(self._arrival(update, task, KIND, fault))
        assert verdict is not None
        if fault is NO_LOCAL_STEPS:  # most likely all are, and no round ever closes
            text = f"an update of worker {update.worker_id} is refused: {fault.reason}"
            self.lines.append(("local steps", text))
        self._end_lapsed(task, update)
        self._record(arrived, verdict)
        self._desk.roster.judged(self._work, update, task, verdict.verdict, self._desk.now)
        self._draw()
        self._settle()

    def _left_behind(self, update: Update) -> Refused | None:
        """A step from a place where the model is no more is of no use."""
        reason = self._desk.left_behind(update.base_version)
        return Refused("stale", reason) if reason else None

    def _judge_evaluation(self, arrived: _Arrived, task: TaskRow) -> None:
        """Judge the answer to a task to evaluate: it is no part of a sum."""
        update = arrived.update
        fault = evaluation_fault(update, arrived.payload, self._desk.expected)
        verdict = self._evaluator.take(self._arrival(update, task, EVALUATION, fault))
        assert verdict is not None
        self._end_lapsed(task, update)
        self._record(arrived, verdict)
        self._desk.roster.answered(self._work, update.worker_id, self._desk.now)
        self._settle()

    def _end_lapsed(self, task: TaskRow | None, update: Update) -> None:
        """A lapsed task, which no machine knows any more, is answered after all."""
        if task is not None and task.state == "lapsed" and task.is_of(update.worker_id):
            self._work.update_task(task.task_id, state="answered", ended_at=self._desk.now)

    def _arrival(
        self, update: Update, task: TaskRow | None, kind: str, fault: Refused | None
    ) -> UpdateArrived:
        return UpdateArrived(
            update_id=update.update_id,
            worker_id=update.worker_id,
            task_id=update.task_id,
            base_version=update.base_version,
            num_examples=update.num_examples,
            task=task.as_facts() if task else None,
            counted_before=self._work.counted_before(
                update.run_id, kind, update.base_version, update.worker_id
            ),
            fault=fault,
            duration_s=self._duration_of(task),
        )

    def _duration_of(self, task: TaskRow | None) -> float | None:
        """How long ago somebody had the task that an update answers."""
        had_at = None if task is None else task.had_at
        return None if had_at is None else max(0.0, self._desk.now - had_at)

    def _task_of(self, message: Update | UpdatePart) -> TaskRow | None:
        """The task that a message answers, None if it was not offered in its run."""
        task = self._work.task(message.task_id)
        return task if task is not None and task.run_id == message.run_id else None

    def _record(self, arrived: _Arrived, verdict: RecordVerdict) -> None:
        where, update = NOWHERE, arrived.update
        if verdict.verdict == "late" and update.kind == EVALUATION:
            pass  # more are asked than are needed, and the ledger has all that it says
        elif verdict.verdict != "counted":
            self._keep_copy(arrived.copy, update.update_id)
        elif update.kind == KIND:  # an evaluation is in its row of the ledger as a whole
            where = self._desk.spool.append(arrived.whole)
            self.effects.append(AddToSum(_counted(arrived, verdict), where))
        if update.kind == KIND:
            self.verdicts[verdict.verdict] = self.verdicts.get(verdict.verdict, 0) + 1
        self._work.insert_ledger_row(
            LedgerRow(
                arrival=0,
                update_id=update.update_id,
                run_id=update.run_id,
                kind=update.kind,
                shard=shard_of(update.worker_id, _SHARDS),
                epoch=self._desk.epoch,
                incarnation=update.incarnation,
                task_id=update.task_id,
                worker_id=update.worker_id,
                base_version=update.base_version,
                base_digest=update.base_digest,
                payload_digest=update.payload_digest,
                num_examples=update.num_examples,
                metrics=dict(update.metrics),
                train_s=update.train_s,
                verdict=verdict.verdict,
                reason=verdict.reason,
                round_version=verdict.round_version,
                staleness=verdict.staleness,
                weight=verdict.weight,
                full_weight=verdict.full_weight,
                local_steps=update.local_steps,
                copies=0,
                received_at=self._desk.now,
                segment=where.segment,
                place=where.place,
                length=where.length,
            )
        )

    def _keep_part(self, part: Part, body: bytes) -> bool:
        """Keep a part until its upload is complete; whether it is accepted."""
        about = part.part
        if self._work.ledger_row(about.update_id) is not None:
            return True
        if self._task_of(about) is None:  # or anyone could fill the disk
            reason = f"no task {about.task_id} was offered in this run"
            stray = Stray("unknown task", reason, about.worker_id, about.task_id)
            return self._refuse(body, stray)
        admission = self._desk.uploads.add((about.update_id, about.payload_digest), self._desk.now)
        for update_id, digest in admission.gone:
            self._desk.spool.forget_upload(update_id, digest)
        if not admission.taken:  # the worker is told that it is missing, and sends it again
            text = f"a part of update {about.update_id[:8]} is not taken: too many are not complete"
            self.lines.append(("uploads", text))
            return False
        self._desk.spool.store_part(
            about.update_id, about.payload_digest, about.index, part.payload
        )
        return True

    def _forget_parts(self, update_id: str) -> None:
        self._desk.uploads.forget(update_id)
        self.effects.append(ForgetParts(update_id))

    def _close_upload(self, update: Update, body: bytes) -> bool:
        """The end of an upload: its verdict if all parts are here, else the worker is told.

        Whether it is accepted.
        """
        if self._is_copy(update):
            self._forget_parts(update.update_id)
            return True
        fault = header_fault(update, self._desk.expected)
        if fault is not None or self._task_of(update) is None:
            # Its parts are not needed, and if they were refused they will never be here.
            self._forget_parts(update.update_id)
            self._judge(_Arrived(update, b"", body, body), fault)
            return True
        if self._missing(update.update_id, update.payload_digest):
            return False  # no verdict: the worker asks what is missing, and sends it again
        payload = self._upload(update)
        self._forget_parts(update.update_id)
        if digest_of(payload) != update.payload_digest:
            reason = "its parts together do not have the digest it says"
            stray = Stray("malformed", reason, update.worker_id, update.task_id)
            return self._refuse(body, stray)
        whole = encode(replace(update, parts=0), payload)
        fault = fault_of(update, payload, self._desk.expected)
        self._judge(_Arrived(update, payload, whole, body), fault)
        return True

    def _upload(self, update: Update) -> bytes:
        """The payload of an upload whose parts are all here."""
        spool, named = self._desk.spool, (update.update_id, update.payload_digest)
        return b"".join(spool.read_part(*named, index) for index in sorted(spool.parts(*named)))

    def _missing(self, update_id: str, digest: str) -> tuple[int, ...]:
        expected = self._desk.expected
        here = self._desk.spool.parts(update_id, digest)
        return missing_parts(expected.layout.update_bytes, expected.part_bytes, here)

    def _refuse(self, body: bytes, stray: Stray) -> Literal[False]:
        """Record bytes that take no update id; they are not accepted."""
        digest = digest_of(body)
        claims = {"worker_id": stray.worker_id, "task_id": stray.task_id}
        self._work.record_stray(
            digest, stray.verdict, stray.reason, claims, len(body), self._desk.now
        )
        self.strays += 1
        self._stray_sizes[len(body)] = True
        text = f"a message of {len(body)} bytes is refused: {stray.reason}"
        self.lines.append(("refused", text))
        self._keep_copy(body, digest)
        return False

    def _keep_copy(self, body: bytes, message_id: str) -> None:
        self.effects.append(PublishRefused(body, message_id, self._routing_key))

    # the control queue

    def take_control(self, delivery: Delivered) -> None:
        """A message from the control queue."""
        self._take(delivery, lambda: self._receive_control(delivery, delivery.answer_to))

    def _receive_control(self, delivery: Delivered, asking: AnswerTo | None) -> bool:
        """Receive what a worker says or asks; whether it is accepted."""
        body = delivery.body
        try:
            message, _ = decode(body)
        except UnsupportedVersion as error:
            return self._refuse(body, Stray("unsupported version", str(error)))
        except DecodeError as error:
            return self._refuse(body, Stray("malformed", str(error)))
        if isinstance(message, Taken | Declined | Presence):
            task_id = "" if isinstance(message, Presence) else message.task_id
            stray = sender_fault(message.worker_id, task_id, self._sender(delivery))
            if stray is None:
                stray = self._incarnation_fault(message)
            if stray is not None:
                return self._refuse(body, stray)
        match message:
            case Taken():
                self._taken(message, asking)
            case Declined():
                self._declined(message)
            case Presence():
                self._present(message, asking)
            case _:
                kind = type(message).__name__
                return self._refuse(
                    body, Stray("malformed", f"a {kind} message on the control queue")
                )
        return True

    def _incarnation_fault(self, message: Taken | Declined | Presence | Task) -> Stray | None:
        """A message with an incarnation that no store can have is a stray."""
        reason = incarnation_fault(message.incarnation, self._desk.expected)
        if not reason:
            return None
        sender = "" if isinstance(message, Task) else message.worker_id
        task_id = "" if isinstance(message, Presence) else message.task_id
        return Stray("malformed", reason, sender, task_id)

    def _taken(self, taken: Taken, asking: AnswerTo | None) -> None:
        run = self.state.run
        self._refuse_newer(taken.incarnation)
        self._desk.roster.see(self._work, taken.worker_id, False, self._desk.now)
        if (taken.run_id, taken.incarnation) != (run.run_id, run.incarnation):
            if asking is not None:
                reason = "it belongs to another run"
                self.effects.append(AnswerUnwanted(asking, taken.run_id, taken.task_id, reason))
            return
        worker_id = taken.worker_id
        if self._kind_of(taken.task_id) == EVALUATION:
            self._evaluate(TaskTaken(taken.task_id, worker_id, counted_before=False), asking)
            return
        barred = "evaluates, and never trains" if self._evaluations.evaluates(worker_id) else ""
        task = run.tasks.get(taken.task_id)
        pinned = None if task is None else task.base_version
        base_version = run.version if pinned is None else pinned
        counted = self._work.counted_before(run.run_id, KIND, base_version, worker_id)
        self.advance(TaskTaken(taken.task_id, worker_id, counted, barred), asking)

    def _kind_of(self, task_id: str) -> str:
        task = self._work.task(task_id)
        return KIND if task is None else task.kind

    def _declined(self, declined: Declined) -> None:
        run = self.state.run
        self._refuse_newer(declined.incarnation)
        if (declined.run_id, declined.incarnation) == (run.run_id, run.incarnation):
            self._desk.roster.hear(self._work, declined.worker_id, self._desk.now)
            who, what = declined.worker_id, declined.task_id[:8]
            self.lines.append(("declined", f"worker {who} gives task {what} up: {declined.reason}"))
            missed = self._missed_current(declined)
            self._give_up(TaskDeclined(declined.task_id, declined.worker_id, declined.reason))
            self._give_up_lapsed(declined)
            if missed:
                self.effects.append(LookAtModel())

    def _missed_current(self, declined: Declined) -> bool:
        """Whether a worker did not find the current model, which a task of its own is for.

        Older ones may be gone; and while a model is looked for, nobody is told where it lies.
        """
        task = self._work.task(declined.task_id)
        if task is None or not declined.reason.startswith(MODEL_GONE):
            return False
        its_own = task.worker_id in ("", declined.worker_id)
        current = task.base_version in (None, self.state.run.version)
        return its_own and current and task.state in ("offered", "taken", "lapsed")

    def _give_up(self, event: TaskDeclined) -> None:
        if self._kind_of(event.task_id) == EVALUATION:
            self._evaluate(event)
        else:
            self.advance(event)

    def _give_up_lapsed(self, declined: Declined) -> None:
        """A lapsed task, which the machine has let go of, is not awaited any more."""
        task = self._work.task(declined.task_id)
        if task is not None and (task.state, task.worker_id) == ("lapsed", declined.worker_id):
            self._work.update_task(task.task_id, state="declined", reason=declined.reason)

    def _present(self, presence: Presence, asking: AnswerTo | None) -> None:
        now, roster = self._desk.now, self._desk.roster
        roster.present(self._work, presence, now, asking)
        run, worker_id = self.state.run, presence.worker_id
        self._refuse_ahead(presence)
        spent = bar_of_update(self._work.spent_by(run.run_id, KIND, run.version, worker_id))
        hold = roster.held(presence, now)
        if not presence.leaving:
            self.advance(WorkerSeen(worker_id, bool(spent or hold)))
        if self._evaluations.evaluates(worker_id) and not presence.leaving:
            self._evaluate(WorkerSeen(worker_id))
        verdicts, missing, unknown, room = {}, {}, [], MISSING_MAX
        # An answer must fit into a header: what is left out the worker asks for again.
        for update_id in presence.open_updates[:NAMES_MAX]:
            row = self._work.ledger_row(update_id)
            digests = self._desk.spool.uploads(update_id)
            if row is not None:
                verdicts[update_id] = row.verdict
            elif not digests:
                unknown.append(update_id)
            elif room:
                missing[update_id] = self._missing(update_id, digests[0])[:room]
                room -= len(missing[update_id])
        self._put_again(presence)
        bar = spent or self._awaited(presence)
        answer = AnswerPresence(
            asking,
            presence,
            bar,
            verdicts,
            missing,
            tuple(unknown),
            hold,
            self._send_away(presence),
        )
        self.effects.append(answer)

    def _send_away(self, presence: Presence) -> float:
        """For how long a worker shall go, 0 if it shall stay: for a task, or the run is paused."""
        worker_id = presence.worker_id
        asked = worker_id in self.state.run.tasks.asked or self._evaluations.task_of(worker_id)
        if asked or not isinstance(self.state, Collecting):
            return 0.0
        return self._desk.roster.send_away(self._work, presence, self._desk.now)

    def _put_again(self, presence: Presence) -> None:
        """A worker that is there, and does not have its direct task, may not find it."""
        run, worker_id = self.state.run, presence.worker_id
        task_id = run.tasks.asked.get(worker_id) or self._evaluations.task_of(worker_id)
        if not task_id or presence.busy or presence.leaving:
            return
        if update_id_of(run.incarnation, task_id, worker_id) not in presence.open_updates:
            self.effects.append(PutAgain(task_id))

    def _awaited(self, presence: Presence) -> Bar | None:
        """Whether an update of the current version by this worker is on its way, and may count.

        Its lease says so; or, once that has ended, the worker itself: it names what it has sent.
        """
        run, worker_id = self.state.run, presence.worker_id

        def sent(task_id: str) -> str:
            update_id = update_id_of(run.incarnation, task_id, worker_id)
            return update_id if update_id in presence.open_updates else ""

        awaited = self._work.awaited(run.run_id, run.version, worker_id)
        return bar_of_tasks(awaited, sent, run.policy.late)

    def _refuse_ahead(self, presence: Presence) -> None:
        """A worker that trained on a version not made yet has seen more than this store has."""
        run = self.state.run
        if presence.run_id != run.run_id:
            return  # it may have worked for others, of which nothing is known here
        self._refuse_newer(presence.incarnation)
        same = presence.incarnation == run.incarnation
        if same and run.version < presence.last_version <= run.policy.rounds:  # else it cannot be
            what = (
                f"worker {presence.worker_id} has trained on version {presence.last_version}, the "
                f"store has {run.version}"
            )
            raise Restored(presence.incarnation, what)

    def _refuse_newer(self, incarnation: int) -> None:
        ours = self.state.run.incarnation
        if incarnation > ours:
            what = f"a message of incarnation {incarnation} came, the store has {ours}"
            raise Restored(incarnation, what)

    # what the broker gave up on

    def take_parked(self, delivery: Delivered, attempts: int) -> None:
        """A message that the broker dead-lettered; `attempts` is how often it was taken up."""
        self._work.forget_parked(digest_of(delivery.body))
        self._take(delivery, lambda: self._receive_parked(delivery, attempts))

    def _receive_parked(self, delivery: Delivered, attempts: int) -> bool:
        """Receive it as what it is; whether it is accepted."""
        body, why = delivery.body, delivery.death or "no reason given"
        if attempts > POISON_ATTEMPTS:
            reason = (
                f"the broker gave it up ({why}); it was then taken up {POISON_ATTEMPTS} times, and "
                "each time the coordinator stopped"
            )
            return self._refuse(body, Stray("poison", reason))
        try:
            message, _ = decode(body)
        except DecodeError:
            return self._receive(delivery)
        match message:
            case Task():
                return self._task_given_up(message, body, why)
            case Taken() | Declined() | Presence():
                return self._receive_control(delivery, None)
            case _:
                return self._receive(delivery)

    def _task_given_up(self, task: Task, body: bytes, why: str) -> bool:
        stray = self._incarnation_fault(task)
        if stray is not None:
            return self._refuse(body, stray)
        self._refuse_newer(task.incarnation)
        if task.incarnation == self.state.run.incarnation:
            self._give_up(TaskDeclined(task.task_id, "", f"the broker gave it up: {why}"))
        return True
