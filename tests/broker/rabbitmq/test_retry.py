"""Failures worth another attempt are told apart from those that are not."""

from __future__ import annotations

import pytest
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorSocketConnectError,
)
from pika.exceptions import (
    AMQPConnectionError,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from broker.rabbitmq.retry import Backoff, explain, is_fatal

WRONG_PASSWORD = ProbableAuthenticationError(
    repr(ConnectionClosedByBroker(403, "ACCESS_REFUSED - Login was refused"))
)
NO_VHOST = ProbableAccessDeniedError(
    repr(ConnectionClosedByBroker(530, "NOT_ALLOWED - vhost v not found"))
)
TOO_MANY = ProbableAccessDeniedError(
    repr(ConnectionClosedByBroker(530, "NOT_ALLOWED - connection limit (5) is reached"))
)
LOST_WHILE_LOGGING_IN = ProbableAuthenticationError(repr(StreamLostError("reset")))


def refused() -> Exception:
    """As pika wraps it."""
    inner = AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))
    wrapped: Exception = AMQPConnectionError(AMQPConnectionWorkflowFailed([inner]))
    return wrapped


@pytest.mark.parametrize("error", [WRONG_PASSWORD, NO_VHOST])
def test_what_the_broker_says_no_to_is_fatal_however_it_is_wrapped(error: Exception) -> None:
    assert is_fatal(error)
    assert is_fatal(AMQPConnectionWorkflowFailed([AMQPConnectorAMQPHandshakeError(error)]))


@pytest.mark.parametrize(
    "error",
    [
        TOO_MANY,
        LOST_WHILE_LOGGING_IN,
        refused(),
        StreamLostError("reset"),
        IncompatibleProtocolError("reset before the handshake"),
        ConnectionBlockedTimeout("blocked"),
        ConnectionClosedByBroker(320, "CONNECTION_FORCED"),
        OSError("no route"),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert not is_fatal(error)


def test_the_innermost_cause_is_what_people_read() -> None:
    assert explain(refused()) == "[Errno 111] Connection refused"
    assert explain(WRONG_PASSWORD) == "(403) ACCESS_REFUSED - Login was refused"
    assert explain(StreamLostError("Transport indicated EOF")) == "Transport indicated EOF"
    assert explain(ConnectionClosedByBroker(320, "FORCED")) == "(320) FORCED"
    assert explain(ConnectionResetError()) == "ConnectionResetError"


def test_waits_are_between_a_fifth_of_a_second_and_a_minute_and_grow() -> None:
    backoff = Backoff()
    waits = [backoff.next_s() for _ in range(30)]
    assert all(0.2 <= wait_s <= 60.0 for wait_s in waits)
    assert max(waits[:2]) <= 1.0
    assert max(waits) > 2.0
    backoff.reset()
    assert backoff.next_s() <= 0.5


def test_clients_that_lost_the_broker_together_do_not_come_back_together() -> None:
    assert len({Backoff().next_s() for _ in range(20)}) > 10
