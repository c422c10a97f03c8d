"""A coordinator whose models lie in a depot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator import evaluation
from coordinator.errors import RunError
from coordinator.modelobjects import DOUBT_S, KEPT, RETRY_S, SILENCE_S
from coordinator.startup import Surroundings
from depot import model_name
from simulation.depot import SimulatedDepot
from tests.coordinator.world import World
from tests.support.errands import HeldPorter, PromptPorter

MakeWorld = Callable[..., World]


@pytest.fixture
def depot() -> SimulatedDepot:
    return SimulatedDepot(clock=lambda: 1_000_000.0)


@pytest.fixture
def make(make_world: MakeWorld, depot: SimulatedDepot) -> MakeWorld:
    def make_one(**options: Any) -> World:
        around = Surroundings(
            initial_of=evaluation.initial_of,
            depot_of=lambda settings: depot,
            porter_of=lambda name: PromptPorter(),
        )
        return make_world(around=around, **{"depot__min_bytes": 1024, **options})

    return make_one


def large(make: MakeWorld, **options: Any) -> World:
    """A world whose model is larger than `depot.min_bytes`."""
    return make(size=300, **options)


def on_the_stream(world: World) -> int:
    queue = world.names.model_queue(world.run_row().run_id, 1)
    return world.broker.ready(queue)


def test_a_model_is_put_into_the_depot_and_not_on_the_stream(
    make: MakeWorld, depot: SimulatedDepot
) -> None:
    world = large(make)
    row = world.version_row(0)
    assert depot.objects == {model_name(row.digest): world.model(0)}
    assert on_the_stream(world) == 0
    _, start = world.begin_task(world.somebody())
    assert (start.stored, start.model_digest) == (True, row.digest)


def test_a_small_model_goes_over_the_stream(make: MakeWorld, depot: SimulatedDepot) -> None:
    world = make()
    assert depot.objects == {}
    _, start = world.begin_task(world.somebody())
    assert not start.stored


def test_each_version_is_put_once(make: MakeWorld, depot: SimulatedDepot) -> None:
    world = large(make)
    for _ in range(3):
        world.round(1.0, 2.0)
    names = [model_name(world.version_row(version).digest) for version in range(4)]
    assert depot.puts == names


def test_a_restart_puts_nothing_again(make: MakeWorld, depot: SimulatedDepot) -> None:
    world = large(make)
    world.restart()
    world.cut()
    assert len(depot.puts) == 1
    world.round(1.0, 2.0)
    assert world.version == 1


def test_nobody_starts_before_the_version_is_there(make: MakeWorld, depot: SimulatedDepot) -> None:
    depot.away = True
    world = large(make)
    worker = world.somebody()
    task, _ = worker.take()
    token = worker.say_taken(task)
    world.step()
    assert worker.answers_of(token) == []
    assert world.service.look().note == "the depot is away"
    depot.away = False
    world.pass_time(RETRY_S[0])
    start = worker.start_of(token)
    assert start.stored
    assert world.service.look().note == ""
    assert {"", "the depot is away"} <= {progress.note for progress in world.seen}


def test_who_does_not_find_the_model_has_it_put_again(
    make: MakeWorld, depot: SimulatedDepot
) -> None:
    world = large(make)
    depot.objects.clear()
    world.pass_time(DOUBT_S)
    worker = world.somebody()
    task, _ = world.begin_task(worker)
    worker.say_declined(task, "model gone: it is not in the depot")
    world.step()
    assert depot.objects == {model_name(world.version_row(0).digest): world.model(0)}


def test_others_start_while_it_is_looked_for(make_world: MakeWorld, depot: SimulatedDepot) -> None:
    cleaner = HeldPorter()
    around = Surroundings(
        initial_of=evaluation.initial_of,
        depot_of=lambda settings: depot,
        porter_of=lambda name: cleaner if name == "depot-cleaning" else PromptPorter(),
    )
    world = make_world(size=300, around=around, depot__min_bytes=1024)
    world.pass_time(DOUBT_S)
    worker = world.somebody()
    task, _ = world.begin_task(worker)
    worker.say_declined(task, "model gone: it is not in the depot")
    world.step()
    assert len(cleaner.waiting) == 2, "the sweep, and the look"
    _, start = world.begin_task(world.somebody())
    assert start.stored
    assert len(depot.puts) == 1


def test_a_depot_that_hangs_is_told_of(make_world: MakeWorld, depot: SimulatedDepot) -> None:
    porter = HeldPorter()
    around = Surroundings(
        initial_of=evaluation.initial_of,
        depot_of=lambda settings: depot,
        porter_of=lambda name: porter if name == "depot-models" else PromptPorter(),
    )
    world = make_world(size=300, around=around, depot__min_bytes=1024)
    world.pass_time(SILENCE_S)
    assert world.seen[-1].note == "the depot has not answered for 60 s"
    porter.go()
    world.step()
    assert world.seen[-1].note == ""


def test_old_versions_are_deleted(make: MakeWorld, depot: SimulatedDepot) -> None:
    world = large(make, run__rounds=10)
    for _ in range(KEPT + 1):
        world.round(1.0, 2.0)
    assert len(depot.objects) == KEPT
    kept = range(world.version - KEPT + 1, world.version + 1)
    assert set(depot.objects) == {model_name(world.version_row(v).digest) for v in kept}


def test_a_depot_that_cannot_be_reached_at_the_start_is_told_of(
    make: MakeWorld, depot: SimulatedDepot, caplog: pytest.LogCaptureFixture
) -> None:
    depot.away = True
    make()
    assert "the depot cannot be reached" in caplog.text


def test_a_depot_that_cannot_be_used_stops_the_start(make_world: MakeWorld) -> None:
    world = make_world(begin=False)
    world.around = Surroundings()
    world.change(depot__url="s3://bucket", depot__credentials=str(world.folder / "none"))
    with pytest.raises(RunError, match=r"depot\.credentials: .*none: No such file"):
        world.make()


def test_a_federation_with_a_depot_in_a_folder_learns(make_world: MakeWorld) -> None:
    world = make_world(begin=False, size=300)
    folder = world.folder / "depot"
    folder.mkdir()
    label = folder / f"{world.settings().federation.name}.depot"
    label.touch()
    world.change(depot__url=folder.as_uri(), depot__min_bytes=1024)
    world.around = Surroundings(
        initial_of=evaluation.initial_of, porter_of=lambda name: PromptPorter()
    )
    world.begin()
    world.round(1.0, 3.0)
    assert world.weight() == 3.0
    assert len(list(folder.iterdir())) == 3
