"""The parked queue: what the broker itself gave up on."""

from __future__ import annotations

from dataclasses import replace

from broker.transport import Delivered
from coordinator.batch.controls import Controls
from coordinator.batch.steps import Steps
from coordinator.batch.strays import Strays
from coordinator.batch.updates import Updates
from coordinator.events import TaskDeclined
from coordinator.intake import Stray
from schemas.buffer import Buffer
from schemas.errors import DecodeError
from schemas.messages import Declined, Presence, Taken, Task, decode

POISON_ATTEMPTS = 3


class Parked:
    """What is taken up again in one transaction."""

    def __init__(self, steps: Steps, strays: Strays, updates: Updates, controls: Controls) -> None:
        self._steps = steps
        self._strays = strays
        self._updates = updates
        self._controls = controls

    def receive(self, delivery: Delivered, attempts: int) -> bool:
        """Receive it as what it is; whether it is accepted."""
        delivery = replace(delivery, answer_to=None)  # who asked with it does not wait any more
        body, why = delivery.body, delivery.death or "no reason given"
        if attempts > POISON_ATTEMPTS:
            reason = (
                f"the broker gave it up ({why}); it was then taken up {POISON_ATTEMPTS} times, and "
                "each time the coordinator stopped"
            )
            return self._strays.refuse(body, Stray("poison", reason))
        try:
            message, _ = decode(body)
        except DecodeError:
            return self._updates.receive(delivery)
        match message:
            case Task():
                return self._task_given_up(message, body, why)
            case Taken() | Declined() | Presence():
                return self._controls.receive(delivery, None)
            case _:
                return self._updates.receive(delivery)

    def _task_given_up(self, task: Task, body: Buffer, why: str) -> bool:
        stray = self._strays.incarnation_fault(task)
        if stray is not None:
            return self._strays.refuse(body, stray)
        self._steps.refuse_newer(task.incarnation)
        if task.incarnation == self._steps.state.run.incarnation:
            self._controls.give_up(TaskDeclined(task.task_id, "", f"the broker gave it up: {why}"))
        return True
