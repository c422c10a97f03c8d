"""What only shows with many parts; the rest of sending is tried in `test_session`."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from tests.worker.examples import a_standing
from worker.events import SendPart, SendUpdate
from worker.options import Moment
from worker.parcel import Parcel
from worker.sending import (
    LARGE,
    WINDOW,
    AwaitingVerdict,
    OnWay,
    Parts,
    Sending,
    add,
    published,
    pump,
    stands,
    wake_at,
    went_offline,
    went_online,
)


def moment(serial: int, now: float = 0.0) -> Moment:
    return Moment(now, serial, random.Random(0), online=True)


def an_upload(parts: int) -> Sending:
    return add(Sending(), Parcel("u", "t", "r", 0, parts, parts), moment(0))


def test_an_upload_of_very_many_parts_needs_no_memory_for_them() -> None:
    sending = an_upload(10_000_000)
    tracemalloc.start()
    for serial in range(1, 1000):
        sending, _ = pump(sending, moment(serial))
        (shipment,) = sending.shipments
        sending, _ = published(sending, min(shipment.phase.flying, key=str), moment(serial))  # type: ignore[union-attr]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_parts_in_flight_when_the_connection_goes_are_sent_again_and_each_other_once() -> None:
    sending, sent = an_upload(9), []
    for serial in range(1, 100):
        sending, actions = pump(sending, moment(serial))
        sent += [action.index for action in actions if isinstance(action, SendPart)]
        if any(isinstance(action, SendUpdate) for action in actions):
            break
        if serial == 3:
            sending = went_online(went_offline(sending), 0.0)
            assert pump(sending, moment(serial))[1] == (), "they may have arrived"
            sending, _ = stands(sending, a_standing(unknown=("u",)), moment(serial))
            continue
        (shipment,) = sending.shipments
        oldest = min(shipment.phase.flying, key=lambda ref: ref.serial)  # type: ignore[union-attr]
        sending, _ = published(sending, oldest, moment(serial))
    again = sorted(index for index in range(9) if sent.count(index) == 2)
    assert set(sent) == set(range(9))
    assert len(again) == 4, "what was in flight, and nothing else"


def test_of_parts_in_flight_those_that_arrived_are_not_sent_again() -> None:
    sending, _ = pump(an_upload(9), moment(1))
    sending = went_online(went_offline(sending), 0.0)
    sending, _ = stands(sending, a_standing(missing={"u": (1, 3, 4, 5, 6, 7, 8)}), moment(2))
    indices = []
    for serial in range(3, 99):
        sending, actions = pump(sending, moment(serial))
        indices += [action.index for action in actions if isinstance(action, SendPart)]
        (shipment,) = sending.shipments
        if not isinstance(shipment.phase, OnWay):
            break
        for ref in sorted(shipment.phase.flying, key=lambda ref: ref.index):
            sending, _ = published(sending, ref, moment(serial))
    assert indices == [1, 3, 4, 5, 6, 7, 8]


def test_a_coordinator_that_says_nothing_is_waited_for_only_so_long() -> None:
    sending, _ = pump(an_upload(9), moment(1))
    sending = went_online(went_offline(sending), 0.0)
    assert wake_at(sending) == 10.0
    sending, actions = pump(sending, moment(2, now=10.0))
    assert [action.index for action in actions if isinstance(action, SendPart)] == [0, 1, 2, 3]


@given(st.integers(1, 2000))
def test_of_a_large_upload_less_than_a_twentieth_is_in_flight(parts: int) -> None:
    _, actions = pump(an_upload(parts), moment(1))
    assert 1 <= len(actions) <= WINDOW
    assert len(actions) == min(parts, WINDOW) or len(actions) < parts / 20
    assert parts < LARGE or len(actions) < parts / 20


def test_a_part_that_is_behind_those_named_missing_is_sent_again() -> None:
    left = Parts((3, 5, 9), range(10, 20))
    assert left.without_arrived((4, 5)) == Parts((5, 9), range(10, 20))
    assert left.without_arrived(()) == Parts((), range(10, 20))


def test_an_upload_that_stays_unknown_is_sent_again_ever_less_often() -> None:
    sending, now = an_upload(1), 0.0
    waits: list[float] = []
    for _ in range(9):
        while not isinstance(phase := sending.shipments[0].phase, AwaitingVerdict):
            sending, (sent,) = pump(sending, moment(len(waits), now))
            assert isinstance(sent, SendPart | SendUpdate)
            sending, _ = published(sending, sent.ref, moment(len(waits), now))
        waits.append(phase.doubted_until - now)
        now = phase.doubted_until
        sending, _ = stands(sending, a_standing(unknown=("u",)), moment(len(waits), now))
    assert waits == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0, 600.0]


indices = st.lists(st.integers(0, 50), max_size=8).map(tuple)


@given(indices, st.integers(0, 20), st.integers(1, 6))
def test_parts_are_taken_in_order_and_each_once(
    again: tuple[int, ...], count: int, room: int
) -> None:
    left = Parts(again, range(count))
    taken: list[int] = []
    while left:
        some, left = left.take(room)
        assert 0 < len(some) <= room
        taken += some
    assert taken == [*again, *range(count)]
