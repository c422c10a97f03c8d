"""What the in-process broker knows of one client. All of it belongs to the broker's lock."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.transport import Event, Post

if TYPE_CHECKING:
    from broker.memory.queues import Consumer, Lease

Schedule = Callable[[float, Callable[[], None]], object]


@dataclass(slots=True, eq=False)
class Client:
    """A client of the in-process broker.

    Attributes:
        post: Where its events go.
        schedule: Calls a function after a delay in seconds; None: reconnect at once.
        retry_s: Seconds between attempts to connect, of use with `schedule` only.
        wanted: The service wants to be connected.
        attempt: Number of the attempt to connect that counts; earlier ones are void.
        address: Where answers to this connection's questions go, "" while offline.
        held: Outcomes of publishes that the broker keeps back, by token.
    """

    name: str
    user: str
    post: Post
    schedule: Schedule | None
    retry_s: float
    wanted: bool = False
    connected: bool = False
    session: int = 0
    attempt: int = 0
    address: str = ""
    consumers: dict[int, Consumer] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)
    held: dict[int, Event] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _silent: bool = False
    _posting: threading.RLock = field(default_factory=threading.RLock)

    def tell(self, event: Event) -> None:
        """Post an event, unless the client has been silenced."""
        with self._posting:
            if not self._silent:
                self.post(event)

    def silence(self) -> None:
        """Post nothing from here on; an event on its way in another thread is waited for."""
        with self._posting:
            self._silent = True
