"""Publishes a message with headers that pika can neither write nor read, as any publisher may."""

from __future__ import annotations

import struct

import pika

_HEADERS = 1 << 13


def nested(depth: int) -> bytes:
    """A table in a table in a table."""
    table = b""
    for _ in range(depth):
        table = b"\1tF" + struct.pack(">L", len(table)) + table
    return table


STRANGE = {"no year": b"\1t" + b"T" + b"\xff" * 8, "nested": nested(1000)}
"""Tables that RabbitMQ takes and passes on, by what is strange about them."""


def publish_strangely(url: str, queue: str, table: bytes, body: bytes) -> None:
    """Publish a message with a table of headers, and see it confirmed."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("", queue, body, _Raw(table), mandatory=True)
    connection.close()


class _Raw(pika.BasicProperties):  # type: ignore[misc]
    def __init__(self, table: bytes) -> None:
        super().__init__()
        self._table = table

    def encode(self) -> list[bytes]:
        return [struct.pack(">HL", _HEADERS, len(self._table)), self._table]
