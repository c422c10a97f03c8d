"""A message in a dead queue, as far as it can be read. Pure.

Rules: any bytes give a letter; nothing in it is believed. The bytes' digest is its name, as in the
store's table of strays. Where it came from is said by the routing key, which copies keep; where
that was lost (copies of earlier versions), by the message itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.topology import Names
from broker.transport import Delivered
from schemas.buffer import Buffer
from schemas.digest import digest_of
from schemas.errors import DecodeError, UnsupportedVersion
from schemas.messages import (
    KINDS,
    Declined,
    Message,
    Presence,
    Taken,
    Update,
    UpdatePart,
    decode,
)

ID_DIGITS = 12
_HEX_ROW = 16


@dataclass(frozen=True, slots=True)
class Letter:
    """What a message in a dead queue says of itself.

    Attributes:
        digest: Of its bytes, the payload's too.
        message: None if the bytes are not a message.
        fault: Why they are not.
    """

    digest: str
    num_bytes: int
    routing_key: str
    message_id: str
    message: Message | None
    fault: str = ""

    @property
    def short_id(self) -> str:
        """What people call it."""
        return self.digest[:ID_DIGITS]

    @property
    def kind(self) -> str:
        """The kind of message."""
        if self.message is None:
            return "not a message"
        return kind_of(self.message)

    @property
    def worker_id(self) -> str:
        """The worker in whose name it speaks, "" if it names none."""
        return str(getattr(self.message, "worker_id", ""))

    @property
    def task_id(self) -> str:
        """The task that it is about, "" if it names none."""
        return str(getattr(self.message, "task_id", ""))

    @property
    def update_id(self) -> str:
        """The update that it is or is a part of, "" if it is none."""
        return str(getattr(self.message, "update_id", ""))


def kind_of(message: Message) -> str:
    """The name of a message's kind."""
    return next(kind for kind, cls in KINDS.items() if cls is type(message))


def letter_of(delivered: Delivered) -> Letter:
    """Read a message of a dead queue."""
    message, fault = None, ""
    try:
        message, _ = decode(delivered.body)
    except UnsupportedVersion as error:
        fault = str(error)
    except DecodeError as error:
        fault = f"not a message: {error}"
    return Letter(
        digest=digest_of(delivered.body),
        num_bytes=len(delivered.body),
        routing_key=delivered.routing_key,
        message_id=delivered.message_id,
        message=message,
        fault=fault,
    )


def home_of(letter: Letter, names: Names) -> tuple[str, str] | None:
    """Exchange and routing key that a message came by, None if nothing says so."""
    if letter.routing_key.startswith("u."):
        return names.update_exchange, letter.routing_key
    if letter.routing_key.startswith("c."):
        return names.control_exchange, letter.routing_key
    match letter.message:
        case Update(run_id=run_id, worker_id=worker_id):
            return names.update_exchange, names.update_key(run_id, 0, worker_id)
        case UpdatePart(run_id=run_id, worker_id=worker_id):
            return names.update_exchange, names.update_key(run_id, 0, worker_id)
        case Taken() | Declined() | Presence():
            key = names.control_key(letter.kind, letter.worker_id)
            return names.control_exchange, key
        case _:
            return None


def hexdump(body: Buffer, most: int = 64) -> list[str]:
    """The first bytes, 16 to a line, and as text where they are printable ASCII."""
    lines = []
    for place in range(0, min(len(body), most), _HEX_ROW):
        row = body[place : min(place + _HEX_ROW, most)]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{place:08x}  {row.hex(' '):<47}  {text}")
    return lines
