"""The updates queue: whole updates, the parts of large ones, and their ends."""

from __future__ import annotations

from broker.transport import AnswerTo, Delivered
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

    def receive(self, delivery: Delivered, asking: AnswerTo | None) -> bool:
        """Receive what a worker answers a task with; whether it is accepted.

        Args:
            delivery: The message.
            asking: Where the worker waits for its verdict and for what comes next, None if nowhere.
        """
        body = delivery.body
        match receive(body, self._desk.expected, self._desk.sender_of(delivery)):
            case Newer() as newer:
                raise Restored(newer.incarnation, newer.reason)
            case Stray() as stray:
                if asking is not None:
                    self._presences.ask_again(asking)
                return self._strays.refuse(body, stray)
            case Whole() as whole:
                self._take_whole(whole, body)
                if asking is not None:
                    self._presences.take_update(whole.update, asking)
                return True
            case Closing() as closing:
                return self._parts.close(closing.update, body)
            case Part() as part:
                return self._parts.keep(part, body)

    def _take_whole(self, whole: Whole, body: bytes) -> None:
        if not self._judging.is_copy(whole.update):
            fault = fault_of(whole.update, whole.payload, self._desk.expected)
            self._judging.judge(Arrived(whole.update, whole.payload, body, body), fault)
