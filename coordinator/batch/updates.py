"""The updates queue: whole updates, the parts of large ones, and their ends."""

from __future__ import annotations

from broker.transport import Delivered
from coordinator.batch.desk import Desk
from coordinator.batch.judging import Arrived, Judging
from coordinator.batch.parts import Parts
from coordinator.batch.presences import Presences
from coordinator.batch.strays import Strays
from coordinator.errors import Restored
from coordinator.intake import Closing, Newer, Part, Stray, Whole, fault_of, receive


class Updates:
    """What workers answer tasks with, in one transaction."""

    def __init__(
        self, desk: Desk, strays: Strays, judging: Judging, parts: Parts, presences: Presences
    ) -> None:
        self._desk = desk
        self._presences = presences
        self._strays = strays
        self._judging = judging
        self._parts = parts

    def receive(self, delivery: Delivered, *, may_wait: bool = False) -> bool:
        """Receive what a worker answers a task with; whether it is accepted.

        Args:
            delivery: It.
            may_wait: The delivery may stay unacked for a while.
        """
        body = delivery.body
        match receive(body, self._desk.expected, self._desk.sender_of(delivery)):
            case Newer() as newer:
                raise Restored(newer.incarnation, newer.reason)
            case Stray() as stray:
                if delivery.answer_to is not None:
                    self._presences.ask_again(delivery.answer_to)
                return self._strays.refuse(body, stray)
            case Whole() as whole:
                to = delivery.answer_to
                if not self._judging.is_copy(whole.update):
                    fault = fault_of(whole.update, whole.payload, self._desk.expected)
                    spool = self._desk.spool
                    arrived = Arrived(
                        whole.update, whole.payload, lambda: spool.append(body), body, to
                    )
                    self._judging.judge(arrived, fault)
                self._presences.answer_update(whole.update, to)
                return True
            case Closing() as closing:
                accepted = self._parts.close(closing.update, delivery, may_wait=may_wait)
                if delivery.tag not in self._parts.waiting:
                    self._presences.answer_update(closing.update, delivery.answer_to)
                return accepted
            case Part() as part:
                return self._parts.keep(part, body)
