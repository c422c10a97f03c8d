"""The control queue: what workers say of tasks, and what they ask."""

from __future__ import annotations

from broker.transport import AnswerTo, Delivered
from coordinator.batch.presences import Presences
from coordinator.batch.steps import Steps
from coordinator.batch.strays import Strays
from coordinator.effects import AnswerUnwanted, LookAtModel
from coordinator.events import TaskDeclined, TaskTaken
from coordinator.intake import EVALUATION, KIND, Stray, sender_fault
from coordinator.roster import MODEL_GONE
from schemas.errors import DecodeError, UnsupportedVersion
from schemas.messages import Declined, Presence, Taken, decode


class Controls:
    """What comes over the control queue in one transaction."""

    def __init__(self, steps: Steps, strays: Strays, presences: Presences) -> None:
        self._steps = steps
        self._strays = strays
        self._presences = presences
        self._desk = steps.desk
        self._work = steps.work

    def receive(self, delivery: Delivered, asking: AnswerTo | None) -> bool:
        """Receive what a worker says or asks; whether it is accepted."""
        body = delivery.body
        try:
            message, _ = decode(body)
        except UnsupportedVersion as error:
            return self._strays.refuse(body, Stray("unsupported version", str(error)))
        except DecodeError as error:
            return self._strays.refuse(body, Stray("malformed", str(error)))
        if isinstance(message, Taken | Declined | Presence):
            task_id = "" if isinstance(message, Presence) else message.task_id
            stray = sender_fault(message.worker_id, task_id, self._desk.sender_of(delivery))
            if stray is None:
                stray = self._strays.incarnation_fault(message)
            if stray is not None:
                return self._strays.refuse(body, stray)
        match message:
            case Taken():
                self._taken(message, asking)
            case Declined():
                self._declined(message)
            case Presence():
                self._presences.take(message, asking)
            case _:
                kind = type(message).__name__
                return self._strays.refuse(
                    body, Stray("malformed", f"a {kind} message on the control queue")
                )
        return True

    def _taken(self, taken: Taken, asking: AnswerTo | None) -> None:
        run = self._steps.state.run
        self._steps.refuse_newer(taken.incarnation)
        self._desk.roster.see(self._work, taken.worker_id, False, self._desk.now)
        if (taken.run_id, taken.incarnation) != (run.run_id, run.incarnation):
            if asking is not None:
                reason = "it belongs to another run"
                self._steps.effects.append(
                    AnswerUnwanted(asking, taken.run_id, taken.task_id, reason)
                )
            return
        worker_id = taken.worker_id
        if self._kind_of(taken.task_id) == EVALUATION:
            self._steps.evaluate(TaskTaken(taken.task_id, worker_id, counted_before=False), asking)
            return
        barred = (
            "evaluates, and never trains" if self._steps.evaluations.evaluates(worker_id) else ""
        )
        task = run.tasks.get(taken.task_id)
        pinned = None if task is None else task.base_version
        base_version = run.version if pinned is None else pinned
        counted = self._work.counted_before(run.run_id, KIND, base_version, worker_id)
        self._steps.advance(TaskTaken(taken.task_id, worker_id, counted, barred), asking)

    def _kind_of(self, task_id: str) -> str:
        if task_id in self._steps.state.run.tasks:
            return KIND
        task = self._work.task(task_id)
        return KIND if task is None else task.kind

    def _declined(self, declined: Declined) -> None:
        run = self._steps.state.run
        self._steps.refuse_newer(declined.incarnation)
        if (declined.run_id, declined.incarnation) == (run.run_id, run.incarnation):
            self._desk.roster.hear(self._work, declined.worker_id, self._desk.now)
            who, what = declined.worker_id, declined.task_id[:8]
            self._steps.lines.append(
                ("declined", f"worker {who} gives task {what} up: {declined.reason}")
            )
            missed = self._missed_current(declined)
            self.give_up(TaskDeclined(declined.task_id, declined.worker_id, declined.reason))
            self._give_up_lapsed(declined)
            if missed:
                self._steps.effects.append(LookAtModel(declined.worker_id))

    def _missed_current(self, declined: Declined) -> bool:
        """Whether a worker did not find the current model, which a task of its own is for.

        Older ones may be gone; and while a model is looked for, nobody is told where it lies.
        """
        task = self._work.task(declined.task_id)
        if task is None or not declined.reason.startswith(MODEL_GONE):
            return False
        its_own = task.worker_id in ("", declined.worker_id)
        current = task.base_version in (None, self._steps.state.run.version)
        return its_own and current and task.state in ("offered", "taken", "lapsed")

    def give_up(self, event: TaskDeclined) -> None:
        """A task is given up: tell the machine that it is of."""
        if self._kind_of(event.task_id) == EVALUATION:
            self._steps.evaluate(event)
        else:
            self._steps.advance(event)

    def _give_up_lapsed(self, declined: Declined) -> None:
        """A lapsed task, which the machine has let go of, is not awaited any more."""
        task = self._work.task(declined.task_id)
        if task is not None and (task.state, task.worker_id) == ("lapsed", declined.worker_id):
            self._work.update_task(task.task_id, state="declined", reason=declined.reason)
