"""A simulated link loses what a real one would, and says of the rest what became of it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names
from broker.transport import (
    Confirmed,
    Connected,
    Delivered,
    Disconnected,
    Doubtful,
    Event,
    Outgoing,
)
from simulation.clock import VirtualTime
from simulation.mishaps import Crash, Mishaps
from simulation.network import HEARTBEATS_S, Link

NAMES = Names("test")


class Wire:
    """A link, its broker, and what the process at its end was told."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.broker = MemoryBroker(lambda: self.time.now)
        owner = MemoryTransport(self.broker, lambda event: None)
        owner.start()
        owner.declare(NAMES.topology)
        self.told: list[Event] = []
        self.reached: list[Outgoing] = []
        self.mishaps = Mishaps()
        self.link = Link(
            self.broker,
            self.told.append,
            self.time,
            random.Random(1),
            self.mishaps,
            latency_s=0.1,
            name="w",
            on_publish=self.reached.append,
        )
        self.link.start()
        self.go_on(5.0)
        assert self.all(Connected)

    def go_on(self, seconds: float) -> None:
        until = self.time.now + seconds
        while self.time.step(until):
            pass

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]

    def publish(self) -> int:
        return self.link.publish(Outgoing(NAMES.task_exchange, NAMES.task_key, b"task", "t"))


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_what_is_published_is_confirmed_after_a_while(wire: Wire) -> None:
    token = wire.publish()
    assert not wire.all(Confirmed)
    wire.go_on(5.0)
    assert wire.all(Confirmed) == [Confirmed(token)]
    assert wire.broker.ready(NAMES.task_queue) == len(wire.reached) == 1


def test_a_confirm_on_its_way_when_the_link_is_cut_is_a_doubt(wire: Wire) -> None:
    token = wire.publish()
    wire.link.cut()
    wire.go_on(5.0)
    assert wire.all(Doubtful) == [Doubtful(token)]
    assert not wire.all(Confirmed)
    assert wire.broker.ready(NAMES.task_queue) == 1, "the broker has it all the same"
    assert len(wire.all(Connected)) == 2


def test_what_a_half_open_link_swallows_is_a_doubt_when_it_is_noticed(wire: Wire) -> None:
    wire.link.go_half_open()
    token = wire.publish()
    assert wire.broker.ready(NAMES.task_queue) == 0
    wire.go_on(HEARTBEATS_S - 1)
    assert not wire.all(Disconnected)
    wire.go_on(5.0)
    assert wire.all(Doubtful) == [Doubtful(token)]
    assert not wire.reached


def test_what_is_acked_over_a_half_open_link_is_delivered_again(wire: Wire) -> None:
    wire.publish()
    wire.link.consume(NAMES.task_queue, 1)
    wire.go_on(5.0)
    (delivery,) = wire.all(Delivered)
    wire.link.go_half_open()
    wire.link.ack(delivery.tag)
    wire.go_on(HEARTBEATS_S + 5)
    wire.link.consume(NAMES.task_queue, 1)
    wire.go_on(5.0)
    assert wire.all(Delivered)[-1].redelivered


def test_a_delivery_on_its_way_is_lost_with_the_link_and_comes_again(wire: Wire) -> None:
    wire.publish()
    wire.go_on(5.0)
    wire.link.consume(NAMES.task_queue, 1)
    wire.link.cut()
    wire.go_on(5.0)
    assert not wire.all(Delivered)
    assert wire.broker.ready(NAMES.task_queue) == 1


def test_to_a_process_that_is_stopped_all_comes_when_it_goes_on(wire: Wire) -> None:
    wire.link.hold()
    token = wire.publish()
    wire.go_on(HEARTBEATS_S - 1)
    assert not wire.all(Confirmed)
    wire.link.release()
    wire.go_on(60.0)
    assert wire.all(Confirmed) == [Confirmed(token)]
    assert not wire.all(Disconnected)


def test_a_process_that_is_stopped_for_long_is_lost(wire: Wire) -> None:
    wire.link.hold()
    wire.go_on(HEARTBEATS_S + 1)
    assert wire.all(Disconnected)


def test_a_process_that_has_ended_publishes_nothing(wire: Wire) -> None:
    wire.mishaps.crash_at = wire.mishaps.steps
    with pytest.raises(Crash):
        wire.publish()
    wire.link.silence()
    with pytest.raises(Crash):
        wire.publish()
    assert not wire.reached


def test_lanes_overtake_each_other_and_each_keeps_its_order(wire: Wire) -> None:
    orders = set()
    for _ in range(20):
        wire.told.clear()
        consumer = wire.link.consume(NAMES.task_queue, 10)
        tokens = [wire.publish() for _ in range(3)]
        wire.go_on(5.0)
        assert [event.token for event in wire.all(Confirmed)] == tokens
        tags = [event.tag for event in wire.all(Delivered)]
        assert tags == sorted(tags)
        orders.add(tuple(type(event).__name__ for event in wire.told))
        for tag in tags:
            wire.link.ack(tag)
        wire.link.cancel(consumer)
        wire.go_on(5.0)
    assert len(orders) > 3
