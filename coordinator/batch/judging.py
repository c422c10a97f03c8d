"""The one verdict of an update that came whole, or whose last part came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from broker.transport import AnswerTo
from coordinator.aggregation.counted import Counted
from coordinator.batch.steps import Steps
from coordinator.batch.strays import Strays
from coordinator.effects import AddToSum
from coordinator.events import RecordVerdict, Refused, UpdateAnnounced, UpdateArrived
from coordinator.intake import EVALUATION, KIND, NO_LOCAL_STEPS, evaluation_fault
from coordinator.records import NOWHERE, LedgerRow, Place, TaskRow
from schemas.buffer import Buffer
from schemas.digest import shard_of
from schemas.messages import Update, UpdatePart

_SHARDS = 1


@dataclass(frozen=True, slots=True)
class Arrived:
    """An update that has come.

    Attributes:
        keep: Puts it into the spool.
        copy: What is kept for people if it is refused; it may lack parts.
        asking: Where its worker is answered, None if it does not ask.
        passed: See `coordinator.aggregation.counted.Counted`.
    """

    update: Update
    payload: Buffer
    keep: Callable[[], Place]
    copy: Buffer
    asking: AnswerTo | None
    passed: Callable[[], object] | None = None


def _counted(arrived: Arrived, verdict: RecordVerdict) -> Counted:
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
        passed=arrived.passed,
    )


class Judging:
    """Gives verdicts, in one transaction.

    Attributes:
        verdicts: Verdict to how often it was given to an update.
    """

    def __init__(self, steps: Steps, strays: Strays) -> None:
        self._steps = steps
        self._strays = strays
        self._desk = steps.desk
        self._work = steps.work
        self.verdicts: dict[str, int] = {}

    def is_copy(self, update: Update) -> bool:
        """Whether an update has its verdict already; then this is noted as a copy of it."""
        if self._work.verdict_of(update.update_id) is None:
            return False
        self._work.raise_copies(update.update_id)
        return True

    def judge(self, arrived: Arrived, fault: Refused | None) -> None:
        """Give an update its verdict.

        Args:
            arrived: The update, which has none yet.
            fault: What is wrong with it by itself, None if nothing is.
        """
        update = arrived.update
        task = self.task_of(update)
        if task is not None and task.kind == EVALUATION:
            self._judge_evaluation(arrived, task)
            return
        fault = fault or self._left_behind(update)
        since = None if task is None else self._unsaid_since(task, update)
        if task is not None and since is not None:
            task = replace(task, taken_at=since)
        arrival = self._arrival(update, task, KIND, fault)
        verdict = self._steps.step(replace(arrival, since=since))
        assert verdict is not None
        if fault is NO_LOCAL_STEPS:  # most likely all are, and no round ever closes
            text = f"an update of worker {update.worker_id} is refused: {fault.reason}"
            self._steps.lines.append(("local steps", text))
        self._end_lapsed(task, update)
        self._record(arrived, verdict)
        now, asking = self._desk.now, arrived.asking
        self._desk.roster.judged(self._work, update, task, verdict.verdict, now, asking)
        self._steps.draw()
        self._steps.settle()

    def announce(self, update: Update) -> None:
        """An update is not all here: its task is taken, if nobody has said so before."""
        task = self.task_of(update)
        since = None if task is None else self._unsaid_since(task, update)
        if task is None or since is None or task.kind != KIND:
            return
        self._desk.roster.hear(self._work, update.worker_id, self._desk.now)
        self._steps.advance(
            UpdateAnnounced(update.task_id, update.worker_id, update.base_version, since)
        )

    def _unsaid_since(self, task: TaskRow, update: Update) -> float | None:
        """When a worker took a task, if nobody said that it was taken: as it says of its training.

        Whoever said nothing was soon done, or could not say it: then it was earlier.
        """
        if task.state != "offered" or task.taken_at is not None:
            return None
        return max(task.offered_at, self._desk.now - max(update.train_s, 0.0))

    def _left_behind(self, update: Update) -> Refused | None:
        """A step from a place where the model is no more is of no use."""
        reason = self._desk.left_behind(update.base_version)
        return Refused("stale", reason) if reason else None

    def _judge_evaluation(self, arrived: Arrived, task: TaskRow) -> None:
        """Judge the answer to a task to evaluate: it is no part of a sum."""
        update = arrived.update
        fault = evaluation_fault(update, arrived.payload, self._desk.expected)
        verdict = self._steps.evaluator.take(self._arrival(update, task, EVALUATION, fault))
        assert verdict is not None
        self._end_lapsed(task, update)
        self._record(arrived, verdict)
        self._desk.roster.answered(self._work, update.worker_id, self._desk.now)
        self._steps.settle()

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

    def task_of(self, message: Update | UpdatePart) -> TaskRow | None:
        """The task that a message answers, None if it was not offered in its run."""
        task = self._work.task(message.task_id)
        return task if task is not None and task.run_id == message.run_id else None

    def _record(self, arrived: Arrived, verdict: RecordVerdict) -> None:
        where, update = NOWHERE, arrived.update
        if verdict.verdict == "late" and update.kind == EVALUATION:
            pass  # more are asked than are needed, and the ledger has all that it says
        elif verdict.verdict != "counted":
            self._strays.keep_copy(arrived.copy, update.update_id)
        elif update.kind == KIND:  # an evaluation is in its row of the ledger as a whole
            where = arrived.keep()
            self._steps.effects.append(AddToSum(_counted(arrived, verdict), where))
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
