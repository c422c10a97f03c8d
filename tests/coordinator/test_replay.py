"""Versions are made again to the same bytes, and what is not so is found."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from coordinator.errors import RunError, StoreError
from coordinator.replay import Replay, Replayed
from tests.coordinator.world import MakeWorld, World

KEPT = {"coordinator__spool_keep_rounds": "all", "coordinator__keep_versions": "all"}


def replayed(
    world: World, run: str = "", first: int | None = None, last: int | None = None
) -> list[Replayed]:
    replay = Replay(world.folder / "state", run)
    try:
        return list(replay.replay(replay.select(first, last)))
    finally:
        replay.close()


def outcomes(world: World, run: str = "") -> list[str]:
    return [found.outcome for found in replayed(world, run)]


def three_rounds(make_world: MakeWorld, **settings: object) -> World:
    world = make_world(run__rounds=9, **settings)
    for values in ((0.1, 1 / 3), (7e-9, -2.0), (1.5, 0.7)):
        world.round(*values)
    return world


def segment(world: World) -> Path:
    return min((world.folder / "state" / "spool").glob("0*.seg"))


def model_file(world: World, version: int) -> Path:
    return world.folder / "state" / "models" / world.version_row(version).file


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[-4:] != "-shm")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_to_store(world: World, statement: str) -> None:
    connection = sqlite3.connect(world.folder / "state" / "coordinator.db")
    with connection:
        connection.execute(statement)
    connection.close()


def test_every_version_of_a_run_whose_updates_are_kept_is_the_same(make_world: MakeWorld) -> None:
    world = three_rounds(make_world, **KEPT)
    found = replayed(world)
    assert [result.outcome for result in found] == ["initial", *3 * ["the same"]]
    assert {result.file for result in found} == {"whole"}
    assert [result.updates for result in found] == [0, 2, 2, 2]
    assert found[3].came == found[3].digest == world.version_row(3).digest
    assert not any(result.wrong for result in found)


@pytest.mark.parametrize("codec", ["bf16", "fp16+zstd", "int8", "int4+zstd", "int2", "topk:0.3"])
@pytest.mark.parametrize("rule", ["mean", "median", "ca2fl"])
def test_a_version_of_encoded_updates_is_the_same(
    make_world: MakeWorld, codec: str, rule: str
) -> None:
    world = make_world(run__rounds=9, wire__codec=codec, algorithm__rule=rule, **KEPT)
    sent = world.round(0.1, 1 / 3)
    sent.append(world.answer(world.somebody(), -2.0))
    world.restart()
    sent.append(world.answer(world.somebody(), 7e-9))
    assert {world.ledger(update_id).verdict for update_id in sent} == {"counted"}
    assert outcomes(world) == ["initial", *2 * ["the same"]]


def test_a_version_of_late_updates_and_restarts_is_the_same(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=9, rounds__concurrency=3, **KEPT)
    late = world.somebody()
    begun = world.begin_task(late)
    for value in (0.1, 0.2, 0.3, 0.4):
        world.answer(world.somebody(), value)
        world.restart()
    world.finish_task(late, *begun, 5.0)
    world.answer(world.somebody(), 0.5)
    assert world.read(lambda work: work.counted_in_round(world.run_row().run_id, 2))[0].staleness
    assert outcomes(world) == ["initial", *3 * ["the same"]]


def test_the_open_round_is_left_alone(make_world: MakeWorld) -> None:
    world = three_rounds(make_world, **KEPT)
    world.round(9.0)
    assert len(replayed(world)) == 4
    world.round(9.0)
    assert len(replayed(world)) == 5


def test_a_spool_that_is_no_folder_is_said_to_be_gone(make_world: MakeWorld) -> None:
    world = three_rounds(make_world, **KEPT)
    world.kill()
    spool = world.folder / "state" / "spool"
    spool.rename(spool.with_name("elsewhere"))
    spool.write_text("no folder")
    found = replayed(world)
    assert {result.outcome for result in found[1:]} == {"not recomputed"}
    assert "00000001.seg is gone" in found[1].detail


def test_by_default_the_last_version_can_be_made_again(make_world: MakeWorld) -> None:
    found = replayed(three_rounds(make_world, segment_bytes=1))
    assert [result.outcome for result in found] == [
        "initial",
        "not recomputed",
        "not recomputed",
        "the same",
    ]
    assert "spool" in found[1].detail
    assert found[1].file == "whole"
    assert not any(result.wrong for result in found)


def test_where_a_predecessor_is_not_kept_the_version_cannot_be_made_again(
    make_world: MakeWorld,
) -> None:
    world = three_rounds(
        make_world,
        rounds__max_staleness=0,
        coordinator__spool_keep_rounds="all",
        coordinator__keep_versions=2,
    )
    found = replayed(world)
    assert [result.outcome for result in found] == [*3 * ["not recomputed"], "the same"]
    assert "000001.safetensors" in found[2].detail
    assert [result.file for result in found] == ["not kept", "not kept", "whole", "whole"]


def test_a_version_that_was_just_made_again_stands_in_for_its_file(make_world: MakeWorld) -> None:
    world = three_rounds(make_world, **KEPT)
    model_file(world, 1).unlink()
    model_file(world, 2).unlink()
    found = replayed(world)
    assert [result.outcome for result in found] == ["initial", *3 * ["the same"]]
    assert [result.file for result in found] == ["whole", "not kept", "not kept", "whole"]


def test_a_file_that_is_gone_is_missing_only_if_it_should_be_kept(make_world: MakeWorld) -> None:
    world = three_rounds(make_world, **KEPT)
    for version in range(4):
        model_file(world, version).unlink()
    for keep, states in {
        1: [*3 * ["not kept"], "missing"],
        2: [*2 * ["not kept"], *2 * ["missing"]],
        9: 4 * ["missing"],
    }.items():
        replay = Replay(world.folder / "state", keep_versions=keep)
        found = list(replay.replay(replay.select(None, None)))
        replay.close()
        assert [result.file for result in found] == states
        assert ["is missing" in result.detail for result in found] == [
            state == "missing" for state in states
        ]


def test_what_is_pruned_while_it_is_made_again_is_not_called_missing(
    make_world: MakeWorld,
) -> None:
    world = three_rounds(make_world, **KEPT)
    replay = Replay(world.folder / "state", keep_versions=2)
    results = replay.replay(replay.select(2, 2))
    model_file(world, 2).unlink()
    world.round(9.0, 9.0)  # version 4 is the newest now: 3 and 4 are kept
    assert [result.file for result in results] == ["not kept"]
    replay.close()


def test_a_changed_byte_of_an_update_is_found(make_world: MakeWorld) -> None:
    world = three_rounds(make_world, **KEPT)
    rows = world.read(lambda work: work.counted_in_round(world.run_row().run_id, 1))
    with segment(world).open("r+b") as file:
        file.seek(rows[0].place + rows[0].length - 1)
        file.write(b"\x7f")
    found = replayed(world)
    assert [result.outcome for result in found] == ["initial", "the same", "damaged", "the same"]
    assert rows[0].update_id in found[2].detail
    assert found[2].wrong


def test_a_changed_model_file_is_found_with_what_is_made_of_it(make_world: MakeWorld) -> None:
    world = three_rounds(make_world, **KEPT)
    data = bytearray(model_file(world, 2).read_bytes())
    data[-1] ^= 1
    model_file(world, 2).write_bytes(data)
    found = replayed(world)
    assert [result.outcome for result in found] == ["initial", *3 * ["the same"]]
    assert [result.wrong for result in found] == [False, False, True, False]
    assert found[2].file == "damaged"
    (alone,) = replayed(world, first=3, last=3)
    assert (alone.outcome, alone.file) == ("damaged", "whole")
    assert "000002.safetensors" in alone.detail


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE ledger SET weight = weight * 2 WHERE arrival = 3", "of weight 30"),
        ("DELETE FROM ledger WHERE arrival = 4", "counts 1 updates"),
        ("UPDATE ledger SET verdict = 'late' WHERE arrival = 4", "counts 1 updates"),
    ],
)
def test_a_changed_ledger_is_found(make_world: MakeWorld, statement: str, said: str) -> None:
    world = three_rounds(make_world, **KEPT)
    write_to_store(world, statement)
    found = replayed(world)
    assert [result.outcome for result in found] == ["initial", "the same", "differs", "the same"]
    assert said in found[2].detail
    assert found[2].came != found[2].digest
    assert found[2].wrong


def test_an_earlier_run_can_be_made_again_too(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=2, **KEPT)
    earlier = world.run_row().run_id
    world.round(1.0, 2.0)
    world.round(3.0, 4.0)
    world.restart(new_run=True)
    world.round(5.0, 6.0)
    assert outcomes(world, earlier[:8]) == ["initial", "the same", "the same"]
    assert outcomes(world) == ["initial", "the same"]


def test_only_the_versions_asked_for_are_made_again(make_world: MakeWorld) -> None:
    world = three_rounds(make_world, **KEPT)
    assert [found.version for found in replayed(world, first=2)] == [2, 3]
    assert [found.version for found in replayed(world, last=1)] == [0, 1]
    with pytest.raises(RunError, match="from 0 to 3"):
        replayed(world, first=4)


def test_nothing_in_the_folder_is_changed_while_the_coordinator_runs_or_when_it_was_killed(
    make_world: MakeWorld,
) -> None:
    world = three_rounds(make_world, **KEPT)
    before = contents(world.folder / "state")
    assert "the same" in outcomes(world)
    assert contents(world.folder / "state") == before
    left = Path(shutil.copytree(world.folder / "state", world.folder / "left" / "state"))
    assert (left / "coordinator.db-wal").stat().st_size, "what a killed coordinator leaves"
    before = contents(left)
    replay = Replay(left)
    assert [found.outcome for found in replay.replay(replay.select(3, 3))] == ["the same"]
    replay.close()
    assert contents(left) == before
    (left / "coordinator.db-shm").unlink()  # as in a backup of what a killed coordinator left
    replay = Replay(left)
    assert [found.outcome for found in replay.replay(replay.select(3, 3))] == ["the same"]
    replay.close()
    assert contents(left) == before
    world.close()
    before = contents(world.folder / "state")
    assert "the same" in outcomes(world)
    assert contents(world.folder / "state") == before


def test_who_watches_is_told_of_every_update(make_world: MakeWorld) -> None:
    world = three_rounds(make_world, **KEPT)
    told: list[int] = []
    replay = Replay(world.folder / "state")
    list(replay.replay(replay.select(None, None), told.append))
    replay.close()
    assert sum(told) == 6


def test_where_no_coordinator_ran_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has the coordinator ever run"):
        Replay(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there_is_said(make_world: MakeWorld) -> None:
    world = three_rounds(make_world)
    with pytest.raises(RunError, match="expected the id of one run"):
        replayed(world, "xyz")
