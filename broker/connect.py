"""From the broker's URL to a transport."""

from __future__ import annotations

from broker.errors import BrokerUrlError
from broker.transport import CONNECT_S, LINGER_S, RETRY_MAX_S, Post, Transport
from broker.url import mask_url


def open_transport(
    url: str,
    post: Post,
    name: str,
    *,
    heartbeat_s: int = 60,
    retry_max_s: float = RETRY_MAX_S,
    connect_timeout_s: float = CONNECT_S,
    linger_s: float = LINGER_S,
    driven: bool = False,
) -> Transport:
    """Make the transport for a URL; `start` it to connect.

    Args:
        url: amqp://user:password@host:port/vhost, or amqps:// for TLS.
        post: Where events go. It is called in the transport's own thread: it must not wait.
        name: What the client is called in the broker's list of connections.
        heartbeat_s: Seconds without a sign of life after which a link is asked for one.
        retry_max_s: Seconds, 0.5 or more: the longest wait between two attempts to connect.
        connect_timeout_s: Seconds that one attempt to connect may take.
        linger_s: Seconds for which a connection that reads a stream is kept after use.
        driven: Make one without a thread (`broker.transport.Driven`).

    Raises:
        BrokerUrlError: The URL is not one of RabbitMQ.
    """
    scheme = url.partition("://")[0].lower()
    if scheme == "memory":
        raise BrokerUrlError(
            "memory:// is a broker within one process, which `fedmq demo` makes for itself: "
            "expected amqp://user:password@host:port/vhost to reach a broker from here"
        )
    if scheme not in ("amqp", "amqps"):
        raise BrokerUrlError(
            f"expected a broker URL like amqp://user:password@host:port/vhost, got {mask_url(url)}"
        )
    from broker.rabbitmq import (  # pika costs 0.1 s, which not everybody needs
        DrivenTransport,
        RabbitTransport,
    )

    make = DrivenTransport if driven else RabbitTransport
    return make(
        url,
        post,
        name,
        heartbeat_s=heartbeat_s,
        retry_max_s=retry_max_s,
        connect_timeout_s=connect_timeout_s,
        linger_s=linger_s,
    )
