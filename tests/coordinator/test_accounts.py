"""What people ask of the store is answered from what was written, and read in pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.accounts import Accounts, Wanted, each_stray, each_update
from coordinator.enrolment import Enrolment
from coordinator.errors import RunError
from coordinator.store import Store
from tests.coordinator.rows import RUN_ID, ledger_row, run_row, task_row


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create_or_open(tmp_path / "coordinator.db", "demo", 1.0)
    store.take_epoch()
    yield store
    store.close()


@pytest.fixture
def accounts(store: Store) -> Iterator[Accounts]:
    with store.transaction() as work:
        yield Accounts(work)


def insert(accounts: Accounts, *ids: str, **changes: object) -> None:
    for update_id in ids:
        row = ledger_row(update_id=update_id, worker_id=f"w-{update_id}", **changes)
        accounts.work.insert_ledger_row(row)


def test_a_run_is_named_by_how_its_id_begins(accounts: Accounts) -> None:
    with pytest.raises(RunError, match="none was ever begun"):
        accounts.run()
    accounts.work.insert_run(run_row(run_id="aa" * 16, number=1))
    accounts.work.insert_run(run_row(run_id="ab" * 16, number=2))
    assert accounts.run().number == 2
    assert accounts.run("aa").number == 1
    with pytest.raises(RunError, match="how 2 of them begin"):
        accounts.run("a")
    with pytest.raises(RunError, match="aaaaaaaa, abababab"):
        accounts.run("b")


def test_a_run_is_followed_by_the_next(accounts: Accounts) -> None:
    rows = [run_row(run_id=f"{number:032x}", number=number) for number in (1, 2, 5)]
    for row in rows:
        accounts.work.insert_run(row)
    assert accounts.run_after(rows[0]) == rows[1]
    assert accounts.run_after(rows[1]) == rows[2]
    assert accounts.run_after(rows[2]) is None


def test_ids_are_found_by_how_they_begin(accounts: Accounts) -> None:
    ids = ["ab" + 30 * "0", "abf" + 29 * "f", "ac" + 30 * "0", "aa" + 30 * "f"]
    insert(accounts, *ids)
    found = [row.update_id for row in accounts.updates_like("ab", 10)]
    assert found == ids[:2]
    assert len(accounts.updates_like("a", 3)) == 3
    assert accounts.updates_like("ad", 10) == []
    assert [row.update_id for row in accounts.updates_like(ids[3], 10)] == [ids[3]]


def test_the_last_updates_come_oldest_first(accounts: Accounts) -> None:
    insert(accounts, "a", "b", "c")
    assert [row.update_id for row in accounts.last_updates(Wanted(), 2)] == ["b", "c"]


def test_who_met_a_later_round_with_an_old_version_came_late(accounts: Accounts) -> None:
    insert(accounts, "in time", base_version=1, round_version=1)
    insert(accounts, "late", base_version=1, round_version=3)
    insert(accounts, "another", base_version=2, round_version=3)
    assert [row.update_id for row in accounts.latecomers(RUN_ID, 1, 9)] == ["late"]


def test_the_task_that_replaced_another_is_found(accounts: Accounts) -> None:
    old = task_row(task_id="a" * 32, number=0, replaced=True)
    new = task_row(task_id="b" * 32, number=1, replaces=old.task_id)
    accounts.work.insert_task(old)
    accounts.work.insert_task(new)
    assert accounts.replacement_of(old) == new
    assert accounts.replacement_of(new) is None


def test_a_rounds_tasks_are_those_taken_in_it_and_those_never_taken(accounts: Accounts) -> None:
    for number, (offered, base) in enumerate([(0, 0), (0, 1), (0, None), (1, 1), (1, None)]):
        row = task_row(
            task_id=f"{number:032x}", number=number, offered_version=offered, base_version=base
        )
        accounts.work.insert_task(row)
    assert accounts.task_ends_of_round(RUN_ID, 0) == [("offered", "", 2)]
    assert accounts.task_ends_of_round(RUN_ID, 1) == [("offered", "", 3)]
    assert accounts.offered_in_round(RUN_ID, 0) == 3


def test_a_worker_is_known_by_anything_it_did(accounts: Accounts) -> None:
    Enrolment(accounts.work).see("seen", False, 1.0)
    accounts.work.insert_ledger_row(ledger_row(worker_id="sent"))
    accounts.work.insert_task(task_row(worker_id="took"))
    accounts.work.insert_task(task_row(task_id="c" * 32, number=1))
    assert all(accounts.knows_worker(name) for name in ("seen", "sent", "took"))
    assert not accounts.knows_worker("nobody")
    assert not accounts.knows_worker(""), "that nobody took a task is no worker"


@pytest.mark.parametrize("page_rows", [1, 2, 3, 7, 8, 100])
def test_pages_follow_each_other_without_a_gap(store: Store, page_rows: int) -> None:
    with store.transaction() as work:
        for number in range(7):
            late = {"verdict": "late"} if number % 2 else {}
            work.insert_ledger_row(
                ledger_row(update_id=f"{number}", worker_id=f"w{number}", **late)
            )
            work.record_stray(f"{number}", "malformed", "short", {}, 3, float(number % 3))
    ids = [row.update_id for row in each_update(store, Wanted(), page_rows)]
    assert ids == [f"{number}" for number in range(7)]
    late_ones = each_update(store, Wanted(verdict="late"), page_rows)
    assert [row.update_id for row in late_ones] == ["1", "3", "5"]
    strays = [row.digest for row in each_stray(store, Wanted(), page_rows)]
    assert strays == ["0", "3", "6", "1", "4", "2", "5"], "oldest first, then by digest"
