"""What the coordinator's one thread is told, whoever tells it."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Mapping
from dataclasses import dataclass

from broker.transport import Event as TransportEvent
from coordinator.uploads import Upload
from schemas.messages import UpdatePart
from settings.health import Reply

BATCH_MAX = 256  # events at a time: no delivery waits long for its ack


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A version was evaluated."""

    version: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ModelPut:
    """A version was put into the depot, or was not.

    Attributes:
        attempt: Which attempt to put one this was.
        error: Why it is not there, "" if it is.
    """

    attempt: int
    error: str


@dataclass(frozen=True, slots=True)
class ModelSeen:
    """A version that a worker did not find in the depot was looked for there.

    Attributes:
        attempt: Which attempt to put it came before.
        fault: What is wrong with it, "" if nothing is.
        error: Why it could not be looked for, "" if it was.
    """

    attempt: int
    fault: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class PartFetched:
    """A part of an update was read from the depot.

    Attributes:
        upload: Which update, and the digest of its payload.
        reading: The number of the reading that asked for it.
    """

    upload: Upload
    reading: int
    part: UpdatePart
    payload: memoryview


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A part of an update was not read from the depot.

    Attributes:
        upload: As of `PartFetched`.
        reading: Likewise.
        gone: The update is not there; else it may be tried again.
    """

    upload: Upload
    reading: int
    reason: str
    gone: bool


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Someone asked the service to stop; the run goes on at the next start."""


@dataclass(frozen=True, slots=True)
class ReloadRequested:
    """Someone changed the settings and asks the service to read them again."""


@dataclass(frozen=True, slots=True)
class HealthAsked:
    """Someone asked how the service is."""

    reply: Reply


AboutModel = ModelPut | ModelSeen
FromDepot = AboutModel | PartFetched | FetchFailed
Asked = StopRequested | ReloadRequested | HealthAsked
MailboxEvent = TransportEvent | Evaluated | FromDepot | Asked
Mailbox = queue.SimpleQueue[MailboxEvent]


def take_events(mailbox: Mailbox, timeout_s: float | None) -> list[MailboxEvent]:
    """Wait for an event, then take what came with it; none if the time passes.

    Args:
        mailbox: Where they are.
        timeout_s: How long to wait for the first, None for ever.
    """
    events: list[MailboxEvent] = []
    with contextlib.suppress(queue.Empty):
        events.append(mailbox.get(timeout=timeout_s))
        while len(events) < BATCH_MAX:
            events.append(mailbox.get_nowait())
    return events
