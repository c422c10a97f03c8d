r"""Channels for consumers, each for one at a time; one that is free again is used again.

Opening a channel, setting its prefetch and closing it are three round trips to the broker, which a
worker that takes one task after another would make for each.

    opening --> taken --> free --> taken --> ...
        \---------\---------\--> closed
"""

from __future__ import annotations

from typing import Protocol

from pika.channel import Channel
from pika.exceptions import AMQPError
from pika.frame import Method

from broker.rabbitmq.line import Line
from broker.rabbitmq.stream import Tap
from schemas.buffer import Buffer

FREE_MOST = 2
"""Free channels that are kept open on a connection."""


class User(Protocol):
    """Who has a lane."""

    def opened(self, channel: Channel) -> None:
        """The lane can be used. Called once."""
        ...

    def cancelled(self) -> None:
        """The broker ended the consumer."""
        ...

    def closed(self, reason: AMQPError) -> None:
        """The channel is closed, whoever closed it. Nothing is called afterwards."""
        ...


class Lane:
    """A channel with a prefetch. Made by `Lanes`."""

    def __init__(self, line: Line, prefetch: int, user: User) -> None:
        self.prefetch = prefetch
        self.user: User | None = user
        self.channel: Channel | None = None
        self._line = line
        line.open_channel(self._opened)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self.channel is not None and self.channel.is_open

    def body(self, body: bytes) -> Buffer:
        """See `Line`."""
        return self._line.body(body)

    def tap(self, tap: Tap) -> None:
        """Have the user told of messages before pika."""
        if self.channel is not None:
            self._line.tap(self.channel, tap)

    def untap(self) -> None:
        """See `tap`."""
        if self.channel is not None:
            self._line.tap(self.channel, None)

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        channel.add_on_cancel_callback(self._cancelled)
        channel.basic_qos(prefetch_count=self.prefetch, callback=lambda _: self._ready(channel))

    def _ready(self, channel: Channel) -> None:
        self.channel = channel
        if self.user is not None and channel.is_open:
            self.user.opened(channel)

    def _cancelled(self, _frame: Method) -> None:
        if self.user is not None:
            self.user.cancelled()

    def _closed(self, _channel: Channel, reason: AMQPError) -> None:
        self.untap()
        user, self.user = self.user, None
        if user is not None:
            user.closed(reason)


class Lanes:
    """The lanes of one connection.

    Args:
        line: The connection, open.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._free: list[Lane] = []

    def take(self, prefetch: int, user: User) -> Lane:
        """A lane for a user, which is told when it is open, unless it is already."""
        self._free = [lane for lane in self._free if lane.is_open]
        for lane in self._free:
            if lane.prefetch == prefetch:
                self._free.remove(lane)
                lane.user = user
                return lane
        return Lane(self._line, prefetch, user)

    def give_back(self, lane: Lane) -> None:
        """Take back a lane on which nobody consumes and nothing is unsettled."""
        lane.user = None
        lane.untap()
        self._free.append(lane)
        for old in self._free[:-FREE_MOST]:
            if old.channel is not None and old.is_open:
                old.channel.close()
        del self._free[:-FREE_MOST]
