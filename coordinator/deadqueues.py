"""The dead queues, for people: counted, looked through, emptied; over a connection of its own.

Whether the coordinator runs does not matter: it consumes `parked` only, and publishes to `refused`.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from broker.topology import Names, Queue
from broker.transport import (
    Connected,
    Counted,
    Delivered,
    Disconnected,
    Event,
    Failed,
    Post,
    Transport,
)
from coordinator.errors import BrokerAway, BrokerRefused
from coordinator.looking import Fate, Look

ANSWER_S = 30.0  # how long the broker may take for one thing
SILENCE_S = 10.0  # with nothing under way: then there is nothing more


@dataclass(frozen=True, slots=True)
class _Interrupted:
    """Someone asked us to stop."""


class DeadQueues:
    """A connection to the broker that looks at dead letters. Used as a context manager.

    Args:
        open_transport: Makes the transport, given where to post its events.
        names: Of the federation.
        silence_s: How long to wait for a message that should be there.

    Raises:
        BrokerAway: From any method: the broker is not reached, or does not answer.
        BrokerRefused: Likewise: it refuses us, and will again.
    """

    def __init__(
        self,
        open_transport: Callable[[Post], Transport],
        names: Names,
        *,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._mailbox: queue.SimpleQueue[Event | _Interrupted] = queue.SimpleQueue()
        self._transport = open_transport(self._mailbox.put)
        self._names = names
        self._silence_s = silence_s
        self._was_there = False

    def __enter__(self) -> Self:
        self._transport.start()
        try:
            self._wait_for(lambda event: isinstance(event, Connected))
            self._was_there = True
        except BaseException:
            self._transport.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transport.stop()

    def interrupt(self) -> None:
        """Have whatever is going on end in good order with `KeyboardInterrupt`.

        From any thread or a signal handler: an interrupt at any line could leave a message that
        was taken out unpublished, to be given back.
        """
        self._mailbox.put(_Interrupted())

    def count(self, where: Queue) -> int:
        """How many messages wait in a queue."""
        self._transport.count(where)
        counted = self._wait_for(lambda event: isinstance(event, Counted))
        assert isinstance(counted, Counted)
        if counted.ready is None:
            raise BrokerAway(
                f"there is no queue {where.name}: the coordinator of "
                f"{self._names.federation!r} has never run on this broker, or federation.name is "
                "another"
            )
        return counted.ready

    def purge(self, where: Queue) -> None:
        """Delete everything that waits in a queue."""
        self._transport.purge(where)
        self.count(where)  # comes behind it

    def look(self, fate: Callable[[Delivered], Fate], most: int | None = None) -> Look:
        """Look at the messages in `refused`, oldest first, and do with each what `fate` says.

        `interrupt` ends it in good order: what was delivered goes back to the queue's end first.

        Args:
            fate: Called once with each message.
            most: How many to look at; None for as many as there are now.
        """
        where = self._names.refused_queue
        ready = self.count(where)
        expected = ready if most is None else min(ready, most)
        look = Look(self._transport, where, self._names.refused_exchange, expected, fate)
        try:
            self._see_through(look)
        except KeyboardInterrupt:
            look.stop()
            self._see_through(look)
            raise
        return look

    def _see_through(self, look: Look) -> None:
        while not look.done:
            event = self._next(self._silence_s if look.idle else ANSWER_S)
            if event is not None:
                look.handle(event)
            elif look.idle:
                look.finish()
            else:
                raise BrokerAway(
                    f"the broker has confirmed nothing for {ANSWER_S:g} s: it may be in alarm, or "
                    "its disk full; what was in the queue is still there"
                )

    def _wait_for(self, wanted: Callable[[Event], bool]) -> Event:
        while True:
            event = self._next(ANSWER_S)
            if event is None:
                raise BrokerAway(f"the broker has not answered for {ANSWER_S:g} s")
            if wanted(event):
                return event

    def _next(self, timeout_s: float) -> Event | None:
        try:
            event = self._mailbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        match event:
            case _Interrupted():
                raise KeyboardInterrupt
            case Failed():
                raise BrokerRefused(f"the broker refuses us: {event.reason}")
            case Disconnected():
                if not self._was_there:
                    raise BrokerAway(f"the broker is not reached: {event.reason}")
                raise BrokerAway(
                    f"the connection is lost: {event.reason}. What was not yet done is still in "
                    "the queue: run the command again"
                )
            case _:
                return event
