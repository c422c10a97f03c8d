"""The store keeps all of a transaction or nothing, and one process writes it."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from coordinator.accounts import Accounts
from coordinator.enrolment import Enrolment
from coordinator.errors import Fenced, StoreError
from coordinator.records import Place
from coordinator.schema import SCHEMA_VERSION
from coordinator.store import Store
from coordinator.work import Work
from disk import make_folders
from simulation.disk import SimulatedDisk
from simulation.mishaps import Mishaps
from simulation.platter import Platter
from tests.coordinator.rows import RUN_ID, ledger_row, run_row, task_row, version_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with_epoch = opened(path)
    yield with_epoch
    with_epoch.close()


def opened(path: Path, federation: str = "shops") -> Store:
    store = Store.create_or_open(path, federation, 1_000.0)
    store.take_epoch()
    return store


class Crash(Exception):
    """The process ends here."""


def update_ids(store: Store) -> list[str]:
    with store.reading() as work:
        return [row.update_id for row in work.counted_in_round(RUN_ID, 0)]


# transactions


def test_who_is_to_write_waits_before_it_reads_and_not_at_its_commit(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or two could read, decide, and both write what they decided."""
    monkeypatch.setattr("coordinator.store.BUSY_S", 0.0)
    other = Store.create_or_open(path, "shops", 1_000.0)
    other.epoch = store.epoch
    with store.transaction():
        with pytest.raises(OperationalError, match="locked"), other.transaction():
            raise AssertionError("it began beside the other")
        with other.reading() as work:
            assert work.runs() == [], "who only looks waits for nobody"
    with other.transaction() as work:
        work.set_incarnation(9)
    other.close()


@pytest.mark.parametrize("seed", range(10))
def test_a_new_store_outlives_a_power_cut(seed: int) -> None:
    path, platter = Path("/state/coordinator.db"), Platter()
    disk = SimulatedDisk(platter, Mishaps())
    make_folders(disk, path.parent)
    first = Store.create_or_open(path, "shops", 1_000.0, disk)
    first.take_epoch()
    platter.cut_power(random.Random(seed))
    second = Store.create_or_open(path, "shops", 2_000.0, disk)
    assert second.take_epoch() == 2, "the name of the database was gone, and all that it holds"


def write_everything_and_crash(work: Work) -> None:
    work.update_run(RUN_ID, state="closed", version=1)
    work.update_task("a" * 32, state="answered")
    work.insert_ledger_row(ledger_row())
    work.insert_version(version_row())
    work.record_stray("d" * 64, "malformed", "short", {}, 3, 1.0)
    Enrolment(work).see("w", False, 1.0)
    work.attempt_parked("e" * 64)
    work.set_incarnation(9)
    raise Crash


def test_a_transaction_that_ends_is_there_after_opening_again(store: Store, path: Path) -> None:
    with store.transaction() as work:
        work.insert_run(run_row())
        work.insert_version(version_row())
        work.insert_task(task_row())
        work.insert_ledger_row(ledger_row())
    again = opened(path)
    with again.reading() as work:
        assert work.runs() == [run_row()]
        assert work.last_run() == run_row()
        assert work.versions(RUN_ID) == [version_row()]
        assert work.task("a" * 32) == task_row()
        assert work.ledger_row("b" * 32) == dataclasses.replace(ledger_row(), arrival=1)
    again.close()


def test_a_crash_inside_a_transaction_leaves_nothing_of_it(store: Store) -> None:
    with store.transaction() as work:
        work.insert_run(run_row())
        work.insert_task(task_row())
    with pytest.raises(Crash), store.transaction() as work:
        write_everything_and_crash(work)
    with store.reading() as work:
        assert work.runs() == [run_row()]
        assert work.open_tasks(RUN_ID) == [task_row()]
        assert work.ledger_row("b" * 32) is None
        assert work.versions(RUN_ID) == []
        assert work.count_strays() == {}
        assert Enrolment(work).ids() == []
        assert work.incarnation() == 1_000_000


def test_a_transaction_reads_what_it_wrote(store: Store) -> None:
    with store.transaction() as work:
        assert not work.counted_before(RUN_ID, "train", 0, "w")
        work.insert_ledger_row(ledger_row())
        assert work.counted_before(RUN_ID, "train", 0, "w")


def test_a_row_that_is_refused_takes_its_transaction_with_it(store: Store) -> None:
    with contextlib.suppress(IntegrityError), store.transaction() as work:
        work.insert_ledger_row(ledger_row())
        work.insert_ledger_row(ledger_row())
    assert update_ids(store) == []


def test_nothing_is_written_before_an_epoch_is_taken(path: Path) -> None:
    store = Store.create_or_open(path, "shops", 1_000.0)
    with pytest.raises(Fenced), store.transaction():
        pass
    store.close()


def test_someone_who_looks_neither_waits_for_a_writer_nor_makes_it_wait(store: Store) -> None:
    with store.transaction() as work:
        work.insert_run(run_row())
    with store.transaction() as writing, store.reading() as looking:
        writing.update_run(RUN_ID, state="closed")
        assert looking.runs()[0].state == "collecting"
    with store.reading() as looking:
        assert looking.runs()[0].state == "closed"
        with store.transaction() as writing:
            writing.update_run(RUN_ID, state="ended")
        assert looking.runs()[0].state == "closed", "what it sees does not change under it"


# one writer


def test_who_takes_an_epoch_fences_the_one_before(path: Path) -> None:
    older, newer = opened(path), opened(path)
    assert (older.epoch, newer.epoch) == (1, 2)
    with pytest.raises(Fenced, match="epoch 2, ours 1"), older.transaction() as work:
        work.insert_run(run_row())
    with newer.transaction() as work:
        assert work.runs() == []
        work.insert_run(run_row())
    older.close()
    newer.close()


def test_a_fenced_store_stays_fenced_and_can_take_no_incarnation(path: Path) -> None:
    older, newer = opened(path), opened(path)
    for _ in range(2):
        with pytest.raises(Fenced):
            older.take_incarnation(0, 2_000.0)
    with newer.reading() as work:
        assert work.incarnation() == 1_000_000
    older.close()
    newer.close()


def test_a_second_writer_does_not_come_between_the_check_and_the_commit(path: Path) -> None:
    older = opened(path)
    with older.transaction() as work:
        work.insert_run(run_row())
        with (
            pytest.raises(sqlite3.OperationalError, match="locked"),
            sqlite3.connect(path, timeout=0) as other,
        ):
            other.execute("UPDATE store SET epoch = epoch + 1")
    other.close()
    older.close()


# lives


def test_a_new_store_begins_a_life_that_is_above_all_older_ones(tmp_path: Path) -> None:
    lives = []
    for number, now in enumerate((1_000.0, 1_000.001, 2e9)):
        store = Store.create_or_open(tmp_path / f"{number}.db", "shops", now)
        with store.reading() as work:
            lives.append(work.incarnation())
        store.close()
    assert lives == sorted(set(lives))
    assert lives[-1] < 2**53


def test_opening_again_keeps_the_life(store: Store, path: Path) -> None:
    again = Store.create_or_open(path, "shops", 5_000.0)
    with again.reading() as work:
        assert work.incarnation() == 1_000_000
    again.close()


@pytest.mark.parametrize(("above", "now"), [(0, 0.0), (1_000_000, 1.0), (5, 9e6), (2**52, 5.0)])
def test_a_new_incarnation_is_above_the_stores_the_clocks_and_all_seen(
    store: Store, above: int, now: float
) -> None:
    taken = store.take_incarnation(above, now)
    assert taken > max(above, 1_000_000)
    assert taken >= now * 1000
    with store.reading() as work:
        assert work.incarnation() == taken


def test_a_new_incarnation_ends_the_tasks_of_the_old_one(store: Store) -> None:
    with store.transaction() as work:
        work.insert_task(task_row())
    store.take_incarnation(0, 5.0)
    with store.reading() as work:
        assert work.open_tasks(RUN_ID) == []


# the ledger


def test_an_update_has_one_verdict_for_ever(store: Store) -> None:
    with store.transaction() as work:
        work.insert_ledger_row(ledger_row(verdict="late"))
    with pytest.raises(IntegrityError), store.transaction() as work:
        work.insert_ledger_row(ledger_row(verdict="counted", worker_id="x"))
    with store.reading() as work:
        row = work.ledger_row("b" * 32)
        assert row is not None
        assert row.verdict == "late"


def test_a_worker_counts_once_for_a_version(store: Store) -> None:
    with store.transaction() as work:
        work.insert_ledger_row(ledger_row())
    with pytest.raises(IntegrityError), store.transaction() as work:
        work.insert_ledger_row(ledger_row(update_id="c" * 32, round_version=5))
    assert update_ids(store) == ["b" * 32]


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "repeated"},
        {"worker_id": "x"},
        {"base_version": 1},
        {"run_id": "f" * 32},
        {"kind": "evaluate"},
    ],
)
def test_what_differs_in_run_kind_version_worker_or_is_refused_is_no_second_count(
    store: Store, changes: dict[str, object]
) -> None:
    with store.transaction() as work:
        work.insert_ledger_row(ledger_row())
        work.insert_ledger_row(ledger_row(update_id="c" * 32, **changes))


def test_updates_of_a_round_come_in_the_order_of_arrival(store: Store) -> None:
    ids = [f"{number:032x}" for number in (5, 3, 9, 1)]
    for update_id in ids:
        with store.transaction() as work:
            work.insert_ledger_row(ledger_row(update_id=update_id, worker_id=update_id))
            other = f"f{update_id[1:]}"
            work.insert_ledger_row(ledger_row(update_id=other, verdict="late", worker_id="x"))
    assert update_ids(store) == ids
    with store.reading() as work:
        arrivals = [row.arrival for row in work.counted_in_round(RUN_ID, 0)]
        assert arrivals == sorted(arrivals)
        assert work.counted_in_round(RUN_ID, 1) == []
        assert work.count_by_verdict(RUN_ID) == {"counted": 4, "late": 4}
        assert work.count_by_verdict("f" * 32) == {}


def test_an_arrival_number_is_never_given_again(store: Store, path: Path) -> None:
    with store.transaction() as work:
        work.insert_ledger_row(ledger_row())
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM ledger")
    connection.close()
    with store.transaction() as work:
        work.insert_ledger_row(ledger_row())
        row = work.ledger_row("b" * 32)
    assert row is not None
    assert row.arrival == 2


def test_copies_are_told_apart_from_updates(store: Store) -> None:
    with store.transaction() as work:
        assert Accounts(work).copies(RUN_ID) == 0
        work.insert_ledger_row(ledger_row())
        work.raise_copies("b" * 32)
        work.raise_copies("b" * 32)
        assert Accounts(work).copies(RUN_ID) == 2
        assert work.count_by_verdict(RUN_ID) == {"counted": 1}


def test_the_spool_is_kept_from_the_first_segment_of_the_versions_asked_for(store: Store) -> None:
    with store.transaction() as work:
        assert work.oldest_segment(RUN_ID, 0) is None
        for number, (version, segment) in enumerate([(0, 1), (1, 2), (2, 2), (2, 0), (3, 4)]):
            row = ledger_row(
                update_id=f"{number:032x}",
                worker_id=f"w{number}",
                round_version=version,
                segment=segment,
            )
            work.insert_ledger_row(row)
        assert [work.oldest_segment(RUN_ID, version) for version in range(5)] == [1, 2, 2, 4, None]


def test_a_ledger_row_says_where_the_update_lies() -> None:
    assert ledger_row(segment=3, place=5, length=7).where == Place(3, 5, 7)


# the rest


def test_bytes_without_an_update_id_are_counted_by_their_digest(store: Store) -> None:
    with store.transaction() as work:
        for digest in ("d" * 64, "d" * 64, "e" * 64):
            work.record_stray(digest, "malformed", "short", {"worker_id": "w"}, 3, 1.0)
        work.record_stray("f" * 64, "poison", "thrice", {}, 3, 1.0)
        assert work.count_strays() == {"malformed": 2, "poison": 1}


def test_an_accepted_stray_is_counted_again_when_it_is_refused_again(store: Store) -> None:
    digest = "d" * 64
    with store.transaction() as work:
        work.record_stray(digest, "malformed", "short", {}, 3, 1.0)
        work.accept_stray(digest, 2.0)
        work.accept_stray(digest, 3.0)
        work.accept_stray("e" * 64, 3.0)
        row = work.stray(digest)
        assert row is not None
        assert row.accepted_at == 2.0
        assert work.count_strays() == {}
        work.record_stray(digest, "poison", "thrice", {}, 3, 4.0)
        assert work.count_strays() == {"poison": 1}


def test_attempts_at_a_parked_message_are_counted(store: Store) -> None:
    counts = []
    for _ in range(3):
        with store.transaction() as work:
            counts.append(work.attempt_parked("d" * 64))
    assert counts == [1, 2, 3]
    with store.transaction() as work:
        assert work.attempt_parked("e" * 64) == 1


def test_a_worker_is_known_from_when_it_was_first_seen(store: Store) -> None:
    with store.transaction() as work:
        Enrolment(work).see("b", False, 1.0)
        Enrolment(work).see("a", False, 2.0)
        Enrolment(work).see("b", True, 3.0)
        assert Enrolment(work).ids() == ["a", "b"]
        second = Accounts(work).worker("b")
    assert second is not None
    assert (second.first_seen, second.last_seen, second.leaving) == (1.0, 3.0, True)


def test_open_tasks_are_those_offered_or_taken_in_the_order_of_their_numbers(store: Store) -> None:
    states = ["taken", "answered", "offered", "lapsed", "declined", "ended", "offered"]
    with store.transaction() as work:
        for number, state in reversed(list(enumerate(states))):
            work.insert_task(task_row(task_id=f"{number:032x}", number=number, state=state))
        assert [task.number for task in work.open_tasks(RUN_ID)] == [0, 2, 6]
        assert work.open_tasks("f" * 32) == []


def test_a_task_comes_back_as_the_machine_knows_it() -> None:
    row = task_row(worker_id="w", lease_end=9.0, offered_version=4, replaces="c" * 32)
    task = row.as_open()
    assert (task.task_id, task.version) == ("a" * 32, 4)
    assert (task.worker_id, task.lease_end, task.replaces) == ("w", 9.0, "c" * 32)


def test_fields_of_one_row_are_changed_and_of_no_other(store: Store) -> None:
    with store.transaction() as work:
        work.insert_run(run_row())
        work.insert_run(run_row(run_id="f" * 32, number=2))
        work.insert_version(version_row())
        work.insert_version(version_row(version=1))
        work.update_run(RUN_ID, state="ended", ended_at=5.0)
        work.update_version(RUN_ID, 1, stream_offset=3)
        assert work.runs() == [
            run_row(state="ended", ended_at=5.0),
            run_row(run_id="f" * 32, number=2),
        ]
        assert work.last_run() == run_row(run_id="f" * 32, number=2)
        assert work.version(RUN_ID, 0) == version_row()
        assert work.version(RUN_ID, 1) == version_row(version=1, stream_offset=3)
        assert work.version(RUN_ID, 2) is None


# files that are no store of ours


def one_line(path: Path, federation: str = "shops") -> str:
    with pytest.raises(StoreError) as caught:
        Store.create_or_open(path, federation, 1.0)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_another_federations_store_is_refused(store: Store, path: Path) -> None:
    assert "belongs to federation 'shops'" in one_line(path, "banks")


def changed(path: Path, *statements: str) -> list[str]:
    """Change a database file by hand; the names of its tables then."""
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema")]
    connection.close()
    return names


def test_a_store_of_another_schema_is_refused_and_left_as_it_is(store: Store, path: Path) -> None:
    store.close()
    before = changed(
        path,
        "UPDATE store SET schema_version = 9",
        "DROP TABLE strays",
        "ALTER TABLE store RENAME COLUMN federation TO name",
    )
    assert f"schema version 9, this program knows {SCHEMA_VERSION}" in one_line(path)
    assert changed(path) == before


def test_the_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    before = changed(path, "CREATE TABLE bookmarks (url TEXT)")
    one_line(path)
    assert changed(path) == before


def test_a_store_that_lost_its_ledger_is_not_given_an_empty_one(store: Store, path: Path) -> None:
    store.close()
    changed(path, "DROP TABLE ledger")
    opened(path).close()
    assert "ledger" not in changed(path)


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)
    assert "not a database" in one_line(path)
    assert path.read_text().startswith("Dear diary")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    one_line(tmp_path / "nowhere" / "coordinator.db")


def test_a_store_that_was_left_half_made_is_finished(path: Path) -> None:
    changed(path)  # an empty file
    store = opened(path)
    assert store.epoch == 1
    store.close()


def test_a_store_lies_where_its_path_says_whatever_the_path_has_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "what? 100% #1 & :memory:"
    folder.mkdir()
    opened(folder / "coordinator.db").close()
    assert (folder / "coordinator.db").exists()


def test_looking_at_a_store_that_is_not_there_makes_none(path: Path) -> None:
    with pytest.raises(StoreError, match="has the coordinator ever run here"):
        Store.open_to_read(path)
    assert not path.exists()


def test_looking_at_a_store_sees_what_was_committed(store: Store, path: Path) -> None:
    with store.transaction() as work:
        work.insert_run(run_row())
    looking = Store.open_to_read(path)
    with looking.reading() as work:
        assert work.runs() == [run_row()]
    with pytest.raises(Fenced), looking.transaction():
        pass
    looking.close()


def test_looking_at_something_that_is_no_store_is_refused(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)
    with pytest.raises(StoreError, match="not a database"):
        Store.open_to_read(path)
    path.unlink()
    changed(path, "CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StoreError, match="no store"):
        Store.open_to_read(path)


def test_commits_reach_the_disk_before_they_return(store: Store, path: Path) -> None:
    with store.transaction() as work:
        connection = work._connection
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
