"""What messages about updates carry: read from the outbox, and looked at once.

A payload is looked at before it is sent, since a disk may change what it was given; but not right
behind its being written, and not for each of its parts. A small one that lies in its row is always
looked at: that costs some microseconds.
"""

from __future__ import annotations

from dataclasses import replace

from schemas.buffer import Buffer
from schemas.messages import head_of, part_of, part_span
from worker.disk import is_just_written
from worker.store import Store

Body = tuple[str, bytes, Buffer]
"""A run, and the head and payload of a frame about it."""


class Shipping:
    """Makes messages of what is in the outbox.

    Methods that read raise:
        PayloadLostError: The payload is missing, or not what was written any more.
        StoreError: It cannot be read now: it may be later.

    Args:
        store: Whose outbox.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # Uploads whose payload was looked at. When one was confirmed as a whole and is wanted
        # again, it is looked at again: the coordinator may have found what had rotted meanwhile.
        self._sound: set[str] = set()
        # Written just now, and so sent at once, in this connection: looked at if sent again.
        self._written: set[str] = set()

    def written(self, update_id: str) -> None:
        """An update was written just now, and is sent at once."""
        self._written.add(update_id)

    def look_again(self, update_id: str) -> None:
        """All of an upload was confirmed, or is wanted again."""
        self._sound.discard(update_id)

    def gone(self, update_id: str) -> None:
        """An update is in the outbox no more."""
        self._sound.discard(update_id)
        self._written.discard(update_id)

    def went_offline(self) -> None:
        """What was to be sent at once is not."""
        self._written.clear()

    def update(self, update_id: str, *, stored: bool) -> Body:
        """An update's own message: with its payload if it is the only one.

        Args:
            update_id: Which.
            stored: Its payload, if that is not here, lies in the depot.
        """
        is_new = self._is_just_written(update_id)
        update, payload = self._store.to_send(update_id, look=not is_new)
        if stored and not payload:
            update = replace(update, stored=True)
        return update.run_id, head_of(update, len(payload)), payload

    def part(self, update_id: str, index: int) -> Body:
        """The message of one part."""
        self._make_sure(update_id)
        update, part_bytes = self._store.update(update_id)
        span = part_span(index, update.payload_bytes, part_bytes)
        payload = self._store.payload(update_id, *span)
        head = head_of(part_of(update, part_bytes, index), len(payload))
        return update.run_id, head, payload

    def whole(self, update_id: str) -> tuple[str, Buffer]:
        """A payload's digest, and all of it in place."""
        self._make_sure(update_id)
        update, _ = self._store.update(update_id)
        return update.payload_digest, self._store.view_payload(update_id)

    def _make_sure(self, update_id: str) -> None:
        if update_id not in self._sound:
            if not self._is_just_written(update_id):
                self._store.check_payload(update_id)
            self._sound.add(update_id)

    def _is_just_written(self, update_id: str) -> bool:
        """Whether nothing can have happened to a payload yet. Said once of each.

        We may have been asleep since its training process wrote it.
        """
        is_new = update_id in self._written
        self._written.discard(update_id)
        return is_new and is_just_written(self._store.payload_age_s(update_id))
