"""A coordinator that is killed at any step goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from coordinator.records import LedgerRow
from schemas.messages import Start, Task
from tests.coordinator.feeder import Feeder
from tests.coordinator.steps import Steps
from tests.coordinator.world import MakeWorld, World

ROWS_OF_PARTS = 30_000  # 240 kB: a model in four parts


@dataclass(frozen=True)
class End:
    """What must be the same whatever happened on the way."""

    models: tuple[bytes, ...]
    ledger: tuple[tuple[str, int, int, str, int, float], ...]


def end_of(world: World) -> End:
    def facts(row: LedgerRow) -> tuple[str, int, int, str, int, float]:
        return (
            row.worker_id,
            row.base_version,
            row.round_version,
            row.verdict,
            row.staleness,
            row.weight,
        )

    run_id = world.run_row().run_id
    versions = range(world.version + 1)

    def counted(version: int) -> list[LedgerRow]:
        rows: list[LedgerRow] = world.read(lambda work: work.counted_in_round(run_id, version))
        return rows

    return End(
        tuple(world.model(version) for version in versions),
        tuple(facts(row) for version in versions for row in counted(version)),
    )


def two_rounds(world: World) -> None:
    """Two workers answer together, twice, and one answers late."""
    slow, a, b = world.worker("slow"), world.worker("a"), world.worker("b")
    late = world.begin_task(slow)
    for version in range(2):
        started = [(worker, *world.begin_task(worker)) for worker in (a, b)]
        for value, (worker, task, start) in enumerate(started, start=1):
            assert start.base_version == version
            payload = worker.payload(world.layout, value / 3)
            worker.send(worker.update(task, start, world.layout, value / 3), payload)
        world.step()
        if version == 0:
            world.finish_task(slow, *late, 0.7)
    world.step()


def in_parts(world: World) -> None:
    """Two workers upload in parts, taking turns."""
    part_bytes = world.settings().rounds.part_bytes
    workers = world.worker("a"), world.worker("b")
    started = [(worker, *world.begin_task(worker)) for worker in workers]
    updates = [w.update(task, start, world.layout, 0.1) for w, task, start in started]
    for index in range(4):
        for worker, update in zip(workers, updates, strict=True):
            worker.send_part(update, worker.payload(world.layout, 0.1), part_bytes, index)
        world.step()
    for worker, update in zip(workers, updates, strict=True):
        worker.close_upload(update, worker.payload(world.layout, 0.1), part_bytes)
    world.step()


def to_the_end(world: World) -> None:
    """A run of one version, with a round closed by its deadline."""
    world.round(1.0)
    world.pass_time(60.0)
    world.pass_time(60.0)


def drawn(world: World) -> None:
    """Two workers are drawn for each of two versions, and find their tasks in their own queues."""
    workers = world.worker("a"), world.worker("b")
    for version in range(2):
        started = [(worker, *own_task(world, worker)) for worker in workers]
        for value, (worker, task, start) in enumerate(started, start=1):
            assert start.base_version == task.base_version == version
            payload = worker.payload(world.layout, value / 3)
            worker.send(worker.update(task, start, world.layout, value / 3), payload)
        world.step()


def own_task(world: World, worker: Feeder) -> tuple[Task, Start]:
    """A worker says that it is there until it finds a task in its own queue."""
    for _ in range(20):
        worker.say_present()
        world.step()
        found = worker.take_own()
        if found is None:
            world.pass_time(11.0)
            continue
        task, tag = found
        start = world.ask_start(worker, task)
        worker.transport.ack(tag)
        world.step()
        if start.wanted:
            return task, start
    raise AssertionError("no task came")


SCENARIOS: dict[str, tuple[Callable[[World], None], dict[str, object]]] = {
    "two rounds and a late update": (two_rounds, {"rounds__concurrency": 3}),
    "uploads in parts": (in_parts, {"size": ROWS_OF_PARTS}),
    "drawn workers": (
        drawn,
        {"rounds__dispatch": "direct", "rounds__lease": "1h", "rounds__deadline": "2h"},
    ),
    "a deadline and the end": (to_the_end, {"run__rounds": 1}),
}


def places_to_end(names: list[str]) -> list[int]:
    """Where to end a coordinator that takes these steps.

    Between the end of one step and the beginning of the next nothing is to be seen outside, so
    the beginnings are enough; of those that follow on the same step, the first and the last.
    """
    first: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], int] = {}
    for number, (before, name) in enumerate(pairwise(["", *names])):
        if name.startswith("before"):
            first.setdefault((before, name), number)
            last[before, name] = number
    return sorted({*first.values(), *last.values()})


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_any_step_it_counts_the_same_updates_into_the_same_models(
    make_world: MakeWorld, steps: Steps, scenario: str
) -> None:
    play, options = SCENARIOS[scenario]
    undisturbed = make_world(**options)
    play(undisturbed)
    expected, places = end_of(undisturbed), places_to_end(steps.names)
    assert len(expected.models) > 1
    for place in places:
        steps.begin_again(kill_at=place)
        world = make_world(**options)
        play(world)
        assert steps.killed, place
        assert end_of(world) == expected, f"killed {steps.killed}, step {place}"
        assert world.ready("update") == 0, f"killed {steps.killed}, step {place}"
        world.kill()
