"""What one version hands to the next is there after any restart, and as long as it is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coordinator.errors import RunError, StoreError
from coordinator.models import ModelFolder
from coordinator.policy import RoundPolicy
from coordinator.replay import Replay, Replayed
from tests.coordinator.test_service_policy import reload, start
from tests.coordinator.test_service_time import until
from tests.coordinator.world import MakeWorld, World

ALGORITHMS: dict[str, dict[str, object]] = {
    "nova": {"rule": "nova"},
    "median": {"rule": "median"},
    "trimmed mean": {"rule": "trimmed-mean", "trim": 0.34, "clip_norm": 2.0},
    "momentum": {"optimizer": "momentum"},
    "adagrad": {"optimizer": "adagrad", "normalise": "count"},
    "adam": {"optimizer": "adam"},
    "yogi": {"optimizer": "yogi", "example_weights": "sqrt"},
    "ca2fl": {"rule": "ca2fl"},
    "mifa": {"rule": "mifa", "population": 9},
    "ca2fl with adam": {"rule": "ca2fl", "optimizer": "adam", "normalise": "count"},
}
VALUES = ((0.1, 1 / 3), (0.7, -2.0), (1.5, 0.7), (-0.2, 0.9))
NAMES = (("a", "b"), ("b", "c"), ("a", "c"), ("d", "b"))
KEPT = {"coordinator__spool_keep_rounds": "all", "coordinator__keep_versions": "all"}


def options(algorithm: dict[str, object], **others: object) -> dict[str, object]:
    named = {f"algorithm__{name}": value for name, value in algorithm.items()}
    return {"run__rounds": 9, "rounds__concurrency": 3, **named, **others}


def play(world: World, restarts: bool = False, rounds: int = 4) -> None:
    """Rounds of the same few workers, and an update that is late."""
    late = world.worker("late")
    begun = world.begin_task(late)
    for number, (names, values) in enumerate(zip(NAMES, VALUES, strict=True)):
        if number >= rounds:
            return
        for name, value in zip(names, values, strict=True):
            if restarts:
                world.restart()
            if number == 2 and name == "c":
                world.finish_task(late, *begun, 4.0)
            else:
                world.answer(world.worker(name), value)


def models(world: World) -> list[bytes]:
    return [world.model(version) for version in range(world.version + 1)]


def replayed(world: World) -> list[Replayed]:
    replay = Replay(world.folder / "state")
    try:
        return list(replay.replay(replay.select(None, None)))
    finally:
        replay.close()


def slots(world: World) -> int:
    """How many slots the file of the newest run has room for."""
    folder = world.folder / "state" / "cached"
    size = 2 * world.layout.num_floats
    return (folder / f"{world.run_row().run_id}.slots").stat().st_size // size


@pytest.mark.parametrize("name", ALGORITHMS)
def test_restarts_between_any_two_updates_change_no_byte_of_any_version(
    make_world: MakeWorld, name: str
) -> None:
    undisturbed, restarted = (make_world(**options(ALGORITHMS[name])) for _ in range(2))
    play(undisturbed)
    play(restarted, restarts=True)
    assert restarted.version == 4
    assert models(restarted) == models(undisturbed)
    assert len(set(models(restarted))) == 5


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_version_can_be_made_again(make_world: MakeWorld, name: str) -> None:
    world = make_world(**options(ALGORITHMS[name], **KEPT))
    play(world, restarts=True)
    found = replayed(world)
    assert [one.outcome for one in found] == ["initial", *4 * ["the same"]], found
    assert not any(one.wrong or one.detail for one in found)


def test_adam_goes_on_from_the_moments_of_the_version_before(make_world: MakeWorld) -> None:
    world = make_world(
        **options({"optimizer": "adam", "server_lr": 1.0, "beta1": 0.5, "beta2": 0.75, "tau": 0.5})
    )
    x, m, v = 1.0, 0.0, 0.25
    for values in VALUES:
        for name, value in zip("ab", values, strict=True):
            world.restart()
            world.answer(world.worker(name), value)
        d = sum(values) / 2
        m = 0.5 * m + 0.5 * d
        v = 0.75 * v + 0.25 * d * d
        x += m / (v**0.5 + 0.5)
        assert world.weight() == pytest.approx(x, rel=1e-5)


def test_ca2fl_remembers_who_stays_away(make_world: MakeWorld) -> None:
    world = make_world(**options({"rule": "ca2fl", "example_weights": "equal", "population": 4}))
    cached = dict.fromkeys("abcd", 0.0)
    x = 1.0
    for names, values in zip(NAMES, VALUES, strict=True):
        mean = sum(cached.values()) / 4
        sent = dict(zip(names, values, strict=True))
        x += mean + sum(value - cached[name] for name, value in sent.items()) / 2
        cached |= sent
        for name, value in sent.items():
            world.restart()
            world.answer(world.worker(name), value)
        assert world.weight() == pytest.approx(x, rel=2e-3)


def test_slots_are_written_again_once_no_kept_round_needs_them(make_world: MakeWorld) -> None:
    world = make_world(**options({"rule": "ca2fl"}, run__rounds=40, rounds__concurrency=2))
    for number in range(12):
        if number % 5 == 4:
            world.restart()
        for name in "ab":
            world.answer(world.worker(name), number + 0.5)
        found = replayed(world)[-1]
        assert found.outcome == "the same", found
    # Those in force, those of the round that is kept, and those of the next.
    assert slots(world) <= 6
    assert len(world.read(lambda work: work.cached_slots(world.run_row().run_id))) <= 4


def test_what_was_cached_is_kept_for_as_many_rounds_as_the_updates(
    make_world: MakeWorld,
) -> None:
    world = make_world(
        segment_bytes=1, **options({"rule": "ca2fl"}, coordinator__spool_keep_rounds=2)
    )
    play(world)
    found = [one.outcome for one in replayed(world)]
    assert found == ["initial", "not recomputed", "not recomputed", "the same", "the same"]


def test_where_updates_are_kept_by_chance_and_the_cached_are_not_that_is_said(
    make_world: MakeWorld,
) -> None:
    world = make_world(**options({"rule": "ca2fl"}))  # in one segment of the spool
    play(world)
    found = replayed(world)
    assert [one.outcome for one in found][-2:] == ["not recomputed", "the same"]
    assert found[3].detail == "the updates that were cached in the round of 2 are gone"
    assert not any(one.wrong for one in found)


def test_the_cached_updates_of_an_earlier_run_go_once_its_rounds_do(make_world: MakeWorld) -> None:
    world = make_world(**options({"rule": "mifa"}, run__rounds=4))
    play(world)
    earlier = world.run_row().run_id
    world.restart(new_run=True)
    folder = world.folder / "state" / "cached"
    assert [path.stem for path in folder.iterdir()] == [earlier]
    assert world.read(lambda work: work.cached_slots(earlier))
    play(world, rounds=1)
    assert [path.stem for path in folder.iterdir()] == [world.run_row().run_id]
    assert not world.read(lambda work: work.cached_slots(earlier))


def test_states_go_with_their_models(make_world: MakeWorld) -> None:
    world = make_world(
        **options({"optimizer": "adam"}, coordinator__keep_versions=2, rounds__max_staleness=1)
    )
    for names in NAMES[:3]:
        for name in names:
            world.answer(world.worker(name))
    folder = world.folder / "state" / "models" / world.run_row().run_id
    assert sorted(path.name for path in folder.iterdir()) == [
        "000002.safetensors",
        "000002.state",
        "000003.safetensors",
        "000003.state",
    ]


def test_a_rule_without_a_state_leaves_no_files(make_world: MakeWorld) -> None:
    world = make_world(**options({}))
    play(world)
    names = {path.name for path in (world.folder / "state").rglob("*")}
    assert not any(name.endswith(".state") or name == "cached" for name in names)
    assert world.version_row(4).state_file == ""


def test_a_state_that_is_damaged_or_gone_is_said_at_the_start(make_world: MakeWorld) -> None:
    world = make_world(**options({"optimizer": "adam"}))
    play(world)
    path = world.folder / "state" / "models" / world.version_row(4).state_file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    world.kill()
    with pytest.raises(StoreError, match=r"000004\.state is damaged"):
        world.make()
    path.unlink()
    with pytest.raises(StoreError, match=r"000004\.state cannot be read: it is gone"):
        world.make()


def test_a_state_comes_back_as_it_was_and_may_be_written_to(tmp_path: Path) -> None:
    folder = ModelFolder(tmp_path)
    (tmp_path / "run").mkdir()
    state = {"m": np.arange(5, dtype=np.float32), "total": np.full(5, 1 / 3)}
    name, digest = folder.write_state("run", 3, state)
    found = folder.read_state(name, digest)
    assert all(np.array_equal(found[key], state[key]) for key in state)
    found["m"][0] = 7.0


def test_a_replay_finds_a_changed_cached_update(make_world: MakeWorld) -> None:
    world = make_world(**options({"rule": "ca2fl"}, **KEPT))
    play(world)
    path = world.folder / "state" / "cached" / f"{world.run_row().run_id}.slots"
    data = bytearray(path.read_bytes())
    data[1] ^= 0x10
    path.write_bytes(data)
    found = replayed(world)
    assert "differs" in [one.outcome for one in found]


def test_a_replay_finds_a_state_that_differs(make_world: MakeWorld) -> None:
    world = make_world(**options({"optimizer": "momentum"}, **KEPT))
    play(world)
    with world.service._run._store.transaction() as work:
        work.update_version(world.run_row().run_id, 4, state_digest="0" * 64)
    found = replayed(world)[-1]
    assert found.outcome == "differs"
    assert found.detail == "what it hands to the next version differs"


def test_nova_refuses_an_update_that_does_not_say_its_local_steps(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(**options({"rule": "nova"}))
    worker = world.worker("a")
    task, start = world.begin_task(worker)
    update = replace(worker.update(task, start, world.layout, 1.0), local_steps=0.0)
    worker.send(update, worker.payload(world.layout, 1.0))
    world.step()
    row = world.ledger(update.update_id)
    assert row.verdict == "malformed"
    assert "TrainResult.local_steps" in row.reason
    assert "an update of worker a is refused: algorithm.rule" in caplog.text


def test_another_algorithm_holds_from_the_next_version_on(make_world: MakeWorld) -> None:
    world = make_world(**options({"optimizer": "adam", "server_lr": 1.0}, **KEPT))
    world.answer(world.worker("a"), 1.0)
    world.change(algorithm__optimizer="momentum", algorithm__clip_norm=4.0)
    world.restart()
    world.answer(world.worker("b"), 1.0)
    assert RoundPolicy.from_json(world.version_row(1).policy).algorithm.stepping.name == "adam"
    for names in NAMES[1:]:
        for name in names:
            world.answer(world.worker(name), 1.0)
    found = RoundPolicy.from_json(world.version_row(3).policy).algorithm
    assert (found.stepping.name, found.clip_norm) == ("momentum", 4.0)
    assert [one.outcome for one in replayed(world)] == ["initial", *4 * ["the same"]]


def test_a_rule_stays(make_world: MakeWorld) -> None:
    world = make_world(**options({"rule": "ca2fl"}))
    world.change(algorithm__rule="mean")
    world.kill()
    with pytest.raises(RunError, match=r"algorithm\.rule: was \"?ca2fl\"?, now \"?mean"):
        world.make()


@pytest.mark.parametrize("restart", [False, True])
def test_a_paused_run_makes_its_version_by_the_algorithm_that_it_takes_meanwhile(
    make_world: MakeWorld, restart: bool
) -> None:
    world = make_world(
        begin=False,
        rounds__quorum=2,
        rounds__max_extensions=0,
        coordinator__spool_keep_rounds="all",
    )
    start(world)
    world.answer(world.worker("a"), 1.0)
    until(world, 60.0)
    assert world.state == "paused"
    if restart:
        world.change(algorithm__server_lr=0.25)
        world.kill()
        start(world)
    else:
        reload(world, algorithm__server_lr=0.25)
    world.answer(world.worker("b"), 1.0)
    assert world.weight() == 1.25
    assert [one.outcome for one in replayed(world)] == ["initial", "the same"]
