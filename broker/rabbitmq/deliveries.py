"""From what pika delivers to `Delivered`. Strangers write the headers: anything may be there."""

from __future__ import annotations

from typing import Any

from pika import BasicProperties
from pika.spec import Basic

from broker.rabbitmq.publisher import ANSWER_QUEUE
from broker.transport import AnswerTo, Delivered
from schemas.buffer import Buffer


def delivery(
    consumer: int, tag: int, method: Basic.Deliver, properties: BasicProperties, body: Buffer
) -> Delivered:
    """The event of a delivery."""
    headers = properties.headers if isinstance(properties.headers, dict) else {}
    return Delivered(
        consumer=consumer,
        tag=tag,
        body=body,
        message_id=properties.message_id or "",
        redelivered=bool(method.redelivered),
        user_id=properties.user_id or "",
        offset=stream_offset(properties),
        answer_to=_answer_to(properties),
        routing_key=method.routing_key or "",
        death=_death(headers),
    )


def stream_offset(properties: BasicProperties) -> int:
    """The place of a message in its stream, -1 if it came from none."""
    headers = properties.headers if isinstance(properties.headers, dict) else {}
    offset = headers.get("x-stream-offset")
    return offset if isinstance(offset, int) else -1


def _answer_to(properties: BasicProperties) -> AnswerTo | None:
    address = properties.reply_to or ""
    # Any other address would let a stranger have our answers put into a queue of its choice.
    if not address.startswith(ANSWER_QUEUE + "."):
        return None
    return AnswerTo(address, properties.correlation_id or "")


def _death(headers: dict[str, Any]) -> str:
    """Why it was dead-lettered last: x-death has the newest first, on 3.10 and on 4.x."""
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        reason = deaths[0].get("reason")
    else:
        reason = headers.get("x-first-death-reason")
    return reason if isinstance(reason, str) else ""
