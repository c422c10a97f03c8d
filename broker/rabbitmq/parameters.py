"""What a connection is made with: address, user, TLS and time limits."""

from __future__ import annotations

import copy
import ssl
from urllib.parse import parse_qs, urlsplit

import pika

from broker.errors import BrokerUrlError
from broker.transport import CONNECT_S
from broker.url import mask_url

BLOCKED_S = 30.0  # a broker in alarm takes no publish: after this long the outcome is in doubt


class Address:
    """A broker's address, ready to be connected to.

    Args:
        url: amqp(s)://user:password@host:port/vhost; pika's query parameters are understood.
        name: The client's, shown in the broker's list of connections.
        heartbeat_s: Seconds; a dead link is noticed after about two times as long.
        connect_timeout_s: Seconds that one attempt to connect may take.

    Raises:
        BrokerUrlError: The URL cannot be used.
    """

    def __init__(
        self, url: str, name: str, heartbeat_s: int, connect_timeout_s: float = CONNECT_S
    ) -> None:
        self.shown = mask_url(url)
        self._name = name
        try:
            given = parse_qs(urlsplit(url).query)
            self._parameters = pika.URLParameters(url)
        except (ValueError, TypeError, AttributeError, SyntaxError):
            # Without the cause: pika's text holds parts of the URL.
            raise BrokerUrlError(
                f"expected amqp://user:password@host:port/vhost, got {self.shown}; "
                "percent-encode what is not a letter or a digit in user and password"
            ) from None
        if "heartbeat" not in given:
            self._parameters.heartbeat = heartbeat_s
        if not given.keys() & {"socket_timeout", "stack_timeout"}:
            self._parameters.socket_timeout = connect_timeout_s
            self._parameters.stack_timeout = connect_timeout_s
        if "blocked_connection_timeout" not in given:
            self._parameters.blocked_connection_timeout = BLOCKED_S
        if self._parameters.ssl_options is not None and "ssl_options" not in given:
            context = ssl.create_default_context()
            self._parameters.ssl_options = pika.SSLOptions(context, self._parameters.host)
        self._parameters.connection_attempts = 1  # when to try again is not pika's to say

    @property
    def user(self) -> str:
        """The user's name, which the broker validates in what the client publishes."""
        return str(self._parameters.credentials.username)

    def parameters(self, purpose: str) -> pika.URLParameters:
        """Parameters of a connection for a purpose, which the broker's list shows."""
        parameters = copy.copy(self._parameters)
        parameters.client_properties = {"connection_name": f"{self._name} ({purpose})"}
        return parameters
