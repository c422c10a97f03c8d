"""A training process keeps its workers' stores open, and takes none for another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.worker.examples import a_task, an_update
from worker.errors import StoreError
from worker.store import Store
from worker.stores import Stores

TASK = a_task()
UPDATE = an_update(TASK)


def kept(folder: Path) -> Store:
    """A worker's store with a task in it."""
    store = Store(folder)
    store.inbox.keep_task(TASK)
    return store


def test_a_store_stays_open_for_the_next_job(tmp_path: Path) -> None:
    agent, stores = kept(tmp_path), Stores(kept=1)
    with stores.opened(tmp_path, agent.life) as first:
        pass
    with stores.opened(tmp_path, agent.life) as again:
        assert again is first
    agent.close()


def test_no_more_stay_open_than_are_kept(tmp_path: Path) -> None:
    agents = [kept(tmp_path / name) for name in "abc"]
    stores = Stores(kept=2)
    opened = []
    for agent in (*agents, agents[2], agents[1], agents[0]):
        with stores.opened(agent.path, agent.life) as store:
            assert store.known(TASK.task_id) == "held"
            opened.append(store)
    a, b, c, c_again, b_again, a_again = opened
    assert (c_again, b_again) == (c, b)
    assert a_again is not a
    for agent in agents:
        agent.close()


def test_a_folder_that_was_made_anew_has_another_store(tmp_path: Path) -> None:
    """Or an update would be committed to a database without a name, and be lost."""
    folder, stores = tmp_path / "w1", Stores(kept=1)
    before = kept(folder)
    life = before.life
    with stores.opened(folder, life):
        pass
    before.close()
    shutil.rmtree(folder)
    after = kept(folder)
    assert after.life != life
    with stores.opened(folder, after.life) as store:
        store.finish(UPDATE, 64, b"payload")
    assert [parcel.update_id for parcel in after.parcels()] == [UPDATE.update_id]
    after.close()


def test_a_store_that_failed_is_opened_anew(tmp_path: Path) -> None:
    agent, stores = kept(tmp_path), Stores(kept=1)
    with stores.opened(tmp_path, agent.life) as first:
        pass
    with pytest.raises(StoreError), stores.opened(tmp_path, agent.life):
        raise StoreError("disk I/O error")
    with stores.opened(tmp_path, agent.life) as again:
        assert again is not first
        again.finish(UPDATE, 64, b"payload")
    agent.close()
