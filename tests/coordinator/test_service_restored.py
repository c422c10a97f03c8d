"""A store that was restored from a backup, and messages that are newer than it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from coordinator.errors import Restored
from coordinator.intake import newest_believed
from schemas.digest import update_id_of
from schemas.messages import Declined, Taken, encode
from tests.coordinator.world import MakeWorld, World


def back_up(world: World) -> None:
    world.kill()
    world.close()
    shutil.copytree(world.folder / "state", world.folder / "backup")
    world._store = None
    world.begin()


def restore(world: World) -> None:
    world.kill()
    world.close()
    world._store = None
    shutil.rmtree(world.folder / "state")
    shutil.copytree(world.folder / "backup", world.folder / "state")


def test_an_update_of_a_newer_version_stops_it_and_stays_with_the_broker(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    back_up(world)
    world.round(1.0, 1.0)
    worker = world.somebody()
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    restore(world)
    worker.send(update, worker.payload(world.layout, 1.0))
    for _ in range(2):
        with pytest.raises(Restored, match="--restored"):
            world.begin()
        world.kill()
        assert world.ready("update") == 1
        assert not world.has_verdict(update.update_id)
    world.begin(restored=True)
    assert world.verdict(update.update_id) == "other timeline"
    world.round(1.0, 1.0)
    assert world.version == 1


@pytest.mark.parametrize("kind", ["update", "part", "taken", "declined"])
def test_a_message_of_a_newer_incarnation_stops_it(make_world: MakeWorld, kind: str) -> None:
    world = make_world(size=30_000)
    worker = world.somebody()
    task, start = world.begin_task(worker)
    newer = replace(task, incarnation=task.incarnation + 5)
    update = worker.update(newer, start, world.layout, 1.0)
    payload = worker.payload(world.layout, 1.0)
    names = (task.run_id, task.task_id, worker.worker_id, newer.incarnation)
    match kind:
        case "update":
            worker.send(update, payload)
        case "part":
            worker.send_part(update, payload, 64 * 1024, 0)
        case "taken":
            worker.ask("taken", Taken(*names))
        case _:
            worker.ask("declined", Declined(*names, "no"))
    with pytest.raises(Restored, match=str(newer.incarnation)):
        world.step()
    world.kill()
    queue = "update" if kind in ("update", "part") else "control"
    assert world.ready(queue) == 1
    world.begin(restored=True)
    assert world.run_row().state == "collecting"
    assert world.ready(queue) == 0


def test_a_new_life_is_above_every_one_that_was_seen(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, _ = world.begin_task(worker)
    seen = task.incarnation + 10**9  # a clock that was far ahead
    worker.ask("taken", Taken(task.run_id, task.task_id, worker.worker_id, seen))
    with pytest.raises(Restored):
        world.step()
    world.kill()
    world.begin(restored=True)
    fresh, _ = world.begin_task(world.somebody())
    assert fresh.incarnation > seen


@pytest.mark.parametrize("forged", [2**52, 2**53])
def test_a_forged_incarnation_neither_stops_it_nor_ends_its_line(
    make_world: MakeWorld, forged: int
) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    names = (task.run_id, task.task_id, worker.worker_id, forged)
    worker.ask("taken", Taken(*names))
    worker.ask("declined", Declined(*names, "no"))
    made = update_id_of(forged, task.task_id, worker.worker_id)
    update = replace(
        worker.update(task, start, world.layout, 1.0), incarnation=forged, update_id=made
    )
    worker.send(update, worker.payload(world.layout, 1.0))
    world.step()
    assert world.strays() == {"malformed": 3}
    world.finish_task(worker, task, start)
    world.round(1.0)
    assert world.version == 1


def test_the_newest_incarnation_that_is_believed_leaves_room_for_those_that_follow(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    for _ in range(3):
        worker = world.somebody()
        task, _ = world.begin_task(worker)
        newest = newest_believed(task.incarnation, world.now)
        worker.ask("taken", Taken(task.run_id, task.task_id, worker.worker_id, newest))
        with pytest.raises(Restored):
            world.step()
        world.kill()
        world.begin(restored=True)
    world.round(1.0, 1.0)
    assert world.version == 1
    assert world.strays() == {}


def test_tasks_of_the_life_before_are_not_wanted_and_new_ones_are_offered_at_once(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.restart(restored=True)
    assert len(world.open_tasks()) == 2
    assert not world.ask_start(worker, task).wanted
    assert world.verdict(world.finish_task(worker, task, start)) == "other timeline"
    world.round(1.0, 3.0)
    assert world.weight() == 3.0


def test_a_good_message_beside_a_newer_one_is_counted_after_the_restore(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    worker.send(update, worker.payload(world.layout, 1.0))
    made = update_id_of(task.incarnation + 1, task.task_id, worker.worker_id)
    newer = replace(update, incarnation=task.incarnation + 1, update_id=made)
    worker.send_bytes(encode(newer, worker.payload(world.layout, 1.0)), update.run_id)
    with pytest.raises(Restored):
        world.step()
    assert not world.has_verdict(update.update_id)
    world.kill()
    assert world.ready("update") == 2


def test_a_worker_that_was_ahead_of_the_restored_store_may_take_a_task(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.restart(restored=True)
    worker = world.somebody()
    token = worker.say_present(run_id=world.run_row().run_id, last_version=2)
    world.step()
    assert worker.standing_of(token).may_take


def test_a_worker_that_has_trained_on_a_version_not_made_stops_it(make_world: MakeWorld) -> None:
    world = make_world()
    back_up(world)
    world.round(1.0, 1.0)
    run, incarnation = world.run_row().run_id, world.read(lambda work: work.incarnation())
    restore(world)
    world.begin()
    worker = world.somebody()
    worker.say_present(run_id=run, last_version=1, incarnation=incarnation)
    with pytest.raises(Restored, match="has trained on version 1, the store has 0"):
        world.step()
    world.kill()
    world.begin(restored=True)
    token = worker.say_present(run_id=run, last_version=1, incarnation=incarnation)
    world.step()
    assert worker.standing_of(token).may_take, "what was trained before the restore holds no one"


def test_tasks_made_after_a_restore_that_nobody_told_of_are_others(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=5)
    world.round(1.0, 1.0)
    back_up(world)
    before = {world.begin_task(world.somebody())[0].task_id for _ in range(2)}
    world.restart()
    before |= {row.task_id for row in world.open_tasks()}
    world.round(1.0, 1.0)
    before |= {row.task_id for row in world.open_tasks()}
    restore(world)
    world.begin()
    kept = {row.task_id for row in world.open_tasks()}
    world.round(1.0, 1.0)
    made = {row.task_id for row in world.open_tasks()} - kept
    assert made
    assert not made & before


def test_who_answered_for_the_time_before_a_restore_may_try_again(make_world: MakeWorld) -> None:
    world = make_world()
    workers = [world.worker("a"), world.worker("b")]
    begun = [(worker, *world.begin_task(worker)) for worker in workers]
    world.kill()
    world.begin(restored=True)
    for worker, task, start in begun:
        assert world.verdict(world.finish_task(worker, task, start)) == "other timeline"
    for worker in workers:
        token = worker.say_present(run_id=world.run_row().run_id, last_version=0)
        world.step()
        assert worker.standing_of(token).may_take
        world.answer(worker)
    assert world.version == 1


def test_who_counted_before_a_restore_is_not_let_in_again(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.worker("a")
    world.answer(worker)
    world.kill()
    world.begin(restored=True)
    offered = world.tasks_made()
    for _ in range(5):
        token = worker.say_present(run_id=world.run_row().run_id, last_version=0)
        world.step()
        assert not worker.standing_of(token).may_take
    assert world.tasks_made() == offered


def test_a_worker_that_comes_from_another_federation_stops_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    newer = world.read(lambda work: work.incarnation()) + 1000
    token = worker.say_present(run_id="e" * 32, last_version=7, incarnation=newer)
    world.step()
    assert worker.standing_of(token).may_take


def test_a_worker_that_says_it_trained_on_more_versions_than_there_can_be_stops_nothing(
    make_world: MakeWorld,
) -> None:
    world = make_world(run__rounds=3)
    worker = world.somebody()
    incarnation = world.read(lambda work: work.incarnation())
    token = worker.say_present(
        run_id=world.run_row().run_id, last_version=127, incarnation=incarnation
    )
    world.step()
    assert worker.standing_of(token).version == 0
    assert world.state == "collecting"
