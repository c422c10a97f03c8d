"""Counted updates, read once more from where the spool has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from coordinator.aggregation.counted import Counted
from coordinator.errors import StoreError
from coordinator.records import LedgerRow, Place
from coordinator.spool import Spool
from schemas.buffer import Buffer
from schemas.codecs.names import FP32
from schemas.codecs.payload import numbers_of
from schemas.digest import digest_of
from schemas.errors import DecodeError
from schemas.layout import Layout
from schemas.messages import Update, decode
from schemas.tensors import Floats

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Payload:
    """Where the payload of a counted update lies, and how it is to be read."""

    where: Place
    codec: str
    update_id: str


def payload_of(update: Counted, message: Place) -> Payload:
    """Where the payload of an update lies whose message lies there: it ends the message."""
    size = memoryview(update.payload).nbytes
    where = Place(message.segment, message.place + message.length - size, size)
    return Payload(where, update.codec, update.update_id)


class SpooledUpdates:
    """The updates of a round, in blocks. A `coordinator.aggregation.counted.Updates`.

    Args:
        spool: Where they are.
        payloads: Where each of them lies.
        layout: Of the model.
    """

    def __init__(self, spool: Spool, payloads: Sequence[Payload], layout: Layout) -> None:
        self._spool = spool
        self._payloads = payloads
        self._layout = layout

    def read(self, index: int, start: int, stop: int) -> Floats:
        """See `Updates.read`.

        Raises:
            NotKept: If the segment is gone.
            StoreError: If the segment does not hold it.
        """
        payload = self._payloads[index]
        where = payload.where
        if payload.codec == FP32:
            first = where.place + FLOAT_BYTES * start
            part = Place(where.segment, first, FLOAT_BYTES * (stop - start))
            return np.frombuffer(self._spool.read(part), "<f4")
        whole = self._spool.read(where)
        return numbers_of(whole, payload.codec, self._layout, payload.update_id).read(start, stop)


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
