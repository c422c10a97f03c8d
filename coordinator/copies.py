"""Copies of refused messages on their way to the people's queue, as many as there is room for.

Rules: a copy is for diagnosis, so it may be dropped and is not sent again; the message itself has
its verdict in the store before. What is on its way is bounded, since deliveries go on while a
broker in alarm takes no publishes, and a flood of refused messages would move from the broker's
disk to this process's memory.
"""

from __future__ import annotations

from broker.transport import Confirmed, Doubtful, Event, Outgoing, Refused, Returned, Transport
from schemas.buffer import Buffer

ON_THEIR_WAY_BYTES_MAX = 64 * 1024 * 1024
ON_THEIR_WAY_MAX = 1000


class CopyOutlet:
    """Publishes copies.

    Args:
        transport: The way to the broker.
        exchange: Where copies go.

    Attributes:
        dropped: Copies for which there was no room.
    """

    def __init__(self, transport: Transport, exchange: str) -> None:
        self._transport = transport
        self._exchange = exchange
        self._on_their_way: dict[int, int] = {}  # token to bytes
        self._bytes = 0
        self.dropped = 0

    def publish(self, body: Buffer, message_id: str, routing_key: str) -> bool:
        """Publish a copy; False if it is dropped."""
        full = self._bytes + len(body) > ON_THEIR_WAY_BYTES_MAX
        # A single one always has room, however large: the broker took it.
        if self._on_their_way and (full or len(self._on_their_way) >= ON_THEIR_WAY_MAX):
            self.dropped += 1
            return False
        message = Outgoing(self._exchange, routing_key, body, message_id)
        self._on_their_way[self._transport.publish(message)] = len(body)
        self._bytes += len(body)
        return True

    def handle(self, event: Event) -> bool:
        """Take an event; whether it was about a copy."""
        match event:
            case Confirmed() | Returned() | Refused() | Doubtful():
                size = self._on_their_way.pop(event.token, None)
                self._bytes -= size or 0
                return size is not None
            case _:
                return False

    def disconnected(self) -> None:
        """Nothing is on its way any more."""
        self._on_their_way.clear()
        self._bytes = 0
