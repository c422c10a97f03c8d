"""Updates in the depot: their parts are read into the spool, as if they came by the broker.

    closing message ── parts are missing ──▶ held ── part by part ──▶ all here ──▶ taken up again
                                              │
                                              ╰── gone, or silence ──▶ let go without a verdict

Rules:

- At most `AT_ONCE` updates are read at a time, a part each; others wait for their turn. All of them
  are in hand: their workers are told so, and do not take the depot for broken.
- The closing message stays unacked while it is held: if this process ends, the broker delivers it
  again, and the parts that are here are not read again. But at most half of the deliveries that may
  be unsettled stay so, that others are delivered meanwhile, and none longer than `ACK_S`, far below
  the broker's limit. A further one is acked, and is in memory only: if this process ends its worker
  hears that it is unknown, and closes it again.
- A part is taken like one that came by the broker: there must be room for the upload, it is written
  where it belongs, and is here once the transaction is through. While there is no room it waits.
- What is not there, or has another size, is deleted: the worker, which keeps its update until it
  has a verdict, is told that it is unknown, and puts it again.
- One of which no part came for `HOLD_S` since its turn came is let go; and if no part of any other
  came in that time, so are all: their workers may know another way.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.transport import Delivered
from coordinator.mailbox import FetchFailed, PartFetched
from coordinator.uploads import Upload
from depot import Depot, DepotError, NotInDepot, update_name
from depot.porter import Porter
from schemas.buffer import Buffer
from schemas.messages import Update, UpdatePart, part_count, part_of, part_span

_log = logging.getLogger(__name__)

AT_ONCE = 2
HELD_MAX = 1024  # closing messages, 1 KB each
HOLD_S = 600.0
ACK_S = 600.0
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
ROOM_S = 10.0  # between two looks for room on disk
SWEEP_EACH_S = 6 * 3600.0


class Fetching(Protocol):
    """What a batch asks: it reads nothing itself."""

    def takes(self, delivery: Delivered, update: Update) -> bool:
        """Whether an update that is in the depot is held from now on, and its parts are read."""
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
    """An update whose parts are read, or wait for their turn.

    Attributes:
        left: The parts that are to be read; none if it is to be taken up, or was.
        ack_at: When its closing message is acked at the latest, None if it was.
        heard_at: When its turn came, or a part last; None while it waits for that.
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
    ack_at: float | None
    heard_at: float | None = None
    porter: Porter | None = None
    reading: int = 0
    retry_at: float | None = None
    failures: int = 0
    looked: bool = False

    @property
    def parts(self) -> int:
        """How many there are in all."""
        return part_count(self.update.payload_bytes, self.part_bytes)


class Fetches:
    """The updates whose parts are read, or wait for their turn, the oldest first.

    Args:
        depot: Where they lie.
        porters: Who reads there, one update each at a time.
        cleaner: Who deletes there.
        post: Takes what came, from any thread.
        ack: Settles a delivery.
        now: The coordinator's time.
        age_s: After how many seconds an update that nobody has asked for is deleted.
        unsettled_max: How many closing messages stay unacked.
    """

    def __init__(
        self,
        depot: Depot,
        porters: Sequence[Porter],
        cleaner: Porter,
        post: Callable[[PartFetched | FetchFailed], object],
        ack: Callable[[int], object],
        now: Callable[[], float],
        age_s: float,
        unsettled_max: int,
    ) -> None:
        self._depot = depot
        self._idle = list(porters)
        self._cleaner = cleaner
        self._post = post
        self._ack = ack
        self._now = now
        self._age_s = age_s
        self._unsettled_max = unsettled_max
        self._held: dict[Upload, _Held] = {}
        self._held_of: Counter[str] = Counter()  # by update id
        self._upload_of: dict[int, Upload] = {}  # by the tag of its closing message
        self._complete: deque[Upload] = deque()
        self._readings = 0
        self._read_at = now()  # when a part last came, of any
        self._sweep_at = now() + SWEEP_EACH_S  # what waits on the broker is taken up before

    # what a batch asks

    def takes(self, delivery: Delivered, update: Update) -> bool:
        """See `Fetching.takes`; one that was read to its end, and is not complete, is not again."""
        upload = update.update_id, update.payload_digest
        return len(self._held) < HELD_MAX and upload not in self._held

    def covers(self, update_id: str) -> bool:
        """See `Fetching.covers`."""
        return update_id in self._held_of

    # what is done

    def begin(
        self, delivery: Delivered, update: Update, missing: Sequence[int], part_bytes: int
    ) -> None:
        """Hold a closing message, and read the parts that are missing when their turn comes."""
        upload = update.update_id, update.payload_digest
        if upload in self._held or len(self._held) >= HELD_MAX:  # two came in one batch
            self._ack(delivery.tag)
            return
        if not self._held:
            self._read_at = self._now()
        ack_at = self._now() + ACK_S
        held = _Held(delivery, update, deque(missing), part_bytes, ack_at)
        if sum(other.ack_at is not None for other in self._held.values()) >= self._unsettled_max:
            self._settle(held)
        self._held[upload] = held
        self._held_of[upload[0]] += 1
        self._upload_of[delivery.tag] = upload
        self._pump()

    def complete(self) -> list[Delivered]:
        """The closing messages of which all parts are here: to be taken up again, each once."""
        found = [self._held[upload].delivery for upload in self._complete]
        self._complete.clear()
        return found

    def is_due(self, event: PartFetched | FetchFailed) -> bool:
        """Whether what came is of a reading under way."""
        held = self._held.get(event.upload)
        return held is not None and held.reading == event.reading

    def kept(self, upload: Upload, index: int, taken: bool) -> None:
        """A transaction is through: a part is here, or there was no room for it."""
        held = self._held.get(upload)
        if held is None or not held.left or held.left[0] != index:
            return
        held.failures, held.looked = 0, True
        held.heard_at = self._read_at = self._now()
        if taken:
            held.left.popleft()
        else:
            self._wait_for_room(held)
        if not held.left:
            self._free(held)
            self._complete.append(upload)
        elif held.porter is not None:
            self._ask(upload, held)
        self._pump()

    def _wait_for_room(self, held: _Held) -> None:
        """There is no room for it, nor for others of which nothing is here; the rest has room."""
        self._free(held)
        held.heard_at, held.left = None, deque(range(held.parts))  # what was here gave way
        for other in self._held.values():
            if other.porter is None and len(other.left) == other.parts:
                other.retry_at = self._now() + ROOM_S

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

    def settle(self, tag: int) -> bool:
        """A delivery is dealt with; whether it is still to be acked."""
        upload = self._upload_of.get(tag)
        return upload is None or self._drop(upload).ack_at is not None

    def forget(self) -> None:
        """The connection is gone: what was not acked is delivered again, the rest goes on.

        What came of it and is not in the store is read once more.
        """
        self._complete.clear()
        for upload, held in list(self._held.items()):
            if held.ack_at is not None:
                self._drop(upload)
                continue
            self._free(held)
            held.reading, held.retry_at, held.heard_at = 0, None, None
            if not held.left:
                self._complete.append(upload)

    def wake_at(self) -> float:
        """When to call `tick`."""
        times = [self._sweep_at]
        for held in self._held.values():
            if held.left:
                times += [at for at in (held.retry_at, held.ack_at) if at is not None]
                times += [] if held.heard_at is None else [held.heard_at + HOLD_S]
        return min(times)

    def tick(self) -> None:
        """Look at the clock."""
        now = self._now()
        self._let_silent_go(now)
        for held in self._held.values():
            if held.ack_at is not None and held.ack_at <= now and held.left:
                self._settle(held)
            if held.retry_at is not None and held.retry_at <= now:
                held.retry_at = None
        if self._sweep_at <= now:
            self._sweep_at = now + SWEEP_EACH_S
            before_s = now - self._age_s
            self._cleaner.do(
                lambda: self._depot.expire("updates", before_s, lambda name: False), _complain
            )
        self._pump()

    def _let_silent_go(self, now: float) -> None:
        """Let go of what the depot is silent about; if it is about everything, of all."""
        before = now - HOLD_S
        silent = [
            upload
            for upload, held in self._held.items()
            if held.left and held.heard_at is not None and held.heard_at <= before
        ]
        if silent and self._read_at <= before:
            silent = [upload for upload, held in self._held.items() if held.left]
        for upload in silent:
            self._let_go(upload, f"it was not read in {HOLD_S:.0f} s")
        if silent:
            what = "updates are not read from the depot, which was silent for %.0f s: %d"
            _log.warning(what, HOLD_S, len(silent))

    def _pump(self) -> None:
        """Give those that wait to who is idle, in the order in which they came."""
        for upload, held in self._held.items():
            if not self._idle:
                return
            if held.left and held.porter is None and held.retry_at is None:
                held.porter = self._who_reads()
                held.heard_at = self._now() if held.heard_at is None else held.heard_at
                self._ask(upload, held)

    def _who_reads(self) -> Porter:
        """Who is free; who hangs at what nobody waits for any more only if nobody is."""
        place = next((n for n, porter in enumerate(self._idle) if not porter.is_busy), 0)
        return self._idle.pop(place)

    def _ask(self, upload: Upload, held: _Held) -> None:
        self._readings += 1
        reading = held.reading = self._readings
        part = part_of(held.update, held.part_bytes, held.left[0])
        name, look = update_name(*upload), not held.looked
        assert held.porter is not None, "who reads was chosen"

        def tell(came: Buffer | DepotError) -> None:
            if isinstance(came, DepotError):
                gone = isinstance(came, NotInDepot)
                self._post(FetchFailed(upload, reading, str(came), gone))
            else:
                self._post(PartFetched(upload, reading, part, memoryview(came)))

        held.porter.do_instead(lambda: read_part(self._depot, name, part, look=look), tell)

    def _let_go(self, upload: Upload, why: str) -> None:
        """Hold it no more, without a verdict: its worker asks, and sends it again."""
        _log.info("update %s is not read from the depot: %s", upload[0][:8], why)
        self._settle(self._drop(upload))

    def _settle(self, held: _Held) -> None:
        if held.ack_at is not None:
            held.ack_at = None
            self._ack(held.delivery.tag)

    def _drop(self, upload: Upload) -> _Held:
        held = self._held.pop(upload)
        self._free(held)
        del self._upload_of[held.delivery.tag]
        self._held_of[upload[0]] -= 1
        if not self._held_of[upload[0]]:
            del self._held_of[upload[0]]
        return held

    def _free(self, held: _Held) -> None:
        if held.porter is not None:
            self._idle.append(held.porter)
            held.porter = None


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
