"""Publishing the tasks that the store has, until the broker has confirmed each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from broker.transport import Confirmed, Doubtful, Event, Outgoing, Refused, Returned, Transport
from coordinator.ownqueues import OwnQueues

PUT_AGAIN_S = 10.0
"""A task that was put into its worker's queue so lately is not put there again."""


class Offers(Protocol):
    """What is to be known of a task, asked for when it is needed."""

    def message_of(self, task_id: str) -> Outgoing | None:
        """The message of a task, None if it is not open any more."""
        ...

    def worker_of(self, task_id: str) -> str:
        """Whose queue a direct task goes to; "" for the pool, or if it is not open any more."""
        ...


@dataclass(frozen=True, slots=True)
class _Put:
    """When a worker's own queue was last given which task."""

    task_id: str
    at: float


class TaskOutlet:
    """Tasks on their way to the broker.

    Rules: a pool task is published again, under its id, only while its publish is in doubt; that it
    was confirmed is written with the next transaction, so a crash in between may publish it twice,
    which harms nobody. A direct task is published once its worker's queue stands, and again when
    its worker is there and does not have it: the queue holds one message, so a second copy takes
    the place of the first. Where the queue cannot be had it stays offered.
    """

    def __init__(
        self, transport: Transport, offers: Offers, queues: OwnQueues, now: Callable[[], float]
    ) -> None:
        self._transport = transport
        self._offers = offers
        self._queues = queues
        self._now = now
        self._on_their_way: dict[int, str] = {}
        self._again: list[str] = []
        self._put: dict[str, _Put] = {}  # by worker, the one that was put there first first
        self.confirmed: list[str] = []

    def publish(self, task_id: str) -> None:
        """Publish a task; a direct one as soon as its worker has a queue."""
        worker_id = self._offers.worker_of(task_id)
        if worker_id:
            self._queues.when_there(worker_id, "task", partial(self._put_into, worker_id, task_id))
        else:
            self._publish(task_id)

    def put_again(self, task_id: str) -> None:
        """Publish a direct task again, since its worker may not find it."""
        put = self._put.get(self._offers.worker_of(task_id))
        if put is None or put.task_id != task_id or self._now() - put.at >= PUT_AGAIN_S:
            self.publish(task_id)

    def publish_doubted(self, unconfirmed: Iterable[str]) -> None:
        """After a connect: publish what the store does not know to be confirmed."""
        known = {*self._on_their_way.values(), *self.confirmed}
        self._again = [task_id for task_id in unconfirmed if task_id not in known]
        self.publish_again()

    def publish_again(self) -> None:
        """Publish what came back."""
        again, self._again = self._again, []
        for task_id in again:
            self.publish(task_id)

    def disconnected(self) -> None:
        """What came back is found in the store after the next connect."""
        self._again.clear()
        self._on_their_way.clear()
        self._put.clear()

    def handle(self, event: Event) -> bool:
        """Take an event; True if a task came back and is to be tried again later."""
        match event:
            case Confirmed() if event.token in self._on_their_way:
                self.confirmed.append(self._on_their_way.pop(event.token))
            case Returned() | Refused() if event.token in self._on_their_way:
                self._came_back(self._on_their_way.pop(event.token))
                return True
            case Doubtful() if event.token in self._on_their_way:
                self._again.append(self._on_their_way.pop(event.token))
            case _:
                pass
        return False

    def _came_back(self, task_id: str) -> None:
        worker_id = self._offers.worker_of(task_id)
        self._queues.doubt(worker_id)
        self._put.pop(worker_id, None)
        self._again.append(task_id)

    def _put_into(self, worker_id: str, task_id: str, there: bool) -> None:
        if not there:
            return
        self._put.pop(worker_id, None)
        self._put[worker_id] = _Put(task_id, self._now())
        self._forget_old()
        self._publish(task_id)

    def _forget_old(self) -> None:
        while self._put:
            worker_id, put = next(iter(self._put.items()))
            if self._now() - put.at < PUT_AGAIN_S:
                return
            del self._put[worker_id]

    def _publish(self, task_id: str) -> None:
        message = self._offers.message_of(task_id)
        if message is not None:
            self._on_their_way[self._transport.publish(message)] = task_id
