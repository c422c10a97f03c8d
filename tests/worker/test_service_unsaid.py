"""The whole worker, told beforehand what a task would be for; with a scripted coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.test_service import Federation, HeldTrainer
from worker.rows import ASKS, GOES_ON, SAID
from worker.store import Store
from worker.unsaid import SAY_S


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Federation]:
    made = Federation(tmp_path, tells_base=True)
    yield made
    made.close()


def held(telling: Federation) -> tuple[bool, int | None]:
    """Whether a task is in the inbox, and who knows of it."""
    store = Store(telling.folder / "w1")
    found = store.inbox.held()
    store.close()
    return found is not None, None if found is None else found.said


def begun(telling: Federation) -> HeldTrainer:
    """A worker that trains on a task, and has not said that it has it."""
    trainer = HeldTrainer()
    telling.worker(trainer=trainer)
    telling.coordinator.offer()
    telling.coordinator.publish_version(0)
    telling.run()
    assert len(trainer.jobs) == 1
    assert held(telling) == (True, ASKS)
    return trainer


def test_tasks_that_are_soon_done_are_never_said_to_be_taken(telling: Federation) -> None:
    telling.worker()
    for version in range(3):
        telling.coordinator.offer()
        telling.coordinator.publish_version(version)
        telling.run()
    telling.run(600.0)
    assert len(telling.coordinator.updates) == 3
    assert telling.coordinator.taken == []
    telling.close()
    assert telling.pool_size() == 0  # all were acked


def test_one_that_is_not_is_said_to_be_taken_and_acked(telling: Federation) -> None:
    trainer = begun(telling)
    telling.run(SAY_S)
    assert len(telling.coordinator.taken) == 1
    assert held(telling) == (True, SAID)
    telling.workers.pop().kill()
    assert telling.pool_size() == 0
    telling.worker(trainer=trainer)
    trainer.release()
    telling.run()
    assert len(telling.coordinator.updates) == 1
    assert len(telling.coordinator.taken) == 1


def test_killed_before_it_was_said_to_be_taken_a_task_is_asked_for_again(
    telling: Federation,
) -> None:
    """The broker offers it to others too, and the coordinator may not want it any more."""
    trainer = begun(telling)
    telling.workers.pop().kill()
    assert telling.pool_size() == 1
    telling.coordinator.answers = False
    telling.worker(trainer=trainer)
    telling.run()
    assert len(telling.coordinator.taken) == 1
    assert trainer.jobs == []
    telling.coordinator.answers = True
    telling.run(60.0)
    assert len(trainer.jobs) == 1


def test_one_that_is_not_wanted_any_more_is_cancelled(telling: Federation) -> None:
    trainer = begun(telling)
    telling.coordinator.unwanted.add(telling.coordinator.tasks[0].task_id)
    telling.run(SAY_S)
    assert len(trainer.cancelled) == 1


def test_what_goes_on_after_a_kill_without_a_broker_is_said_when_there_is_one(
    telling: Federation,
) -> None:
    trainer = begun(telling)
    telling.workers[0].go_offline()
    telling.run()
    assert held(telling) == (True, GOES_ON)
    telling.workers.pop().kill()
    telling.worker(trainer=trainer)
    telling.run()
    assert len(trainer.jobs) == 1  # it went on
    assert len(telling.coordinator.taken) == 1
    trainer.release()
    telling.run()
    assert len(telling.coordinator.updates) == 1


def test_killed_again_and_again_it_is_given_up_after_three_times(telling: Federation) -> None:
    """Said to be taken or not."""
    trainer, begun_so_often = HeldTrainer(), 0
    telling.coordinator.offer()
    telling.coordinator.publish_version(0)
    for _ in range(5):
        telling.worker(trainer=trainer)
        telling.run()
        begun_so_often += len(trainer.jobs)
        if telling.coordinator.declined:
            break
        telling.workers.pop().kill()
    assert begun_so_often == 3
    assert len(telling.coordinator.declined) == 1
