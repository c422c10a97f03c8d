"""From the outbox to the broker. Pure.

    Due ──▶ OnWay ──(one message: confirmed)──────────────────▶ released
     ▲ │      │  ├───(parts, then the closing message)──▶ AwaitingVerdict ──(verdict)──▶ settled
     │ │      │  ╰───(into the depot, then likewise)──────▲  │
     │ ╰──────│──────────────── in hand ──────────────────╯  │
     ├────────╯ returned, refused, in doubt, connection lost │
     ╰──────────────── parts missing, or unknown ────────────╯

Rules of the file:

- A single-message update leaves the outbox on its confirm; an upload in parts only on a verdict.
- The closing message of an upload is sent when every part before it was confirmed.
- What would go in parts goes by the depot where the coordinator takes that, unless some of it went
  in parts. If the depot is of no use `DEPOT_TRIES` times, as the put fails or no verdict comes of
  it, the update goes in parts: no reconnect sets this back, or it might begin anew with each.
- The broker's connection may come and go while an update is put into the depot.
- At most `WINDOW` messages are unconfirmed at a time, and of a large upload less than a twentieth;
  what was confirmed is not sent again unless the coordinator says that it is missing. Besides,
  `PUTS` updates are put into the depot at a time: who waits for that holds up nobody else.
- What was in flight when the connection was lost may have arrived. So the coordinator's word is
  waited for, a little, before any of it is sent again.
- "Unknown" and "missing" are believed only some time after sending, longer each time: the question
  may have overtaken the update, which would be sent for ever.
- What the coordinator has "in hand" is waited for: that it is busy is no fault of the depot.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from schemas.frozen import replace
from schemas.messages import Standing
from worker.events import (
    Action,
    Actions,
    Forget,
    MarkSent,
    PutObject,
    Ref,
    Release,
    SendPart,
    SendUpdate,
    Settle,
)
from worker.options import Moment
from worker.parcel import Parcel

WINDOW = 4
PUTS = 1
LARGE = 42  # parts from which on a twentieth of them is two or more
DEPOT_TRIES = 3
_STANDING_S = 10.0  # how long to wait for the coordinator's word on what is missing
_DOUBT_S, _DOUBT_MOST_S = 10.0, 600.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts to be sent before the closing message: some out of turn, then a range.

    A range, since an upload may have so many that they cannot be listed at each confirm.
    """

    again: tuple[int, ...] = ()
    rest: range = range(0)

    def __bool__(self) -> bool:
        return bool(self.again) or bool(self.rest)

    def take(self, room: int) -> tuple[tuple[int, ...], Parts]:
        """The next of them, and what is then left."""
        first = self.again[:room]
        more = self.rest[: room - len(first)]
        return (*first, *more), Parts(self.again[room:], self.rest[len(more) :])

    def first(self, *indices: int) -> Parts:
        """The same with others before them."""
        return Parts((*indices, *self.again), self.rest)

    def without_arrived(self, missing: tuple[int, ...]) -> Parts:
        """The same but for those that were in doubt and have arrived.

        Args:
            missing: Those that have not; a long list may end before all are named.
        """
        last, named = max(missing, default=math.inf), set(missing)
        again = tuple(index for index in self.again if index in named or index > last)
        return Parts(again, self.rest)


@dataclass(frozen=True, slots=True)
class Due:
    """To be sent from `at` on.

    Attributes:
        parts: Which parts, before the closing message; None for all.
    """

    at: float
    parts: Parts | None = None


@dataclass(frozen=True)
class OnWay:
    """Being sent.

    Attributes:
        left: The parts to be sent before the closing message.
        flying: What is published and not yet confirmed.
        not_before: Nothing more is published before: the last attempt failed.
        stored: It goes by the depot: the one part is all of it.
        instead: The parts that are to be sent if the depot is of no use; None for all.
    """

    left: Parts
    flying: frozenset[Ref] = frozenset()
    not_before: float = -math.inf
    stored: bool = False
    instead: Parts | None = None

    @property
    def has_more(self) -> bool:
        """Whether there is something to publish: a part, or what closes all."""
        return bool(self.left) or not self.flying

    @property
    def is_put(self) -> bool:
        """Whether it is being put into the depot."""
        return self.stored and any(ref.about == "object" for ref in self.flying)


@dataclass(frozen=True, slots=True)
class AwaitingVerdict:
    """An upload that is confirmed as a whole; before `doubted_until` it may not be known yet."""

    doubted_until: float


Phase = Due | OnWay | AwaitingVerdict


@dataclass(frozen=True)
class Shipment:
    """An update on its way.

    Attributes:
        failures: Attempts in a row that failed.
        uploads: How often the whole of it was confirmed.
        stored: When it set out last, it went by the depot.
        depot_failures: How often that was of no use; nothing sets it back.
    """

    parcel: Parcel
    phase: Phase
    failures: int = 0
    uploads: int = 0
    stored: bool = False
    depot_failures: int = 0


@dataclass(frozen=True)
class Sending:
    """All that is in the outbox, the oldest first.

    Attributes:
        stored_from: Updates from so many bytes on may go by the depot, as the coordinator has said
            in this connection; None if it has not.
    """

    shipments: tuple[Shipment, ...] = ()
    stored_from: int | None = None

    @property
    def payload_bytes(self) -> int:
        """What the outbox weighs."""
        return sum(shipment.parcel.payload_bytes for shipment in self.shipments)

    @property
    def has_unsent(self) -> bool:
        """Whether something is not yet in the broker's hands."""
        return any(not isinstance(s.phase, AwaitingVerdict) for s in self.shipments)

    @property
    def in_flight(self) -> int:
        """Messages published and not yet confirmed."""
        on_way = (s.phase for s in self.shipments if isinstance(s.phase, OnWay))
        return sum(len(phase.flying) for phase in on_way if not phase.is_put)

    @property
    def puts(self) -> int:
        """Updates that are being put into the depot."""
        return sum(isinstance(s.phase, OnWay) and s.phase.is_put for s in self.shipments)


Step = tuple[Sending, Actions]


def begin(parcels: tuple[Parcel, ...]) -> Sending:
    """What the outbox holds at start."""
    return Sending(
        tuple(
            Shipment(parcel, AwaitingVerdict(0.0) if parcel.sent else Due(math.inf))
            for parcel in parcels
        )
    )


def add(sending: Sending, parcel: Parcel, moment: Moment) -> Sending:
    """A finished update; nothing changes if it is there."""
    if any(s.parcel.update_id == parcel.update_id for s in sending.shipments):
        return sending
    at = moment.now if moment.online else math.inf
    return replace(sending, shipments=(*sending.shipments, Shipment(parcel, Due(at))))


def went_online(sending: Sending, now: float) -> Sending:
    """Everything is due; an upload of which some is in doubt waits to hear what is missing."""

    def due(shipment: Shipment) -> Shipment:
        match shipment.phase:
            case Due(_, parts):
                doubtful = shipment.parcel.parts and (parts is None or parts.again)
                at = now + _STANDING_S if doubtful else now
                return replace(shipment, phase=Due(at, parts), failures=0)
            case OnWay() | AwaitingVerdict():
                return shipment
            case unreachable:
                assert_never(unreachable)

    return replace(sending, shipments=tuple(map(due, sending.shipments)))


def went_offline(sending: Sending) -> Sending:
    """What was in flight is in doubt: due again when the broker is back.

    What is being put into the depot still is.
    """

    def stop(shipment: Shipment) -> Shipment:
        match shipment.phase:
            case OnWay() if shipment.phase.is_put:
                return shipment
            case OnWay():
                return replace(shipment, phase=Due(math.inf, _remaining(shipment.phase)))
            case Due(_, parts):
                return replace(shipment, phase=Due(math.inf, parts))
            case AwaitingVerdict():
                return shipment
            case unreachable:
                assert_never(unreachable)

    return replace(sending, shipments=tuple(map(stop, sending.shipments)), stored_from=None)


def open_updates(sending: Sending) -> tuple[str, ...]:
    """Updates worth asking about: all but those that the broker is getting.

    What is being put into the depot may take long, and nobody else knows of it.
    """
    return tuple(
        s.parcel.update_id
        for s in sending.shipments
        if not (isinstance(s.phase, OnWay) and s.phase.flying) or s.phase.is_put
    )


def parcel(sending: Sending, update_id: str) -> Parcel | None:
    """An update of the outbox, None if it is not there."""
    found = (s.parcel for s in sending.shipments if s.parcel.update_id == update_id)
    return next(found, None)


def pump(sending: Sending, moment: Moment) -> Step:
    """Send what is due, as far as the window allows."""
    if not sending.shipments or not moment.online:
        return sending, ()
    room = {False: WINDOW - sending.in_flight, True: PUTS - sending.puts}
    shipments: list[Shipment] = []
    actions: list[Action] = []
    for shipment in sending.shipments:
        is_put = _is_to_be_put(shipment, sending.stored_from)
        if room[is_put] > 0:
            shipment, sent = _send(shipment, room[is_put], moment, is_put)
            room[is_put] -= len(sent)
            actions += sent
        shipments.append(shipment)
    return replace(sending, shipments=tuple(shipments)), tuple(actions)


def _is_to_be_put(shipment: Shipment, stored_from: int | None) -> bool:
    """Whether what is to be done next, if anything, is to put it into the depot.

    What the coordinator has of it, and has not read from the depot itself, came in parts.
    """
    phase, parcel = shipment.phase, shipment.parcel
    match phase:
        case OnWay():
            return phase.stored and bool(phase.left)
        case Due():
            if stored_from is None or parcel.parts == 0 or parcel.payload_bytes < stored_from:
                return False
            went_in_parts = phase.parts is not None and not shipment.stored
            return not went_in_parts and shipment.depot_failures < DEPOT_TRIES
        case AwaitingVerdict():
            return False
        case unreachable:
            assert_never(unreachable)


def _set_out(parcel: Parcel, due: Due, *, stored: bool) -> OnWay:
    if stored:
        return OnWay(Parts(rest=range(1)), stored=True, instead=due.parts)
    return OnWay(Parts(rest=range(parcel.parts)) if due.parts is None else due.parts)


def _send(shipment: Shipment, room: int, moment: Moment, is_put: bool) -> tuple[Shipment, Actions]:
    phase, parcel = shipment.phase, shipment.parcel
    if isinstance(phase, Due) and phase.at <= moment.now:
        phase = _set_out(parcel, phase, stored=is_put)
    if not isinstance(phase, OnWay) or phase.not_before > moment.now:
        return shipment, ()
    now_sent, left = phase.left.take(min(room, _window(parcel) - len(phase.flying)))
    actions: list[Action] = []
    flying = set(phase.flying)
    for index in now_sent:
        ref = Ref("object" if phase.stored else "part", parcel.update_id, index, moment.serial)
        flying.add(ref)
        actions.append(
            PutObject(ref, parcel.update_id)
            if phase.stored
            else SendPart(ref, parcel.update_id, index)
        )
    if not phase.left and not flying:
        ref = Ref("update", parcel.update_id, 0, moment.serial)
        flying.add(ref)
        actions.append(SendUpdate(ref, parcel.update_id, phase.stored))
    phase = OnWay(left, frozenset(flying), stored=phase.stored, instead=phase.instead)
    return replace(shipment, phase=phase, stored=phase.stored), tuple(actions)


def _window(parcel: Parcel) -> int:
    """How many parts of an upload may be unconfirmed: a cut link costs no more than those."""
    return min(WINDOW, max(2, parcel.parts // 21)) if parcel.parts >= LARGE else WINDOW


def published(sending: Sending, ref: Ref, moment: Moment) -> Step:
    """The broker has confirmed a message."""

    def confirmed(shipment: Shipment) -> tuple[Shipment | None, Actions]:
        phase, parcel = shipment.phase, shipment.parcel
        if not isinstance(phase, OnWay) or ref not in phase.flying:
            return shipment, ()
        if ref.about == "object" and not moment.online:  # what is missing is to be heard before
            return replace(shipment, phase=Due(math.inf, phase.instead), failures=0), ()
        if ref.about in ("part", "object"):
            phase = replace(phase, flying=phase.flying - {ref})
            return replace(shipment, phase=phase, failures=0), ()
        if parcel.parts == 0:
            return None, (Release(parcel.update_id),)
        wait_s = min(_DOUBT_MOST_S, _DOUBT_S * 2.0 ** min(shipment.uploads, 10))
        awaiting = AwaitingVerdict(moment.now + wait_s)
        shipment = replace(shipment, phase=awaiting, failures=0, uploads=shipment.uploads + 1)
        return shipment, (MarkSent(parcel.update_id, True),)

    return _each(sending, ref.subject, confirmed)


def unpublished(sending: Sending, ref: Ref, moment: Moment) -> Step:
    """A message was returned, refused, or is in doubt: it is sent again, later."""

    def failed(shipment: Shipment) -> tuple[Shipment | None, Actions]:
        phase = shipment.phase
        if not isinstance(phase, OnWay) or ref not in phase.flying:
            return shipment, ()
        at = moment.retry_at(shipment.failures)
        shipment = replace(shipment, failures=shipment.failures + 1)
        if ref.about == "object":
            shipment = replace(shipment, depot_failures=shipment.depot_failures + 1)
            due = Due(at if moment.online else math.inf, phase.instead)
            return replace(shipment, phase=due), ()
        left = phase.left if ref.about == "update" else phase.left.first(ref.index)
        phase = replace(phase, left=left, flying=phase.flying - {ref}, not_before=at)
        return replace(shipment, phase=phase), ()

    return _each(sending, ref.subject, failed)


def stands(sending: Sending, standing: Standing, moment: Moment) -> Step:
    """The coordinator told verdicts, missing parts, and which updates are unknown or in hand."""
    actions: list[Action] = [Settle(i, verdict) for i, verdict in standing.verdicts.items()]
    shipments: list[Shipment] = []
    for shipment in sending.shipments:
        update_id = shipment.parcel.update_id
        if update_id in standing.verdicts:
            continue
        if update_id in standing.missing:
            shipment, more = _wanted(shipment, standing.missing[update_id], moment)
            actions += more
        elif update_id in standing.unknown:
            shipment, more = _unknown(shipment, moment)
            actions += more
        elif update_id in standing.in_hand:
            shipment, more = _in_hand(shipment, moment)
            actions += more
        shipments.append(shipment)
    return replace(sending, shipments=tuple(shipments)), tuple(actions)


def _wanted(
    shipment: Shipment, missing: tuple[int, ...], moment: Moment
) -> tuple[Shipment, Actions]:
    parcel = shipment.parcel
    parts = Parts(tuple(sorted({index for index in missing if index < parcel.parts})))
    match shipment.phase:
        case OnWay():
            return shipment, ()
        case Due(_, left):
            due = parts if left is None else left.without_arrived(missing)
            return replace(shipment, phase=Due(moment.now, due)), ()
        case AwaitingVerdict(doubted_until) if doubted_until <= moment.now:
            return _again(shipment, parts, moment)
        case AwaitingVerdict():
            return shipment, ()
        case unreachable:
            assert_never(unreachable)


def _unknown(shipment: Shipment, moment: Moment) -> tuple[Shipment, Actions]:
    match shipment.phase:
        case Due(at, parts) if shipment.failures == 0:
            return replace(shipment, phase=Due(min(at, moment.now), parts)), ()
        case AwaitingVerdict(doubted_until) if doubted_until <= moment.now:
            return _again(shipment, None, moment)
        case OnWay() | Due() | AwaitingVerdict():
            return shipment, ()
        case unreachable:
            assert_never(unreachable)


def _in_hand(shipment: Shipment, moment: Moment) -> tuple[Shipment, Actions]:
    """The coordinator reads it from the depot, or will: it has its closing message."""
    match shipment.phase:
        case Due() if shipment.parcel.parts:
            awaiting = AwaitingVerdict(moment.now + _DOUBT_S)
            shipment = replace(shipment, phase=awaiting, stored=True)
            return shipment, (MarkSent(shipment.parcel.update_id, True),)
        case AwaitingVerdict():
            return replace(shipment, stored=True), ()
        case Due() | OnWay():
            return shipment, ()
        case unreachable:
            assert_never(unreachable)


def _again(shipment: Shipment, parts: Parts | None, moment: Moment) -> tuple[Shipment, Actions]:
    """No verdict came of what was sent."""
    failures = shipment.depot_failures + shipment.stored
    again = replace(shipment, phase=Due(moment.now, parts), depot_failures=failures)
    return again, (MarkSent(shipment.parcel.update_id, False),)


def lost(sending: Sending, update_id: str) -> Step:
    """The disk has lost a payload: there is nothing left to send."""
    return _each(sending, update_id, lambda shipment: (None, (Forget(update_id),)))


def wake_at(sending: Sending) -> float:
    """When something becomes due that there is room for."""
    full = {False: sending.in_flight >= WINDOW, True: sending.puts >= PUTS}
    times = [
        _next_at(shipment.phase)
        for shipment in sending.shipments
        if not full[_is_to_be_put(shipment, sending.stored_from)]
    ]
    return min(times, default=math.inf)


def _next_at(phase: Phase) -> float:
    match phase:
        case Due(at):
            return at
        case OnWay():
            return phase.not_before if phase.has_more else math.inf
        case AwaitingVerdict():
            return math.inf
        case unreachable:
            assert_never(unreachable)


def _remaining(phase: OnWay) -> Parts | None:
    """The parts that are to be sent, or may not have arrived; None if those are all."""
    if phase.stored:
        return phase.instead
    return phase.left.first(*sorted(ref.index for ref in phase.flying if ref.about == "part"))


def _each(
    sending: Sending,
    update_id: str,
    change: Callable[[Shipment], tuple[Shipment | None, Actions]],
) -> Step:
    shipments: list[Shipment] = []
    actions: list[Action] = []
    for shipment in sending.shipments:
        changed: Shipment | None = shipment
        if shipment.parcel.update_id == update_id:
            changed, more = change(shipment)
            actions += more
        if changed is not None:
            shipments.append(changed)
    return replace(sending, shipments=tuple(shipments)), tuple(actions)
