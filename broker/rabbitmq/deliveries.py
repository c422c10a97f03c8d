"""From what is delivered to `Delivered`. Strangers write the headers: anything may be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.rabbitmq.methods import Came
from broker.rabbitmq.publisher import ANSWER_QUEUE
from broker.transport import AnswerTo, Delivered
from schemas.buffer import Buffer


def delivery(consumer: int, tag: int, offset: int, message: Came, body: Buffer) -> Delivered:
    """The event of a delivery."""
    return Delivered(
        consumer=consumer,
        tag=tag,
        body=body,
        message_id=message.message_id,
        redelivered=message.redelivered,
        user_id=message.user_id,
        offset=offset,
        answer_to=_answer_to(message),
        routing_key=message.routing_key,
        death=_death(message.headers) if message.headers else "",
    )


def stream_offset(headers: Mapping[str, Any]) -> int:
    """The place of a message in its stream, -1 if it came from none."""
    offset = headers.get("x-stream-offset")
    return offset if isinstance(offset, int) else -1


def _answer_to(message: Came) -> AnswerTo | None:
    # Any other address would let a stranger have our answers put into a queue of its choice.
    if not message.reply_to.startswith(ANSWER_QUEUE + "."):
        return None
    return AnswerTo(message.reply_to, message.correlation_id)


def _death(headers: Mapping[str, Any]) -> str:
    """Why it was dead-lettered last: x-death has the newest first, on 3.10 and on 4.x."""
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        reason = deaths[0].get("reason")
    else:
        reason = headers.get("x-first-death-reason")
    return reason if isinstance(reason, str) else ""
