"""The publishing channel: confirmed, mandatory publishes, and the answers to questions.

Rules of the file:

- The broker closes the channel at the first publish that it will not have (no such exchange, too
  large, not permitted). Who is to blame learns it; what was published behind it was not looked
  at, so the rest is in doubt, and the channel is opened again.
- What is published meanwhile waits for the new channel.
- Answers come to the channel that asked: answers to questions of a closed one are lost.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pika import BasicProperties
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker, ShortStringTooLong
from pika.frame import Method
from pika.spec import Basic

from broker.rabbitmq.line import Line
from broker.rabbitmq.outlet import Outlet
from broker.rabbitmq.retry import NOT_FOUND, PRECONDITION_FAILED, REFUSED
from broker.transport import (
    Answered,
    AnswerTo,
    Confirmed,
    Doubtful,
    Event,
    Outgoing,
    Refused,
    Returned,
)

ANSWER_QUEUE = "amq.rabbitmq.reply-to"
_PERSISTENT = 2
_TOO_LARGE = re.compile(r"message size (\d+)")
_EXCHANGE = re.compile(r"exchange '([^']*)'")


@dataclass(frozen=True, slots=True)
class Open:
    """A publish that the broker has not answered."""

    token: int
    exchange: str
    body_bytes: int


class Publisher:
    """Publishes on a connection.

    Args:
        line: An open connection, used for nothing else.
        outlet: Where outcomes go.
        user: The connection's user, put into every message for the broker to validate.
        on_ready: Called once, when the first channel is ready.
    """

    def __init__(self, line: Line, outlet: Outlet, user: str, on_ready: Callable[[], None]) -> None:
        self._line = line
        self._outlet = outlet
        self._user = user
        self._on_ready: Callable[[], None] | None = on_ready
        self._channel: Channel | None = None
        self._sequence: Iterator[int] = itertools.count(1)
        self._open: dict[int, Open] = {}  # by the broker's sequence number, in its order
        self._returned: dict[int, str] = {}  # by token; the confirm that follows ends it
        self._waiting: deque[tuple[int, Outgoing]] = deque()
        line.open_channel(self._opened)

    def publish(self, token: int, message: Outgoing) -> None:
        """Publish a message; its outcome is told later."""
        channel = self._channel
        if channel is None or not channel.is_open:
            self._waiting.append((token, message))
            return
        try:
            channel.basic_publish(
                message.exchange,
                message.routing_key,
                message.body,
                self._properties(token, message),
                mandatory=True,
            )
        except ShortStringTooLong as error:  # before anything is sent
            self._outlet.tell(Refused(token, f"names are limited to 255 bytes: {error}"))
            return
        publish = Open(token, message.exchange, len(message.body))
        self._open[next(self._sequence)] = publish

    def answer(self, to: AnswerTo, body: bytes) -> None:
        """Answer a question. Neither mandatory nor told: who asked may have gone."""
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        properties = BasicProperties(correlation_id=to.correlation_id, user_id=self._user)
        try:
            channel.basic_publish("", to.address, body, properties)
        except ShortStringTooLong:
            return
        next(self._sequence)  # the broker counts and confirms it all the same

    def open_tokens(self) -> list[int]:
        """Tokens of the publishes without an outcome."""
        sent = [publish.token for publish in self._open.values()]
        return sorted(sent + [token for token, _ in self._waiting])

    def _properties(self, token: int, message: Outgoing) -> BasicProperties:
        expires_ms = max(round(message.expires_s * 1000), 1)
        return BasicProperties(
            delivery_mode=_PERSISTENT,
            message_id=message.message_id or None,
            correlation_id=str(token),  # says which publish came back, and which is answered
            reply_to=ANSWER_QUEUE if message.answerable else None,
            expiration=str(expires_ms) if message.expires_s else None,
            user_id=self._user,
        )

    # The channel.

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._came_back)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._hear(channel))

    def _hear(self, channel: Channel) -> None:
        channel.basic_consume(
            ANSWER_QUEUE,
            self._answered,
            auto_ack=True,
            callback=lambda _: self._begin(channel),
        )

    def _begin(self, channel: Channel) -> None:
        self._channel = channel
        self._sequence = itertools.count(1)
        on_ready, self._on_ready = self._on_ready, None
        if on_ready is not None:
            on_ready()
        waiting, self._waiting = self._waiting, deque()
        for token, message in waiting:
            self.publish(token, message)

    def _closed(self, _channel: Channel, reason: AMQPError) -> None:
        if not isinstance(reason, ChannelClosedByBroker):
            return  # the whole connection ended; the link sees to that
        self._channel = None
        left, self._open = list(self._open.values()), {}
        returned, self._returned = self._returned, {}
        blamed, verdict = _blame(reason, [each for each in left if each.token not in returned])
        if blamed is None:
            self._open = dict(enumerate(left))
            self._outlet.lose(f"the publishing channel was closed: {reason.reply_text}")
            return
        for publish in left:
            self._outlet.tell(verdict if publish is blamed else Doubtful(publish.token))
        self._line.open_channel(self._opened)

    # What the broker says.

    def _came_back(
        self, _channel: Channel, method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        where = f"{method.exchange or 'the default exchange'} for {method.routing_key}"
        reason = f"({method.reply_code}) {method.reply_text}: no queue is bound to {where}"
        self._returned[int(properties.correlation_id)] = reason

    def _confirmed(self, frame: Method) -> None:
        number, multiple = frame.method.delivery_tag, frame.method.multiple
        if not multiple:
            numbers = [number] if number in self._open else []
        else:
            numbers = list(itertools.takewhile(lambda n: number == 0 or n <= number, self._open))
        for each in numbers:
            self._outlet.tell(self._outcome(self._open.pop(each), frame.method))

    def _outcome(self, publish: Open, method: Basic.Ack | Basic.Nack) -> Event:
        returned = self._returned.pop(publish.token, None)
        if returned is not None:
            return Returned(publish.token, returned)
        if isinstance(method, Basic.Nack):
            return Refused(publish.token, "the broker refused it: a queue is full")
        return Confirmed(publish.token)

    def _answered(
        self, _channel: Channel, _method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        correlation_id = properties.correlation_id or ""
        if correlation_id.isdecimal() and len(correlation_id) < 20:
            self._outlet.tell(Answered(int(correlation_id), body))


def _blame(reason: ChannelClosedByBroker, left: list[Open]) -> tuple[Open | None, Event]:
    """The publish that the broker closed the channel for, and its outcome; None if unknown.

    The broker takes publishes in order and stops at the first bad one: it is the first that fits.
    """
    text = str(reason.reply_text)
    too_large, exchange = _TOO_LARGE.search(text), _EXCHANGE.search(text)
    if reason.reply_code == PRECONDITION_FAILED and too_large:
        fits = [publish for publish in left if publish.body_bytes == int(too_large[1])]
    elif reason.reply_code in (NOT_FOUND, REFUSED) and exchange:
        fits = [publish for publish in left if publish.exchange in (exchange[1], "")]
        named = [publish for publish in fits if publish.exchange == exchange[1]]
        fits = named or fits  # the default exchange has a name of its own in the broker's words
    else:
        fits = []
    if not fits:
        return None, Doubtful(0)
    token = fits[0].token
    if reason.reply_code == NOT_FOUND:
        return fits[0], Returned(token, text)
    if reason.reply_code == PRECONDITION_FAILED:
        return fits[0], Refused(token, f"{text}: send it in parts")
    return fits[0], Refused(token, f"{text}: give the user this permission")
