"""When a cancelled consumer rests, and for how long; by hand and without a broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.rabbitmq.consumers import Order
from broker.rabbitmq.rests import Rests
from broker.topology import Queue

REST_S = 1.0


class Clock:
    """Seconds, and what is due."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.timers.append((self.now + delay, callback))

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now = first[0]
            first[1]()
        self.now = end


class Place:
    """A place in a queue, as a consumer has it."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.is_full = True
        self.is_resting = False
        self.told: list[str] = []  # what the broker hears

    def rest(self) -> None:
        self.is_resting = True

    def can_go_on(self, order: Order) -> bool:
        return order.prefetch == self.order.prefetch

    def end_rest(self) -> None:
        assert self.is_resting
        self.is_resting = False
        self.told.append("end")

    def cancel(self) -> None:
        assert not self.is_resting
        self.told.append("end")


class Client:
    """Takes one message after another from queues."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rests: Rests[Place] = Rests(self.clock, REST_S, lambda: self.clock.now)
        self.begun = 0

    def consume(self, name: str = "tasks", prefetch: int = 1) -> Place:
        """A place in a queue: the one that it has, or a new one."""
        order = Order(self.begun, Queue(name, "quorum"), prefetch, None)
        place = self.rests.take_up(order)
        if place is None:
            self.begun += 1
            return Place(order)
        place.is_resting = False
        return place

    def come_back(self, after_s: float = 0.1, name: str = "tasks") -> Place:
        self.rests.cancel(self.consume(name))
        self.clock.pass_by(after_s)
        return self.consume(name)


@pytest.fixture
def client() -> Client:
    return Client()


def test_who_came_back_soon_keeps_its_place_the_next_time(client: Client) -> None:
    place = client.come_back()
    for _ in range(5):
        client.rests.cancel(place)
        client.clock.pass_by(0.9 * REST_S)
        assert client.consume() is place
    assert place.told == []


def test_who_never_came_back_does_not_rest(client: Client) -> None:
    place = client.consume()
    client.rests.cancel(place)
    assert place.told == ["end"]


def test_who_came_back_late_does_not_rest(client: Client) -> None:
    client.come_back()
    place = client.come_back(after_s=REST_S)
    client.rests.cancel(place)
    assert place.told == ["end"]


def test_one_that_more_may_come_to_does_not_rest(client: Client) -> None:
    place = client.come_back()
    place.is_full = False
    client.rests.cancel(place)
    assert place.told == ["end"]


def test_a_rest_ends_in_time(client: Client) -> None:
    place = client.come_back()
    client.rests.cancel(place)
    client.clock.pass_by(0.9 * REST_S)
    assert place.is_resting
    client.clock.pass_by(0.1 * REST_S)
    assert place.told == ["end"]
    assert client.consume() is not place


def test_a_later_rest_is_as_long_and_there_is_one_timer_for_all(client: Client) -> None:
    place = client.come_back()
    for _ in range(7):
        client.rests.cancel(place)
        client.clock.pass_by(0.3 * REST_S)
        assert client.consume() is place
        assert len(client.clock.timers) <= 1
    client.rests.cancel(place)
    client.clock.pass_by(0.9 * REST_S)
    assert place.told == []
    client.clock.pass_by(0.1 * REST_S)
    assert place.told == ["end"]
    assert client.clock.timers == []


def test_cancelled_twice_it_rests_all_the_same(client: Client) -> None:
    place = client.come_back()
    client.rests.cancel(place)
    client.rests.cancel(place)
    assert place.told == []
    assert client.consume() is place


def test_one_that_does_not_do_for_an_order_ends(client: Client) -> None:
    place = client.come_back()
    client.rests.cancel(place)
    assert client.consume(prefetch=2) is not place
    assert place.told == ["end"]


def test_one_that_the_broker_ended_meanwhile_is_not_taken_up(client: Client) -> None:
    place = client.come_back()
    client.rests.cancel(place)
    place.is_resting = False
    assert client.consume() is not place
    client.clock.pass_by(2 * REST_S)
    assert place.told == []


def test_each_queue_has_a_rest_of_its_own(client: Client) -> None:
    tasks, own = client.come_back(), client.come_back(name="own")
    client.rests.cancel(tasks)
    client.rests.cancel(own)
    assert client.consume("own") is own
    assert client.consume() is tasks


def test_closing_ends_every_rest(client: Client) -> None:
    places = [client.come_back(), client.come_back(name="own")]
    for place in places:
        client.rests.cancel(place)
    client.rests.close()
    assert [place.told for place in places] == [["end"], ["end"]]
    client.clock.pass_by(2 * REST_S)
    assert [place.told for place in places] == [["end"], ["end"]]
