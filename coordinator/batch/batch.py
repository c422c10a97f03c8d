"""One transaction of the coordinator: deliveries in, rows written, effects for afterwards.

    updates ──▶ Updates ──▶ Judging ◀── Parts      what takes no id: Strays
    control ──▶ Controls ─▶ Presences                    │
    parked  ──▶ Parked (as what it is)                   ▼
                                          Steps: the machines, their rows, the effects

Rules: a batch lives inside one store transaction; it changes nothing but the store and the spool;
what is to be seen outside (acks, answers, publishes, the sum) is an effect, carried out after the
commit. If the transaction fails the batch is thrown away, and the broker delivers everything again.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.transport import Delivered
from coordinator.batch.controls import Controls
from coordinator.batch.desk import Desk
from coordinator.batch.judging import Judging
from coordinator.batch.parked import Parked
from coordinator.batch.parts import Parts
from coordinator.batch.presences import Presences
from coordinator.batch.steps import Steps
from coordinator.batch.strays import Strays
from coordinator.batch.updates import Updates
from coordinator.effects import Ack, Effect
from coordinator.evaluator import Evaluated
from coordinator.intake import Part
from coordinator.states import State
from coordinator.work import Work
from schemas.digest import digest_of
from schemas.messages import UpdatePart


class Batch:
    """One transaction in the making.

    Attributes:
        steps: Of the machines; tell them what does not come from the broker.
    """

    def __init__(self, desk: Desk, work: Work, state: State, evaluated: Evaluated) -> None:
        self.steps = steps = Steps(desk, work, state, evaluated)
        self._work = work
        self._strays = Strays(steps)
        self._judging = Judging(steps, self._strays)
        self._parts = parts = Parts(steps, self._strays, self._judging)
        presences = Presences(steps)
        self._updates = Updates(desk, self._strays, self._judging, parts, presences)
        self._controls = Controls(steps, self._strays, presences)
        self._parked = Parked(steps, self._strays, self._updates, self._controls)

    @property
    def effects(self) -> list[Effect]:
        """What is to be done after the commit, in this order."""
        return self.steps.effects

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What to log after the commit: topic and text."""
        return self.steps.lines

    @property
    def verdicts(self) -> dict[str, int]:
        """Verdict to how often it was given to an update."""
        return self._judging.verdicts

    @property
    def strays(self) -> int:
        """How many messages took no update id."""
        return self._strays.count

    def take_update(self, delivery: Delivered) -> None:
        """A message from the updates queue."""
        self._take(delivery, lambda update: self._updates.receive(update, may_wait=True))

    def take_fetched(self, part: UpdatePart, payload: memoryview) -> None:
        """A part of an update that was read from the depot."""
        self._parts.keep_fetched(Part(part, payload))

    def take_control(self, delivery: Delivered) -> None:
        """A message from the control queue."""
        self._take(delivery, lambda asked: self._controls.receive(asked, asked.answer_to))

    def take_parked(self, delivery: Delivered, attempts: int) -> None:
        """A message that the broker dead-lettered; `attempts` is how often it was taken up."""
        self._work.forget_parked(digest_of(delivery.body))
        self._take(delivery, lambda parked: self._parked.receive(parked, attempts))

    def _take(self, delivery: Delivered, receive: Callable[[Delivered], bool]) -> None:
        """Receive a message; if it is accepted and was a stray before, the store learns it.

        `receive` says whether it is: a verdict was given, or stood already, a part is kept, or a
        control message was taken. Of one that is left for later nothing new is known.
        """
        self._strays.routing_key = delivery.routing_key
        if receive(delivery):
            self._strays.accept(delivery.body)
        if delivery.tag not in self._parts.waiting:
            self.effects.append(Ack(delivery.tag))
