"""Publishing the tasks that the store has, until the broker has confirmed each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.transport import Confirmed, Doubtful, Event, Outgoing, Refused, Returned, Transport


class TaskOutlet:
    """Tasks on their way to the broker.

    Rules: a task is published again, under its id, only while its publish is in doubt; that it was
    confirmed is written with the next transaction, so a crash in between may publish it twice,
    which harms nobody.

    Args:
        message_of: The message of a task, None if the task is not open any more.
    """

    def __init__(self, transport: Transport, message_of: Callable[[str], Outgoing | None]) -> None:
        self._transport = transport
        self._message_of = message_of
        self._on_their_way: dict[int, str] = {}
        self._again: list[str] = []
        self.confirmed: list[str] = []

    def publish(self, task_id: str) -> None:
        """Publish a task."""
        message = self._message_of(task_id)
        if message is not None:
            self._on_their_way[self._transport.publish(message)] = task_id

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

    def handle(self, event: Event) -> bool:
        """Take an event; True if a task came back and is to be tried again later."""
        match event:
            case Confirmed() if event.token in self._on_their_way:
                self.confirmed.append(self._on_their_way.pop(event.token))
            case Returned() | Refused() if event.token in self._on_their_way:
                self._again.append(self._on_their_way.pop(event.token))
                return True
            case Doubtful() if event.token in self._on_their_way:
                self._again.append(self._on_their_way.pop(event.token))
            case _:
                pass
        return False
