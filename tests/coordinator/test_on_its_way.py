"""Whose update is on its way though its lease has ended is not drawn for its version again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.explaining.asked import explain
from coordinator.tries import ON_ITS_WAY_S
from schemas.digest import update_id_of
from tests.coordinator.test_roster import Fleet, assert_as_stored, roster_of, stored_roster
from tests.coordinator.world import MakeWorld, World


def at_work(world: World) -> Fleet:
    """A fleet of one, which was drawn and trains."""
    fleet = Fleet(world, "a")
    fleet.present("a")
    fleet.settle()
    assert fleet.take("a")
    return fleet


@pytest.mark.parametrize("late", ["weigh", "refuse"])
def test_who_says_that_its_update_is_on_its_way_is_not_drawn_for_its_version_again(
    make_world: MakeWorld, late: str
) -> None:
    world = make_world(rounds__dispatch="direct", rounds__late=late)
    fleet = at_work(world)
    world.pass_time(31.0)
    if late == "refuse":  # it could not count
        fleet.present("a", *fleet.sends("a"))
        fleet.settle()
        assert fleet.drawn() == {"a"}
        return
    for _ in range(2):
        fleet.present("a", *fleet.sends("a"))
        fleet.settle()
        assert fleet.drawn() == set()
        assert "is on its way" in said(world)
        world.restart()
        assert_as_stored(world)
    fleet.present("a")  # it has lost it
    fleet.settle()
    assert fleet.drawn() == {"a"}


def test_in_the_pool_it_is_explained_too(make_world: MakeWorld) -> None:
    world = make_world()
    fleet = at_work(world)
    world.pass_time(31.0)
    assert "unless it says that it has sent its update" in said(world)
    fleet.present("a", *fleet.sends("a"))
    assert f"its update {fleet.sends('a')[0][:12]} is on its way" in said(world)
    fleet.present("a")
    assert "is on its way" not in said(world)


def said(world: World) -> str:
    return "\n".join(explain(world.settings(), "a", world.now)[0].words)


def test_a_task_that_takes_longer_than_its_lease_is_on_its_way_once_it_is_done(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__dispatch="direct")
    fleet = at_work(world)
    world.pass_time(31.0)
    fleet.present("a", busy=True)  # it trains: there is nothing to name
    fleet.present("a", *fleet.sends("a"))
    assert_as_stored(world)
    fleet.settle()
    assert fleet.drawn() == set()


def test_of_two_updates_for_one_version_that_one_is_on_its_way_which_is_named(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__dispatch="direct")
    fleet = at_work(world)
    first = fleet.sends("a")
    world.pass_time(31.0)
    fleet.present("a")
    fleet.settle()
    assert fleet.take("a")
    world.pass_time(31.0)
    fleet.present("a", *first)
    assert f"its update {first[0][:12]} is on its way" in said(world)


def test_a_worker_that_was_let_go_of_has_nothing_on_its_way(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct")
    fleet = at_work(world)
    world.pass_time(31.0)
    fleet.present("a", *fleet.sends("a"))
    with world.service._run._store.transaction() as work:
        roster_of(world).make_room(work, 0)
    fleet.present("a")
    assert roster_of(world)._awaited == stored_roster(world)._awaited == set()
    fleet.settle()
    assert fleet.drawn() == {"a"}


def test_who_names_its_update_no_more_may_be_drawn_in_the_same_moment(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__dispatch="direct")
    fleet = at_work(world)
    world.pass_time(31.0)
    fleet.present("a", *fleet.sends("a"))
    fleet.present("a")
    assert_as_stored(world)
    fleet.settle()
    assert fleet.drawn() == {"a"}


def test_an_update_that_is_on_its_way_is_not_believed_in_for_ever(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct", rounds__deadline="2h")
    fleet = at_work(world)
    world.pass_time(31.0)
    world.pass_time(ON_ITS_WAY_S)
    fleet.present("a", *fleet.sends("a"))
    fleet.settle()
    assert fleet.drawn() == {"a"}


def test_the_time_without_a_coordinator_is_no_reason_to_disbelieve(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct", rounds__deadline="1d")
    fleet = at_work(world)
    world.kill()
    world.now += 2 * ON_ITS_WAY_S
    world.begin()
    world.pass_time(31.0)
    fleet.present("a", *fleet.sends("a"))
    fleet.settle()
    assert fleet.drawn() == set()


PAUSING = {"rounds__quorum": 1, "rounds__goal": 1, "rounds__max_extensions": 0}


@pytest.mark.parametrize("dispatch", ["pool", "direct"])
@pytest.mark.parametrize("late", ["weigh", "refuse"])
@pytest.mark.parametrize("lease", ["30s", "70s", "10m"])
def test_a_paused_run_does_not_go_on_for_an_update_that_is_on_its_way(
    make_world: MakeWorld, dispatch: str, late: str, lease: str
) -> None:
    world = make_world(rounds__dispatch=dispatch, rounds__late=late, rounds__lease=lease, **PAUSING)
    fleet = at_work(world)
    world.pass_time(31.0)
    world.pass_time(30.0)
    assert world.state == "paused"
    for _ in range(3):  # a lease of 70 s is over meanwhile
        fleet.present("a", *fleet.sends("a"))
        if late == "refuse" and lease == "30s":  # it could not count
            assert world.state == "collecting"
            return
        assert world.state == "paused", "nobody is there to take a task"
        world.pass_time(10.0)
    fleet.present("a")
    assert world.state == "collecting"


def test_a_paused_run_goes_on_in_the_end_whatever_is_said_to_be_on_its_way(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__lease="10m", **PAUSING)
    fleet = at_work(world)
    world.pass_time(61.0)
    fleet.present("a", *fleet.sends("a"))
    assert world.state == "paused"
    world.pass_time(600.0 + ON_ITS_WAY_S)
    fleet.present("a", *fleet.sends("a"))
    assert world.state == "collecting"


def test_what_else_comes_of_a_worker_does_not_end_a_pause(make_world: MakeWorld) -> None:
    world = make_world(rounds__lease="10m", **PAUSING)
    fleet = at_work(world)
    world.pass_time(61.0)
    fleet.present("a", *fleet.sends("a"))
    worker, (task, start) = fleet.workers["a"], fleet.hands["a"]
    other = replace(worker.update(task, start, world.layout, 1.0), task_id="c" * 32)
    other = replace(other, update_id=update_id_of(other.incarnation, other.task_id, "a"))
    worker.send(other, worker.payload(world.layout, 1.0))
    world.step()
    assert world.verdict(other.update_id) == "unknown task"
    assert world.state == "paused"


@pytest.mark.parametrize("dispatch", ["pool", "direct"])
def test_an_update_that_was_on_its_way_counts_in_a_pause(
    make_world: MakeWorld, dispatch: str
) -> None:
    world = make_world(rounds__dispatch=dispatch, **PAUSING)
    fleet = at_work(world)
    world.pass_time(31.0)
    world.pass_time(30.0)
    fleet.present("a", *fleet.sends("a"))
    world.finish_task(fleet.workers["a"], *fleet.hands["a"])
    assert (world.version, world.state) == (1, "collecting")
