"""Counted updates, read once more from where the spool has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from coordinator.aggregation.counted import Counted
from coordinator.errors import StoreError
from coordinator.records import LedgerRow, Place
from coordinator.spool import Spool
from schemas.buffer import Buffer
from schemas.digest import digest_of
from schemas.errors import DecodeError
from schemas.layout import Layout
from schemas.messages import Update, decode
from schemas.tensors import Floats

FLOAT_BYTES = 4


class SpooledUpdates:
    """The updates of a round, in blocks. A `coordinator.aggregation.counted.Updates`.

    Args:
        spool: Where they are.
        places: Where each message of theirs lies.
        layout: Of the model.
    """

    def __init__(self, spool: Spool, places: Sequence[Place], layout: Layout) -> None:
        self._spool = spool
        self._places = places
        self._payload_bytes = layout.update_bytes

    def read(self, index: int, start: int, stop: int) -> Floats:
        """See `Updates.read`.

        Raises:
            NotKept: If the segment is gone.
            StoreError: If the segment does not hold it.
        """
        whole = self._places[index]
        # The payload ends a message, and its floats begin the payload.
        first = whole.place + whole.length - self._payload_bytes + FLOAT_BYTES * start
        part = Place(whole.segment, first, FLOAT_BYTES * (stop - start))
        return np.frombuffer(self._spool.read(part), "<f4")


def counted_again(rows: Iterable[LedgerRow], spool: Spool) -> Iterator[tuple[Counted, Place]]:
    """Counted updates from the spool, one in memory at a time, and where they lie.

    Raises:
        NotKept: If a segment of the spool is gone.
        StoreError: If the spool does not hold what was received.
    """
    for row in rows:
        message, payload = _read_again(row, spool)
        update = Counted(
            payload=payload,
            worker_id=row.worker_id,
            base_version=row.base_version,
            weight=row.weight,
            examples=row.full_weight,
            local_steps=row.local_steps,
            codec=message.codec,
            update_id=row.update_id,
        )
        yield update, row.where


def _read_again(row: LedgerRow, spool: Spool) -> tuple[Update, Buffer]:
    try:
        message, payload = decode(spool.read(row.where))
    except DecodeError as error:
        raise StoreError(f"the spool is damaged: update {row.update_id}: {error}") from error
    if digest_of(payload) != row.payload_digest:
        raise StoreError(f"the spool is damaged: update {row.update_id} has another digest")
    assert isinstance(message, Update), "the ledger names updates"
    return message, payload
