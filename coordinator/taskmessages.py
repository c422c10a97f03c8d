"""The messages of open tasks: what each says, where it goes, how long the broker keeps it. Pure.

A task that is not open any more has no message. An untaken task of the pool is as good for the next
version, and so are the words of its message: they pin none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.topology import Names
from broker.transport import EXPIRES_MAX_S, Outgoing
from coordinator.evaluating import Evaluations
from coordinator.states import Run
from coordinator.tasks import OpenTask
from schemas.codecs.names import FP32
from schemas.messages import Task, TaskKind, encode

TASK_DEADLINES = 100  # for so many, an hour at least, a task waits in the pool
TASK_LEAST_S = 3600.0
LIFE_LEAST_S = 1.0  # of a direct task whose lease is about to end; 0 would be for ever


@dataclass(frozen=True, slots=True)
class TaskMessages:
    """Makes the messages of a federation's tasks.

    Attributes:
        names: Of its queues.
        codec: In which updates are asked for.
        part_bytes: The largest message of an update.
        seed_of: The seed of the training of a task, by its id.
    """

    names: Names
    codec: str
    part_bytes: int
    seed_of: Callable[[str], int]

    def message_of(
        self, task_id: str, run: Run, evaluations: Evaluations, now: float
    ) -> Outgoing | None:
        """The message of a task, None if it is not open any more.

        Args:
            task_id: Its id.
            run: Has the tasks to train.
            evaluations: Have those to evaluate.
            now: The coordinator's time.
        """
        evaluation, task = evaluations.open, run.tasks.get(task_id)
        if task is not None:
            message = self._task(
                run, task_id, "train", run.ends_at, task.base_version, now, task.replaces
            )
            return self._outgoing(message, task.offered_to, _life_s(task, run, now))
        if evaluation is not None and task_id in evaluation.tasks:
            version, until = evaluation.version, evaluation.deadline_at
            message = self._task(run, task_id, "evaluate", until, version, now)
            life_s = max(until - now, LIFE_LEAST_S)
            return self._outgoing(message, evaluation.tasks[task_id], life_s)
        return None

    def _task(
        self,
        run: Run,
        task_id: str,
        kind: TaskKind,
        not_after: float | None,
        base_version: int | None,
        now: float,
        replaces: str = "",
    ) -> Task:
        return Task(
            run_id=run.run_id,
            task_id=task_id,
            kind=kind,
            incarnation=run.incarnation,
            not_after=not_after,
            codec=self.codec if kind == "train" else FP32,
            part_bytes=self.part_bytes,
            replaces=replaces,
            base_version=base_version,
            time_s=now,
            seed=self.seed_of(task_id),
        )

    def _outgoing(self, task: Task, worker_id: str, life_s: float) -> Outgoing:
        names = self.names
        key = names.worker_key(worker_id) if worker_id else names.task_key
        life_s = min(life_s, EXPIRES_MAX_S)
        return Outgoing(names.task_exchange, key, encode(task), task.task_id, expires_s=life_s)


def _life_s(task: OpenTask, run: Run, now: float) -> float:
    """How long the broker keeps a task that nobody takes.

    Given up, it stays in the pool all the same: without an end those would pile up. In its worker's
    own queue it is of no use once its lease has ended.
    """
    if task.direct and task.lease_end is not None:
        return max(task.lease_end - now, LIFE_LEAST_S)
    return max(TASK_LEAST_S, TASK_DEADLINES * run.policy.deadline_s)
