"""A delivery of a dead queue, for tests of what reads it."""

from __future__ import annotations

from broker.transport import Delivered


def delivered(body: bytes, routing_key: str = "") -> Delivered:
    """A message as a consumer has it."""
    return Delivered(
        consumer=1,
        tag=1,
        body=body,
        message_id="",
        redelivered=False,
        user_id="",
        offset=-1,
        answer_to=None,
        routing_key=routing_key,
    )
