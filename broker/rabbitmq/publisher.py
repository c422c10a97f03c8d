"""The publishing channel: confirmed, mandatory publishes, and the answers to questions.

Rules of the file:

- The broker closes the channel at the first publish that it will not have (no such exchange, too
  large, not permitted). Who is to blame learns it. The rest was not looked at, or is in doubt: it
  is published again on a new channel, in its order, and may then be there twice. So a bad
  publish never makes a good one doubtful.
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
from broker.rabbitmq.methods import Came, Properties, came_of_pika
from broker.rabbitmq.outlet import Outlet
from broker.rabbitmq.retry import NOT_FOUND, PRECONDITION_FAILED, REFUSED
from broker.transport import (
    Answered,
    AnswerTo,
    Confirmed,
    Event,
    Outgoing,
    Refused,
    Returned,
)
from schemas.buffer import Buffer

ANSWER_QUEUE = "amq.rabbitmq.reply-to"
_TOO_LARGE = re.compile(r"message size (\d+)")
_EXCHANGE = re.compile(r"exchange '([^']*)'")
_TOPIC = re.compile(r"topic '([^']*)'")
_DEFAULT_EXCHANGE = "amq.default"  # what the broker calls it when it refuses
_UNSPEAKABLE = (ShortStringTooLong, UnicodeEncodeError)  # as names on the wire


@dataclass(frozen=True, slots=True)
class Open:
    """A publish that the broker has not answered."""

    token: int
    message: Outgoing


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
        self._waiting: deque[Open] = deque()
        line.open_channel(self._opened)

    def publish(self, token: int, message: Outgoing) -> None:
        """Publish a message; its outcome is told later."""
        channel = self._channel
        if channel is None or not channel.is_open:
            self._waiting.append(Open(token, message))
            return
        try:
            self._line.publish(
                channel,
                message.exchange,
                message.routing_key,
                (message.body, message.payload),
                self._properties(token, message),
                mandatory=True,
            )
        except _UNSPEAKABLE as error:  # before anything is sent
            self._outlet.tell(
                Refused(token, f"expected names of at most 255 bytes of UTF-8: {error}")
            )
            return
        self._open[next(self._sequence)] = Open(token, message)

    def answer(self, to: AnswerTo, body: bytes) -> None:
        """Answer a question. Neither mandatory nor told: who asked may have gone."""
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        properties = Properties(to.correlation_id, self._user)
        try:
            self._line.publish(channel, "", to.address, (body,), properties)
        except _UNSPEAKABLE:
            return
        next(self._sequence)  # the broker counts and confirms it all the same

    def open_tokens(self) -> list[int]:
        """Tokens of the publishes without an outcome."""
        return sorted(publish.token for publish in (*self._open.values(), *self._waiting))

    def _properties(self, token: int, message: Outgoing) -> Properties:
        expires_ms = max(round(message.expires_s * 1000), 1)
        return Properties(
            str(token),  # says which publish came back, and which is answered
            self._user,
            persistent=True,
            reply_to=ANSWER_QUEUE if message.answerable else "",
            expiration=str(expires_ms) if message.expires_s else "",
            message_id=message.message_id,
        )

    # The channel.

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._came_back)
        channel.confirm_delivery(self._settled_by_pika, callback=lambda _: self._hear(channel))

    def _hear(self, channel: Channel) -> None:
        channel.basic_consume(
            ANSWER_QUEUE,
            self._answered,
            auto_ack=True,
            callback=lambda _: self._begin(channel),
        )

    def _begin(self, channel: Channel) -> None:
        self._channel = channel
        self._line.tap(channel, self)
        self._sequence = itertools.count(1)
        on_ready, self._on_ready = self._on_ready, None
        if on_ready is not None:
            on_ready()
        waiting, self._waiting = self._waiting, deque()
        for publish in waiting:
            self.publish(publish.token, publish.message)

    def _closed(self, channel: Channel, reason: AMQPError) -> None:
        self._line.tap(channel, None)
        if not isinstance(reason, ChannelClosedByBroker):
            return  # the whole connection ended; the link sees to that
        self._channel = None
        for publish in list(self._open.values()):
            if publish.token in self._returned:
                self._end(publish, Returned(publish.token, self._returned[publish.token]))
        blamed = _blame(reason, list(self._open.values()))
        if blamed is None:
            self._outlet.lose(f"the publishing channel was closed: {reason.reply_text}")
            return
        self._end(blamed, _verdict(blamed, reason))
        self._waiting.extendleft(reversed(self._open.values()))
        self._open = {}
        self._line.open_channel(self._opened)

    def _end(self, publish: Open, outcome: Event) -> None:
        self._open = {n: each for n, each in self._open.items() if each is not publish}
        self._returned.pop(publish.token, None)
        self._outlet.tell(outcome)

    # What the broker says.

    def _came_back(
        self, _channel: Channel, method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        where = f"{method.exchange or 'the default exchange'} for {method.routing_key}"
        reason = f"({method.reply_code}) {method.reply_text}: no queue is bound to {where}"
        self._returned[int(properties.correlation_id)] = reason

    @property
    def is_tapping(self) -> bool:
        """See `stream.Tap`."""
        return True

    def delivered(self, message: Came, body: Buffer) -> None:
        """See `stream.Tap`: it is an answer."""
        if message.correlation_id.isdecimal() and len(message.correlation_id) < 20:
            self._outlet.tell(Answered(int(message.correlation_id), body))

    def acked(self, number: int, multiple: bool) -> bool:
        """See `stream.Tap`."""
        self._settle(number, multiple, taken=True)
        return True

    def _settled_by_pika(self, frame: Method) -> None:
        taken = isinstance(frame.method, Basic.Ack)
        self._settle(frame.method.delivery_tag, frame.method.multiple, taken=taken)

    def _settle(self, number: int, multiple: bool, *, taken: bool) -> None:
        if not multiple:
            numbers = [number] if number in self._open else []
        else:
            numbers = list(itertools.takewhile(lambda n: number == 0 or n <= number, self._open))
        for each in numbers:
            self._outlet.tell(self._outcome(self._open.pop(each), taken=taken))

    def _outcome(self, publish: Open, *, taken: bool) -> Event:
        returned = self._returned.pop(publish.token, None)
        if returned is not None:
            return Returned(publish.token, returned)
        if not taken:
            return Refused(publish.token, "the broker refused it: a queue is full")
        return Confirmed(publish.token)

    def _answered(
        self, _channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self.delivered(came_of_pika(method, properties), self._line.body(body))


def _blame(reason: ChannelClosedByBroker, left: list[Open]) -> Open | None:
    """The publish that the broker closed the channel for, None if it does not say.

    The broker takes publishes in order and stops at the first bad one: it is the first that fits.
    """
    text = str(reason.reply_text)
    size, topic, exchange = _TOO_LARGE.search(text), _TOPIC.search(text), _EXCHANGE.search(text)

    def fits(message: Outgoing) -> bool:
        if reason.reply_code == PRECONDITION_FAILED:
            return size is not None and message.num_bytes == int(size[1])
        if exchange is None or (message.exchange or _DEFAULT_EXCHANGE) != exchange[1]:
            return False
        return topic is None or message.routing_key == topic[1]

    return next((publish for publish in left if fits(publish.message)), None)


def _verdict(publish: Open, reason: ChannelClosedByBroker) -> Event:
    text = str(reason.reply_text)
    if reason.reply_code == NOT_FOUND:
        return Returned(publish.token, text)
    remedy = "give the user this permission" if reason.reply_code == REFUSED else "send it in parts"
    return Refused(publish.token, f"{text}: {remedy}")
