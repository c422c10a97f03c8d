"""What is kept of the past: as much as the settings say, and never less than a crash needs."""

from __future__ import annotations

import numpy as np
import pytest

from coordinator.aggregation.groups import GROUP
from coordinator.errors import StoreError
from coordinator.replay import Replay
from coordinator.spool import Spool
from tests.coordinator.world import MakeWorld, World


def segments(world: World) -> int:
    return len(list((world.folder / "state" / "spool").glob("0*.seg")))


def model_files(world: World) -> list[str]:
    return sorted(path.stem for path in (world.folder / "state" / "models").rglob("*.safetensors"))


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_updates_of_as_many_closed_rounds_are_kept_as_set(make_world: MakeWorld, keep: int) -> None:
    world = make_world(segment_bytes=1, run__rounds=9, coordinator__spool_keep_rounds=keep)
    for _ in range(5):
        world.round(1.0, 1.0)
        assert segments(world) <= max(2 * keep, 1) + 1
    assert segments(world) >= 2 * keep
    world.round(1.0)
    world.restart()
    world.round(3.0)
    assert (world.version, world.weight()) == (6, 8.0)


def test_as_many_versions_are_kept_as_set(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=9, coordinator__keep_versions=2, rounds__max_staleness=1)
    for _ in range(4):
        world.round(1.0, 1.0)
    assert model_files(world) == ["000003", "000004"]
    world.change(coordinator__keep_versions=3)
    world.restart()
    folder = world.folder / "state" / "models" / world.run_row().run_id
    for leftover in ("000001.safetensors", ".partial-000002.safetensors"):  # of a crash
        (folder / leftover).touch()
    world.round(1.0, 1.0)
    assert model_files(world) == ["000003", "000004", "000005"]


def test_the_rounds_of_an_earlier_run_are_kept_until_this_one_has_closed_as_many(
    make_world: MakeWorld,
) -> None:
    world = make_world(segment_bytes=1, run__rounds=3, coordinator__spool_keep_rounds=2)
    earlier = world.run_row().run_id
    for _ in range(3):
        world.round(1.0, 1.0)
    world.restart(new_run=True)
    assert readable(world, earlier) == [1, 2]
    world.round(1.0, 1.0)
    assert readable(world, earlier) == [2], "one round of this run and one of the earlier"
    world.round(1.0, 1.0)
    assert readable(world, earlier) == []
    assert readable(world, world.run_row().run_id) == [0, 1]


def test_where_all_is_kept_nothing_goes_whatever_runs_begin(
    make_world: MakeWorld,
) -> None:
    kept = {"coordinator__spool_keep_rounds": "all", "coordinator__keep_versions": "all"}
    world = make_world(segment_bytes=1, run__rounds=3, **kept)
    runs = []
    for _ in range(3):
        runs.append(world.run_row().run_id)
        for _ in range(3):
            world.round(1.0, 1.0)
        world.restart(new_run=True)
    assert [readable(world, run_id) for run_id in runs] == 3 * [[0, 1, 2]]
    assert len(model_files(world)) == 3 * 4 + 1


def readable(world: World, run_id: str) -> list[int]:
    """The closed rounds of a run whose updates can all be read again."""
    spool = Spool(world.folder / "state" / "spool")
    return [version for version in range(3) if can_be_read(world, spool, run_id, version)]


def can_be_read(world: World, spool: Spool, run_id: str, version: int) -> bool:
    rows = world.read(lambda work: work.counted_in_round(run_id, version))
    try:
        return bool([spool.read(row.where) for row in rows])
    except StoreError:
        return False


def test_the_sum_is_made_again_to_the_same_bytes(make_world: MakeWorld) -> None:
    values = (0.1, 1 / 3, 7e-9)
    world, undisturbed = (make_world(rounds__goal=3, rounds__concurrency=3) for _ in range(2))
    for value in values:
        world.round(value)
        world.restart()
    undisturbed.round(*values)
    assert world.model(1) == undisturbed.model(1)


def test_a_sum_of_many_groups_is_made_again_to_the_same_bytes_wherever_it_is_broken_off(
    make_world: MakeWorld,
) -> None:
    count = 2 * GROUP + 9
    rng = np.random.default_rng(1)
    values = rng.standard_normal(count).tolist()
    settings: dict[str, object] = {"rounds__goal": count, "rounds__concurrency": count}
    world, undisturbed = (make_world(**settings) for _ in range(2))
    for number, value in enumerate(values, start=1):
        world.round(value)
        if number in (1, 2, GROUP, GROUP + 1, GROUP + 2, 2 * GROUP + 1):
            world.restart()
    undisturbed.round(*values)
    assert world.model(1) == undisturbed.model(1)
    for either in (world, undisturbed):
        replay = Replay(either.folder / "state")
        try:
            assert [each.outcome for each in replay.replay(replay.select(1, 1))] == ["the same"]
        finally:
            replay.close()
