"""Which failures are worth another attempt, when it is made, and how to tell people.

A broker that is away, restarting, overloaded or unheard of is tried again for ever. One that
answers "no" to who we are or what we ask for will say so again: those are fatal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import tenacity
from pika.exceptions import (
    AMQPError,
    ConnectionClosed,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from broker.transport import RETRY_MAX_S

REFUSED = 403
NOT_FOUND = 404
LOCKED = 405
PRECONDITION_FAILED = 406

_FIRST_S, _LEAST_S = 0.5, 0.2
# pika tells only by the text whether the broker closed the connection or it was merely lost.
_REFUSAL = re.compile(r"ConnectionClosedByBroker: (\(\d+\)) (['\"])(.*)\2")


class Backoff:
    """Seconds to wait before each further attempt: random, exponential, 0.2 to `most_s`."""

    def __init__(self, most_s: float = RETRY_MAX_S) -> None:
        self._wait = tenacity.wait_random_exponential(_FIRST_S, most_s, min=_LEAST_S)
        self._state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})

    def next_s(self) -> float:
        """Seconds until the next attempt."""
        delay_s = self._wait(self._state)
        self._state.attempt_number += 1
        return delay_s

    def reset(self) -> None:
        """Begin anew: the last attempt was a good one."""
        self._state.attempt_number = 1


def is_fatal(error: BaseException) -> bool:
    """Whether no further attempt to connect can succeed: wrong password, no such vhost.

    A connection lost while it was being authenticated is not a refusal, and a limit of
    connections may have room again later.
    """
    for cause in _causes(error):
        if isinstance(cause, (ProbableAuthenticationError, ProbableAccessDeniedError)):
            refusal = _REFUSAL.search(str(cause))
            return refusal is not None and "limit" not in refusal[3]
    return False


def explain(error: BaseException) -> str:
    """The innermost cause of a failure to connect, in words."""
    cause = list(_causes(error))[-1]
    refusal = _REFUSAL.search(str(cause))
    if refusal:
        return f"{refusal[1]} {refusal[3]}"
    if isinstance(cause, ConnectionClosed):
        return f"({cause.reply_code}) {cause.reply_text}"
    if isinstance(cause, AMQPError) and cause.args:
        return str(cause.args[0])
    return str(cause) or type(cause).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps, outermost first; pika wraps in four different ways."""
    yield error
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args]
    for cause in reversed(inner):
        if isinstance(cause, BaseException):
            yield from _causes(cause)
            return
