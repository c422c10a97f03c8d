"""What only shows with many parts; the rest of sending is tried in `test_session`."""

from __future__ import annotations

import math
import random
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.frozen import replace
from tests.worker.examples import a_standing
from worker.events import Action, MarkSent, PutObject, SendPart, SendUpdate
from worker.options import Moment
from worker.parcel import Parcel
from worker.sending import (
    DEPOT_TRIES,
    LARGE,
    WINDOW,
    AwaitingVerdict,
    OnWay,
    Parts,
    Sending,
    add,
    open_updates,
    published,
    pump,
    stands,
    unpublished,
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


# By the depot.


class Link:
    """A worker with one update for the depot, and a coordinator that says what it has of it.

    Attributes:
        depot_is_away: No put succeeds.
        arrived: The parts that the coordinator has.
        sent: All that was done.
        closings: When which closing message was sent: by the depot, or in parts.
    """

    def __init__(self, parts: int) -> None:
        self.sending = add(Sending(), Parcel("u", "t", "r", 0, parts, parts), moment(0))
        self.parts = parts
        self.now = 0.0
        self.serial = 0
        self.depot_is_away = False
        self.arrived: set[int] = set()
        self.sent: list[Action] = []
        self.closings: list[tuple[float, bool]] = []

    def moment(self, *, online: bool = True) -> Moment:
        self.serial += 1
        return Moment(self.now, self.serial, random.Random(0), online)

    def connect(self) -> None:
        self.sending = went_online(self.sending, self.now)
        self.hear()

    def cut(self) -> None:
        self.sending = went_offline(self.sending)

    def hear(self, **changes: Any) -> None:
        """The coordinator says how things stand: of the update, what it has."""
        missing = tuple(sorted(set(range(self.parts)) - self.arrived))
        if not changes:
            changes = {"missing": {"u": missing}} if self.arrived else {"unknown": ("u",)}
        self.sending, more = stands(self.sending, a_standing(**changes), self.moment())
        self.sent += more
        self.sending = replace(self.sending, stored_from=1)

    def step(self) -> tuple[Action, ...]:
        """Send what is due; it is confirmed, unless it is put while the depot is away."""
        self.sending, actions = pump(self.sending, self.moment())
        self.sent += actions
        for action in actions:
            match action:
                case PutObject(ref) if self.depot_is_away:
                    self.sending, _ = unpublished(self.sending, ref, self.moment())
                case SendPart(ref, _, index):
                    self.arrived.add(index)
                    self.sending, _ = published(self.sending, ref, self.moment())
                case PutObject(ref):
                    self.sending, _ = published(self.sending, ref, self.moment())
                case SendUpdate(ref, _, stored):
                    self.closings.append((self.now, stored))
                    self.sending, _ = published(self.sending, ref, self.moment())
                case _:
                    raise AssertionError(f"nothing else is sent: {action}")
        return actions

    def step_or_wait(self) -> tuple[Action, ...]:
        if self.now < wake_at(self.sending) < math.inf:
            self.now = wake_at(self.sending)
        return self.step()

    def count(self, kind: type[Action]) -> int:
        return sum(isinstance(action, kind) for action in self.sent)


def test_without_its_depot_an_upload_goes_on_in_parts_where_a_cut_link_left_it() -> None:
    link = Link(100)
    link.depot_is_away = True
    for _ in range(3):
        link.connect()
        before = link.count(SendPart)
        while link.count(SendPart) < before + 60 and not link.closings:
            assert link.step_or_wait()
        if link.closings:
            break
        link.cut()
    assert (link.count(PutObject), link.count(SendPart)) == (DEPOT_TRIES, 100)
    assert [stored for _, stored in link.closings] == [False]


def test_a_restarted_worker_goes_on_in_parts_too() -> None:
    link = Link(100)
    link.arrived = set(range(60))
    link.connect()
    while not link.closings:
        assert link.step_or_wait()
    assert (link.count(PutObject), link.count(SendPart)) == (0, 40)


def test_a_put_goes_on_while_the_connection_is_lost() -> None:
    link = Link(4)
    link.connect()
    link.sending, (put,) = pump(link.sending, link.moment())
    assert isinstance(put, PutObject)
    link.cut()
    link.connect()
    assert link.step() == (), "it is being put"
    link.sending, _ = published(link.sending, put.ref, link.moment())
    (closing,) = link.step()
    assert isinstance(closing, SendUpdate)
    assert closing.stored


def test_what_is_being_put_is_asked_about_and_goes_on_whatever_the_answer() -> None:
    link = Link(4)
    link.connect()
    link.sending, (put,) = pump(link.sending, link.moment())
    assert isinstance(put, PutObject)
    assert open_updates(link.sending) == ("u",), "or nobody knows that it is on its way"
    for answer in (a_standing(unknown=("u",)), a_standing(missing={"u": (0, 3)})):
        assert stands(link.sending, answer, link.moment()) == (link.sending, ())
    link.sending, _ = published(link.sending, put.ref, link.moment())
    assert open_updates(link.sending) == ("u",)
    link.sending, (closing,) = pump(link.sending, link.moment())
    assert isinstance(closing, SendUpdate)
    assert open_updates(link.sending) == (), "the broker is getting it"


def test_a_put_that_ends_without_a_connection_is_looked_at_in_the_next() -> None:
    link = Link(4)
    link.connect()
    link.sending, (put,) = pump(link.sending, link.moment())
    assert isinstance(put, PutObject)
    link.cut()
    link.sending, _ = published(link.sending, put.ref, link.moment(online=False))
    link.connect()
    (again,) = link.step()
    assert isinstance(again, PutObject)
    (closing,) = link.step()
    assert isinstance(closing, SendUpdate)


def test_puts_that_no_connection_outlasts_are_given_up_too() -> None:
    link = Link(4)
    for _ in range(DEPOT_TRIES):
        link.connect()
        link.sending, (put,) = pump(link.sending, link.moment())
        assert isinstance(put, PutObject)
        link.cut()
        link.sending, _ = unpublished(link.sending, put.ref, link.moment(online=False))
    link.connect()
    while not link.closings:
        assert link.step_or_wait()
    assert (link.count(PutObject), link.count(SendPart)) == (0, 4)


def test_what_the_coordinator_has_read_of_a_depot_that_is_given_up_is_not_sent() -> None:
    link = Link(4)
    link.connect()
    link.step()
    link.step()
    assert link.closings
    link.arrived = {0, 1}
    link.depot_is_away = True
    link.now += 1000.0
    link.hear()
    while link.count(SendPart) < 2:
        assert link.step_or_wait()
    assert [each.index for each in link.sent if isinstance(each, SendPart)] == [2, 3]


def test_one_update_is_put_at_a_time_and_small_ones_do_not_wait_for_it() -> None:
    link = Link(4)
    link.sending = add(link.sending, Parcel("other", "t", "r", 0, 4, 4), link.moment())
    link.connect()
    link.hear(unknown=("u", "other"))
    link.sending, (put,) = pump(link.sending, link.moment())
    assert isinstance(put, PutObject)
    assert wake_at(link.sending) == math.inf, "the other waits for that"
    for number in range(WINDOW):
        small = Parcel(f"small{number}", "t", "r", 0, 1, 0)
        link.sending = add(link.sending, small, link.moment())
    link.sending, sent = pump(link.sending, link.moment())
    assert [type(each) for each in sent] == [SendUpdate] * WINDOW
    link.sending, _ = unpublished(link.sending, put.ref, link.moment())
    link.sending, (other,) = pump(link.sending, link.moment())
    assert isinstance(other, PutObject)
    assert other.update_id == "other"


def test_a_coordinator_that_has_an_update_in_hand_is_waited_for() -> None:
    link = Link(4)
    link.connect()
    link.step()
    link.step()
    for _ in range(50):
        link.now += 600.0
        link.hear(in_hand=("u",))
        assert link.step() == ()
    assert link.closings == [(0.0, True)]
    link.hear(verdicts={"u": "counted"})
    assert link.sending.shipments == ()


def test_an_update_in_hand_is_not_closed_again_after_a_reconnect() -> None:
    link = Link(4)
    link.connect()
    link.step()
    link.sending, (closing,) = pump(link.sending, link.moment())
    assert isinstance(closing, SendUpdate)
    link.cut()
    link.sending = went_online(link.sending, link.now)
    link.hear(in_hand=("u",))
    link.now += 600.0
    assert link.step() == ()
    assert link.sent[-1] == MarkSent("u", True)
    link.hear(unknown=("u",))
    assert isinstance(link.step()[0], PutObject), "it may be read from the depot after all"


def test_what_goes_in_parts_goes_on_though_it_is_read_from_the_depot() -> None:
    link = Link(9)
    link.arrived = {0}
    link.connect()
    link.sending, first = pump(link.sending, link.moment())
    link.hear(in_hand=("u",))
    for each in first:
        assert isinstance(each, SendPart)
        link.sending, _ = published(link.sending, each.ref, link.moment())
    assert isinstance(link.step()[0], SendPart)


def test_a_busy_coordinator_does_not_send_a_worker_to_the_broker() -> None:
    """Twenty workers close at once; in each minute the coordinator reads one update of them."""
    links = [Link(250) for _ in range(20)]
    for link in links:
        link.connect()
        link.step()
        link.step()
    for done in range(len(links)):
        for link in links[done:]:
            link.now += 60.0
            link.hear(in_hand=("u",))
            link.step()
        links[done].hear(verdicts={"u": "counted"})
    assert [link.count(SendPart) for link in links] == [0] * len(links)
    assert [len(link.closings) for link in links] == [1] * len(links)
