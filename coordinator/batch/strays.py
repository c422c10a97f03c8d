"""Bytes that take no update id: recorded under their digest, and kept for people to look at."""

from __future__ import annotations

from typing import Literal

from coordinator.batch.steps import Steps
from coordinator.effects import PublishRefused
from coordinator.intake import Stray, incarnation_fault
from schemas.buffer import Buffer
from schemas.digest import digest_of
from schemas.messages import Declined, Presence, Taken, Task


class Strays:
    """What one transaction refuses without an update id, and what it takes though it once did.

    Attributes:
        count: How many messages were refused.
        routing_key: The one that the message came with that is being received.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._desk = steps.desk
        self._work = steps.work
        self.routing_key = ""
        self.count = 0

    def refuse(self, body: Buffer, stray: Stray) -> Literal[False]:
        """Record bytes that take no update id; they are not accepted."""
        digest = digest_of(body)
        claims = {"worker_id": stray.worker_id, "task_id": stray.task_id}
        self._work.record_stray(
            digest, stray.verdict, stray.reason, claims, len(body), self._desk.now
        )
        self.count += 1
        self._desk.stray_sizes[len(body)] = True
        text = f"a message of {len(body)} bytes is refused: {stray.reason}"
        self._steps.lines.append(("refused", text))
        self.keep_copy(body, digest)
        return False

    def keep_copy(self, body: Buffer, message_id: str) -> None:
        """Have a refused message kept for people."""
        self._steps.effects.append(PublishRefused(body, message_id, self.routing_key))

    def accept(self, body: Buffer) -> None:
        """A message was accepted; if it was a stray before, the store learns it."""
        if self._may_have_been_one(len(body)):
            self._work.accept_stray(digest_of(body), self._desk.now)

    def _may_have_been_one(self, num_bytes: int) -> bool:
        """Whether it is worth the time to make a digest of so many bytes."""
        if num_bytes not in self._desk.stray_sizes:
            self._desk.stray_sizes[num_bytes] = self._work.has_strays_of(num_bytes)
        return self._desk.stray_sizes[num_bytes]

    def incarnation_fault(self, message: Taken | Declined | Presence | Task) -> Stray | None:
        """A message with an incarnation that no store can have is a stray."""
        reason = incarnation_fault(message.incarnation, self._desk.expected)
        if not reason:
            return None
        sender = "" if isinstance(message, Task) else message.worker_id
        task_id = "" if isinstance(message, Presence) else message.task_id
        return Stray("malformed", reason, sender, task_id)
