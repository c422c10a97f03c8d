"""What is kept of the past: as much as the settings say, and never less than a crash needs."""

from __future__ import annotations

import pytest

from coordinator.spool import Spool
from disk import OS_DISK
from tests.coordinator.world import MakeWorld, World


def segments(world: World) -> int:
    return len(list((world.folder / "state" / "spool").glob("*.seg")))


def model_files(world: World) -> list[str]:
    return sorted(path.stem for path in (world.folder / "state" / "models").rglob("*.safetensors"))


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_updates_of_as_many_closed_rounds_are_kept_as_set(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    monkeypatch.setattr(Spool.__init__, "__defaults__", (OS_DISK, 1))  # each update is a segment
    world = make_world(run__rounds=9, coordinator__spool_keep_rounds=keep)
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


def test_the_sum_is_made_again_to_the_same_bytes(make_world: MakeWorld) -> None:
    values = (0.1, 1 / 3, 7e-9)
    world, undisturbed = (make_world(rounds__goal=3, rounds__concurrency=3) for _ in range(2))
    for value in values:
        world.round(value)
        world.restart()
    undisturbed.round(*values)
    assert world.model(1) == undisturbed.model(1)
