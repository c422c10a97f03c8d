"""Updates in the depot: their parts are read into the spool, as if they came by the broker.

    closing message ── parts are missing ──▶ held ── part by part ──▶ all here ──▶ taken up again
                                              │
                                              ╰── gone, or too long ──▶ acked without a verdict

Rules:

- While its parts are read the closing message stays unacked: if this process ends, the broker
  delivers it again, and the parts that are here are not read again. It is held for `HOLD_S` at
  most, far below the broker's limit for an ack.
- A part is taken like one that came by the broker: there must be room for the upload, it is written
  where it belongs, and is here once the transaction is through.
- What is not there, or has another size, is deleted: the worker, which keeps its update until it
  has a verdict, is told that it is unknown, and puts it again.
- At most `AT_ONCE` updates are read at a time, a part each, and half of the deliveries that may be
  unsettled are held, so that others are delivered meanwhile; a further one is acked without a
  verdict, and sent again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.transport import Delivered
from coordinator.mailbox import FetchFailed, PartFetched
from coordinator.uploads import Upload
from depot import Depot, DepotError, NotInDepot, update_name
from depot.porter import Porter
from schemas.buffer import Buffer
from schemas.messages import Update, UpdatePart, part_span

_log = logging.getLogger(__name__)

AT_ONCE = 2
HOLD_S = 600.0
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
SWEEP_EACH_S = 6 * 3600.0


class Fetching(Protocol):
    """What a batch asks: it reads nothing itself."""

    def takes(self, delivery: Delivered, update: Update) -> bool:
        """Whether the parts of an update that is in the depot can be read now."""
        ...

    def covers(self, update_id: str) -> bool:
        """Whether an update's parts are being read, so that none of them is to be sent again."""
        ...


class NoFetching:
    """There is no depot."""

    def takes(self, delivery: Delivered, update: Update) -> bool:
        """See `Fetching.takes`."""
        return False

    def covers(self, update_id: str) -> bool:
        """See `Fetching.covers`."""
        return False


NO_FETCHING = NoFetching()


@dataclass(slots=True)
class _Held:
    """An update whose parts are being read.

    Attributes:
        left: The parts that are to be read.
        since: When it was held.
        porter: Who reads it, None while it waits for one.
        reading: The number of the last reading; what comes of an earlier one is of no matter.
        retry_at: When to try again, None while it is read, or waits for a porter.
        failures: In a row.
        looked: It lies there whole, as its size says.
    """

    delivery: Delivered
    update: Update
    left: deque[int]
    part_bytes: int
    since: float
    porter: Porter | None = None
    reading: int = 0
    retry_at: float | None = None
    failures: int = 0
    looked: bool = False


class Fetches:
    """The updates whose parts are being read.

    Args:
        depot: Where they lie.
        porters: Who reads there, one update each at a time.
        cleaner: Who deletes there.
        post: Takes what came, from any thread, and a delivery that is to be taken up again.
        ack: Settles a delivery.
        now: The coordinator's time.
        age_s: After how many seconds an update that nobody has asked for is deleted.
        held_max: How many are held.
    """

    def __init__(
        self,
        depot: Depot,
        porters: Sequence[Porter],
        cleaner: Porter,
        post: Callable[[PartFetched | FetchFailed | Delivered], object],
        ack: Callable[[int], object],
        now: Callable[[], float],
        age_s: float,
        held_max: int,
    ) -> None:
        self._depot = depot
        self._idle = list(porters)
        self._cleaner = cleaner
        self._post = post
        self._ack = ack
        self._now = now
        self._age_s = age_s
        self._held_max = held_max
        self._held: dict[Upload, _Held] = {}
        self._taken_up: set[int] = set()  # tags of those that were complete
        self._readings = 0
        self._sweep_at = now() + SWEEP_EACH_S  # what waits on the broker is taken up before

    # what a batch asks

    def takes(self, delivery: Delivered, update: Update) -> bool:
        """See `Fetching.takes`; one that was read to its end, and is not complete, is not again."""
        upload = update.update_id, update.payload_digest
        room = len(self._held) < self._held_max and upload not in self._held
        return room and delivery.tag not in self._taken_up

    def covers(self, update_id: str) -> bool:
        """See `Fetching.covers`."""
        return any(upload[0] == update_id for upload in self._held)

    # what is done

    def begin(
        self, delivery: Delivered, update: Update, missing: Sequence[int], part_bytes: int
    ) -> None:
        """Hold a closing message and read the parts that are missing."""
        upload = update.update_id, update.payload_digest
        if upload in self._held or len(self._held) >= self._held_max:  # two came in one batch
            self._ack(delivery.tag)
            return
        self._held[upload] = _Held(delivery, update, deque(missing), part_bytes, self._now())
        self._pump()

    def is_due(self, event: PartFetched | FetchFailed) -> bool:
        """Whether what came is of a reading under way."""
        held = self._held.get(event.upload)
        return held is not None and held.reading == event.reading

    def kept(self, upload: Upload, index: int, taken: bool) -> None:
        """A transaction is through: a part is here, or there was no room for it."""
        held = self._held.get(upload)
        if held is None or not held.left or held.left[0] != index:
            return
        if not taken:
            self._let_go(upload, "there is no room for it yet")
            return
        held.failures, held.looked = 0, True
        held.left.popleft()
        if held.left:
            self._ask(upload, held)
            return
        del self._held[upload]
        self._free(held)
        self._taken_up.add(held.delivery.tag)
        self._post(held.delivery)
        self._pump()

    def failed(self, event: FetchFailed) -> None:
        """A part was not read."""
        held = self._held[event.upload]
        self._free(held)
        if event.gone:
            self.delete(event.upload)
            self._let_go(event.upload, event.reason)
        else:
            wait_s = RETRY_S[min(held.failures, len(RETRY_S) - 1)]
            held.failures += 1
            held.retry_at = self._now() + wait_s
        self._pump()

    def delete(self, upload: Upload) -> None:
        """Delete an update from the depot, which has its verdict, or is not what it should be."""
        name = update_name(*upload)
        self._cleaner.do(lambda: self._depot.delete(name), _complain)

    def settled(self, tag: int) -> None:
        """A closing message was acked."""
        self._taken_up.discard(tag)

    def forget(self) -> None:
        """The connection is gone: what is held is delivered again."""
        for held in self._held.values():
            self._free(held)
        self._held.clear()
        self._taken_up.clear()

    def wake_at(self) -> float:
        """When to call `tick`."""
        times = [held.retry_at for held in self._held.values() if held.retry_at is not None]
        ends = [held.since + HOLD_S for held in self._held.values()]
        return min([self._sweep_at, *times, *ends])

    def tick(self) -> None:
        """Look at the clock."""
        now = self._now()
        for upload, held in list(self._held.items()):
            if held.since + HOLD_S <= now:
                self._let_go(upload, f"it was not read in {HOLD_S:.0f} s")
            elif held.retry_at is not None and held.retry_at <= now:
                held.retry_at = None
        if self._sweep_at <= now:
            self._sweep_at = now + SWEEP_EACH_S
            before_s = now - self._age_s
            self._cleaner.do(
                lambda: self._depot.expire("updates", before_s, lambda name: False), _complain
            )
        self._pump()

    def _pump(self) -> None:
        """Give those that wait to who is idle, in the order in which they came."""
        for upload, held in self._held.items():
            if not self._idle:
                return
            if held.porter is None and held.retry_at is None:
                held.porter = self._idle.pop()
                self._ask(upload, held)

    def _ask(self, upload: Upload, held: _Held) -> None:
        self._readings += 1
        reading = held.reading = self._readings
        part, name, look = _part_of(held), update_name(*upload), not held.looked
        assert held.porter is not None, "who reads was chosen"

        def tell(came: Buffer | DepotError) -> None:
            if isinstance(came, DepotError):
                gone = isinstance(came, NotInDepot)
                self._post(FetchFailed(upload, reading, str(came), gone))
            else:
                self._post(PartFetched(upload, reading, part, memoryview(came)))

        held.porter.do(lambda: read_part(self._depot, name, part, look=look), tell)

    def _let_go(self, upload: Upload, why: str) -> None:
        """Give a closing message back without a verdict: its worker asks, and sends it again."""
        held = self._held.pop(upload)
        self._free(held)
        _log.info("update %s is not read from the depot: %s", upload[0][:8], why)
        self._ack(held.delivery.tag)

    def _free(self, held: _Held) -> None:
        if held.porter is not None:
            self._idle.append(held.porter)
            held.porter = None


def _part_of(held: _Held) -> UpdatePart:
    update = held.update
    return UpdatePart(
        update_id=update.update_id,
        run_id=update.run_id,
        task_id=update.task_id,
        worker_id=update.worker_id,
        incarnation=update.incarnation,
        layout_digest=update.layout_digest,
        codec=update.codec,
        payload_digest=update.payload_digest,
        payload_bytes=update.payload_bytes,
        part_bytes=held.part_bytes,
        index=held.left[0],
        parts=update.parts,
    )


def read_part(depot: Depot, name: str, part: UpdatePart, *, look: bool) -> Buffer:
    """Read a part's bytes of an update that lies in the depot.

    Args:
        depot: Where it lies.
        name: Its object.
        part: Which part.
        look: Whether its size is looked at before.

    Raises:
        NotInDepot: It is not there, or has another size.
        DepotUnreachable: It may be there.
    """
    found = depot.size(name) if look else part.payload_bytes
    if found != part.payload_bytes:
        came = "nothing" if found is None else f"{found} bytes"
        raise NotInDepot(f"expected {part.payload_bytes} bytes in the depot, found {came}")
    start, end = part_span(part.index, part.payload_bytes, part.part_bytes)
    data = depot.read(name, start, end - start)
    if memoryview(data).nbytes != end - start:
        raise NotInDepot(f"it was cut while it was read: part {part.index} ends early")
    return data


def _complain(came: object) -> None:
    if isinstance(came, DepotError):
        _log.info("updates are not deleted from the depot: %s", came)
