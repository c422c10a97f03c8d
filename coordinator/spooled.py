"""Counted updates, read once more from where the spool has them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from coordinator.aggregation.counted import Counted
from coordinator.errors import Damaged
from coordinator.records import LedgerRow, Place
from coordinator.spool import Spool
from disk import chunks_of, let_go
from schemas.buffer import Buffer
from schemas.codecs.numbers import Numbers
from schemas.codecs.payload import numbers_of
from schemas.digest import digest_of_stream
from schemas.errors import DecodeError
from schemas.layout import Layout
from schemas.messages import Update, decode
from schemas.tensors import Floats

OPEN_MAX = 256  # payloads that are mapped at a time: each is an open file
VIEWED_BYTES = 256 * 1024  # what is larger is mapped, and not copied


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
        self._open: OrderedDict[int, tuple[memoryview, Numbers]] = OrderedDict()
        self._last = memoryview(b"")

    def read(self, index: int, start: int, stop: int) -> Floats:
        """See `Updates.read`. What was read before is let go of.

        Raises:
            NotKept: If the segment is gone.
            Damaged: If the segment does not hold it.
        """
        let_go(self._last)
        self._last, numbers = self._opened(index)
        return numbers.read(start, stop)

    def _opened(self, index: int) -> tuple[memoryview, Numbers]:
        opened = self._open.get(index)
        if opened is None:
            payload = self._payloads[index]
            view = self._spool.view(payload.where)
            numbers = numbers_of(view, payload.codec, self._layout, payload.update_id)
            opened = self._open[index] = view, numbers
            if len(self._open) > OPEN_MAX:
                self._open.popitem(last=False)
        return opened


def counted_again(rows: Iterable[LedgerRow], spool: Spool) -> Iterator[tuple[Counted, Place]]:
    """Counted updates from the spool, one in memory at a time, and where they lie.

    Raises:
        NotKept: If a segment of the spool is gone.
        Damaged: If the spool does not hold what was received.
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
            passed=partial(let_go, payload),
        )
        yield update, row.where


def _read_again(row: LedgerRow, spool: Spool) -> tuple[Update, Buffer]:
    named = f"the spool's segment {row.where.segment} is damaged: update {row.update_id}"
    try:
        read = spool.view if row.where.length > VIEWED_BYTES else spool.read
        message, payload = decode(read(row.where))
    except DecodeError as error:
        raise Damaged(f"{named}: {error}") from error
    if digest_of_stream(chunks_of(payload)) != row.payload_digest:
        raise Damaged(f"{named} has another digest")
    assert isinstance(message, Update), "the ledger names updates"
    return message, payload
