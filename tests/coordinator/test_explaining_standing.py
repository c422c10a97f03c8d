"""What `fedmq explain` says of whom the coordinator would give a task, and that it is so."""

from __future__ import annotations

import math
from typing import Any

import pytest

from coordinator.drawing import Terms, eligible
from coordinator.explaining.asked import explain
from tests.coordinator.test_roster import Fleet, roster_of
from tests.coordinator.world import MakeWorld, World


def said(world: World, name: str) -> dict[str, Any]:
    found, _ = explain(world.settings(), name, world.now, reading="worker")
    return {**found.facts, "words": "\n".join(found.words)}


def could_be_drawn(world: World, name: str) -> bool:
    roster = roster_of(world)
    within_s = world.settings().selection.seen_within_s
    since = world.now - within_s if within_s else -math.inf
    terms = Terms(world.version, world.now, since, roster._required)
    return roster._rows[name] in eligible(roster.registry, terms)


def assert_said(world: World, name: str, barred: str | None, words: str) -> None:
    facts = said(world, name)
    assert facts["barred"] == barred
    assert words in facts["words"]
    assert facts["may_take"] == could_be_drawn(world, name) == (barred is None)


def test_of_a_worker_that_may_be_drawn_it_is_said(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct", rounds__concurrency=2)
    fleet = Fleet(world, "abc")
    for name in "abc":
        fleet.present(name, examples=40, capabilities=("gpu",), battery=0.5, metered=True)
    fleet.settle()
    (free,) = {*"abc"} - fleet.drawn()
    assert_said(world, free, None, "It may be given a task now: it is among those that are drawn")
    words = said(world, free)["words"]
    assert "It says: examples 40, capabilities gpu, battery 50%, metered." in words
    assert_said(world, min(fleet.drawn()), "in hand", "It may not be given a task now: it has task")


def test_why_a_worker_is_not_drawn_after_its_task_is_said(make_world: MakeWorld) -> None:
    world = make_world(
        rounds__dispatch="direct",
        rounds__quorum=2,
        rounds__concurrency=3,
        selection__cool_down="5m",
    )
    fleet = Fleet(world, "abc")
    for name in "abc":
        fleet.present(name)
    fleet.settle()
    for name in "abc":
        assert fleet.take(name)
    world.pass_time(5.0)
    fleet.answer("a")
    assert_said(world, "a", "counted", "its update of version 0 is counted")
    fleet.answer("b", math.nan)
    assert_said(world, "b", "refused", "was refused (non-finite)")
    fleet.answer("c")
    assert world.version == 1
    assert_said(world, "a", "resting", "it rests after its last task, for 5 min more")
    words = said(world, "c")["words"]
    assert "Its tasks take about 5 s, 0 s of that training" in words
    assert said(world, "c")["loss"] == 0.5


def test_why_a_worker_that_is_not_heard_of_is_not_drawn_is_said(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct", rounds__goal=1, run__rounds=9)
    fleet = Fleet(world, "ab")
    fleet.present("a")
    fleet.settle()
    world.pass_time(31.0)
    assert_said(world, "a", "lapsed", "ended, and nothing came from it since")
    fleet.present("b")
    fleet.settle()
    assert fleet.take("b")
    fleet.answer("b")
    world.pass_time(31.0)
    fleet.present("b")
    fleet.settle()
    assert fleet.take("b")
    fleet.answer("b")
    assert_said(world, "a", "silent", "its last 2 leases ended without a word from it")


@pytest.mark.parametrize(
    ("declared", "setting", "barred", "words"),
    [
        ({"examples": 3}, {"selection__min_examples": 5}, "lacking", "5 examples are required"),
        ({"metered": True}, {"selection__unmetered": True}, "lacking", "its network is metered"),
        ({"local_minute": 0, "hours": "08:00-09:00"}, {}, "lacking", "outside of the hours"),
        ({"leaving": True}, {"selection__seen_within": "1h"}, "unseen", "it said that it leaves"),
        ({}, {"selection__seen_within": "1s"}, "unseen", "it was last seen 15 s ago"),
    ],
)
def test_what_a_worker_lacks_is_said(
    make_world: MakeWorld,
    declared: dict[str, Any],
    setting: dict[str, Any],
    barred: str,
    words: str,
) -> None:
    world = make_world(rounds__dispatch="direct", rounds__goal=1, rounds__concurrency=1, **setting)
    fleet = Fleet(world, "ab")
    fleet.present("b", examples=9, local_minute=5)
    fleet.settle()
    assert fleet.drawn() == {"b"}
    fleet.present("a", **declared)
    world.pass_time(15.0)
    assert_said(world, "a", barred, words)


def test_in_the_pool_it_is_said_what_the_worker_is_told(make_world: MakeWorld) -> None:
    world = make_world(
        rounds__goal=1, run__rounds=9, selection__cool_down="2m", selection__min_battery=0.5
    )
    fleet = Fleet(world, "ab")
    assert fleet.take("a")
    fleet.answer("a")
    assert not fleet.may_take("a")
    facts = said(world, "a")
    assert (facts["may_take"], facts["barred"]) == (False, "resting")
    assert "It may not take a task now: it rests after its last task" in facts["words"]
    assert not fleet.may_take("b", battery=0.2)
    facts = said(world, "b")
    assert (facts["may_take"], facts["barred"]) == (False, "lacking")
    assert "its battery is at 20%, 50% are required" in facts["words"]
    assert fleet.may_take("b", battery=0.9)
    assert said(world, "b")["may_take"] is True


def test_what_a_worker_cannot_mean_is_as_if_it_had_not_said_it(make_world: MakeWorld) -> None:
    world = make_world()
    fleet = Fleet(world, "a")
    fleet.present(
        "a",
        examples=2**53,
        battery=7.0,
        local_minute=2**40,
        hours="at night",
        capabilities=tuple(f"c{n}" for n in range(200)),
    )
    facts = said(world, "a")["declares"]
    assert (facts["examples"], facts["battery"], facts["hours"]) == (2**53, 1.0, None)
    assert len(facts["capabilities"]) == 64
    assert roster_of(world).registry.traits(0).offset == -1
    world.restart()
    assert roster_of(world).registry.examples[0] == 2**32 - 1
