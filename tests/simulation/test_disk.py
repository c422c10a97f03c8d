"""The simulated disk keeps the contract; it forgets what was not synced, and nothing else."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from disk import make_folders, write_durably
from simulation.disk import BUFFERED, SimulatedDisk
from simulation.mishaps import Crash, Mishaps
from simulation.platter import Platter
from tests.contracts.disk_contract import DiskContract

FILE = Path("/state/file")
CUTS = range(20)  # what was not synced survives by chance: some of these keep it, some do not


class TestSimulatedDisk(DiskContract):
    @pytest.fixture
    def disk(self) -> SimulatedDisk:
        disk = SimulatedDisk(Platter(), Mishaps())
        make_folders(disk, FILE.parent)
        return disk

    @pytest.fixture
    def folder(self) -> Path:
        return FILE.parent


@pytest.fixture
def platter() -> Platter:
    return Platter()


@pytest.fixture
def disk(platter: Platter) -> SimulatedDisk:
    made = SimulatedDisk(platter, Mishaps())
    make_folders(made, FILE.parent)
    return made


def found_after(act: Callable[[SimulatedDisk], None]) -> set[bytes | None]:
    """What may be in the file once `act` was done and the power cut."""
    found: set[bytes | None] = set()
    for seed in CUTS:
        platter = Platter()
        disk = SimulatedDisk(platter, Mishaps())
        make_folders(disk, FILE.parent)
        act(disk)
        platter.cut_power(random.Random(seed))
        found.add(disk.read(FILE) if disk.size(FILE) is not None else None)
    return found


def test_what_was_synced_with_its_folder_survives() -> None:
    assert found_after(lambda disk: write_durably(disk, FILE, b"all ", b"of it")) == {b"all of it"}


def test_a_file_that_was_not_synced_is_there_whole_in_part_or_not() -> None:
    def act(disk: SimulatedDisk) -> None:
        file = disk.create(FILE)
        file.write(b"some bytes")
        file.close()
        disk.sync_folder(FILE.parent)

    found = found_after(act)
    assert b"" in found
    assert b"some bytes" in found
    assert all(b"some bytes".startswith(bytes(one or b"")) for one in found)


def test_a_name_that_was_not_synced_may_be_forgotten_with_its_file() -> None:
    def act(disk: SimulatedDisk) -> None:
        file = disk.create(FILE)
        file.write(b"bytes")
        file.sync()

    assert found_after(act) == {b"bytes", None}


def test_a_file_that_was_moved_without_a_sync_may_have_its_old_content() -> None:
    def act(disk: SimulatedDisk) -> None:
        write_durably(disk, FILE, b"old")
        new = disk.create(FILE.with_name("new"))
        new.write(b"new")
        new.sync()
        disk.move(FILE.with_name("new"), FILE)

    assert found_after(act) == {b"old", b"new"}


def test_a_tail_that_was_cut_may_come_back_and_what_was_written_in_its_place_is_synced() -> None:
    def cut(disk: SimulatedDisk) -> None:
        write_durably(disk, FILE, b"old and its tail")
        disk.truncate(FILE, 3)

    def go_on(disk: SimulatedDisk) -> None:
        cut(disk)
        file = disk.append(FILE)
        assert file.tell() == 3
        file.write(b" new")
        file.sync()

    assert found_after(cut) == {b"old and its tail", b"old"}
    assert found_after(go_on) == {b"old new"}


def test_what_is_written_in_place_of_a_tail_that_a_failed_sync_lost_is_not_lost(
    disk: SimulatedDisk, platter: Platter
) -> None:
    write_durably(disk, FILE, b"old")
    file = disk.append(FILE)
    file.write(b" lost")
    disk.mishaps.syncs_to_fail = 1
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    disk.truncate(FILE, 3)
    file = disk.append(FILE)
    file.write(b" kept")
    file.sync()
    platter.cut_power(random.Random(0))
    assert disk.read(FILE) == b"old kept"


def test_what_is_created_anew_over_what_a_failed_sync_lost_is_not_lost(
    disk: SimulatedDisk, platter: Platter
) -> None:
    file = disk.create(FILE)
    disk.sync_folder(FILE.parent)
    file.write(b"lost")
    disk.mishaps.syncs_to_fail = 1
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file = disk.create(FILE)
    file.write(b"anew")
    file.sync()
    platter.cut_power(random.Random(0))
    assert disk.read(FILE) == b"anew"


def test_what_was_written_in_place_survives_by_chance_and_in_part_until_it_is_synced() -> None:
    def act(disk: SimulatedDisk, synced: bool = False) -> None:
        write_durably(disk, FILE, b"0123456789")
        pages = disk.pages(FILE)
        pages.write(2, b"ab")
        pages.write(8, b"cdef")
        if synced:
            pages.sync()

    found = found_after(act)
    assert b"0123456789" in found
    assert len({one[2:4] for one in found if one is not None}) > 1
    assert all(one is not None and one[:2] + one[4:8] == b"014567" for one in found)
    assert len({one[8:] for one in found if one is not None}) > 2
    assert found_after(lambda disk: act(disk, synced=True)) == {b"01ab4567cdef"}


def test_what_a_failed_sync_lost_in_place_is_there_once_it_was_written_again_and_synced(
    disk: SimulatedDisk, platter: Platter
) -> None:
    write_durably(disk, FILE, b"0123456789")
    pages = disk.pages(FILE)
    pages.write(2, b"abcd")
    disk.mishaps.syncs_to_fail = 1
    with pytest.raises(OSError, match="Input/output"):
        pages.sync()
    pages.write(3, b"bc")
    pages.sync()
    assert bytes(pages.read(0, 10)) == b"01abcd6789", "as the system believes it to be"
    platter.cut_power(random.Random(0))
    assert disk.read(FILE) == b"01\0bc\x006789"


def test_a_full_disk_takes_what_is_written_in_the_place_of_old_bytes_and_no_more(
    disk: SimulatedDisk,
) -> None:
    write_durably(disk, FILE, b"0123456789")
    pages = disk.pages(FILE)
    disk.mishaps.full = True
    pages.write(2, b"ab")
    with pytest.raises(OSError, match="No space"):
        pages.write(8, b"cdef")
    assert disk.read(FILE).startswith(b"01ab4567")
    assert (disk.size(FILE) or 0) < 12


def test_a_removed_file_may_come_back() -> None:
    def act(disk: SimulatedDisk) -> None:
        write_durably(disk, FILE, b"old")
        disk.remove(FILE)

    assert found_after(act) == {b"old", None}


def test_a_folder_that_was_not_synced_takes_what_is_in_it_along() -> None:
    found = set()
    for seed in CUTS:
        platter = Platter()
        disk = SimulatedDisk(platter, Mishaps())
        disk.make_folder(FILE.parent)  # and no sync of the one above
        write_durably(disk, FILE, b"bytes")
        platter.cut_power(random.Random(seed))
        found.add(disk.size(FILE))
    assert found == {5, None}


def test_a_sync_that_failed_loses_what_a_later_one_does_not_bring_back(
    platter: Platter, disk: SimulatedDisk
) -> None:
    file = disk.append(FILE)
    disk.sync_folder(FILE.parent)
    file.write(b"first ")
    file.sync()
    file.write(b"lost ")
    disk.mishaps.syncs_to_fail = 1
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.write(b"third")
    file.sync()
    assert disk.read(FILE) == b"first lost third", "the system still shows it"
    platter.cut_power(random.Random(0))
    assert disk.read(FILE) == b"first \0\0\0\0\0third"


def test_a_killed_process_loses_nothing_that_the_system_has(
    platter: Platter, disk: SimulatedDisk
) -> None:
    file = disk.create(FILE)
    file.write(b"not synced")
    file.close()
    lock = disk.lock(FILE.with_name("lock"))
    platter.end_process(disk.mishaps)
    assert disk.read(FILE) == b"not synced"
    other = SimulatedDisk(platter, Mishaps())
    other.lock(FILE.with_name("lock"))
    lock.close()


def test_a_lock_is_one_processes(platter: Platter, disk: SimulatedDisk) -> None:
    disk.lock(FILE)
    with pytest.raises(BlockingIOError):
        SimulatedDisk(platter, Mishaps()).lock(FILE)


def test_a_full_disk_takes_nothing_and_has_room_again(disk: SimulatedDisk) -> None:
    file = disk.append(FILE)
    database = disk.database(FILE.with_name("db"), 1.0)
    database.execute("CREATE TABLE t (x)")
    disk.mishaps.full = True
    for act in (
        lambda: file.write(bytes(BUFFERED + 1)),
        file.sync,
        lambda: disk.create(FILE.with_name("another")),
        lambda: disk.make_folder(FILE.with_name("folder")),
    ):
        with pytest.raises(OSError, match="No space"):
            act()
    disk.mishaps.rows_fit = False
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        database.execute("COMMIT")
    database.execute("ROLLBACK")
    disk.mishaps.full = False
    disk.create(FILE).close()
    file = disk.append(FILE)
    file.write(b"x")
    file.sync()
    assert disk.read(FILE) == b"x"


@pytest.mark.parametrize("num_bytes", [10, BUFFERED + 10])
def test_a_full_disk_takes_the_beginning_of_what_is_written(num_bytes: int) -> None:
    message, taken = bytes(i % 251 for i in range(num_bytes)), set()
    for seed in range(40):
        disk = SimulatedDisk(Platter(), Mishaps(chances=random.Random(seed)))
        make_folders(disk, FILE.parent)
        write_durably(disk, FILE, b"old")
        file = disk.append(FILE)
        disk.mishaps.full = True
        with contextlib.suppress(OSError):  # what is held back is refused at the sync
            file.write(message)
        with pytest.raises(OSError, match="No space"):
            file.sync()
        file.close()
        found = disk.read(FILE)
        assert (b"old" + message).startswith(found)
        taken.add(len(found) - 3)
    assert 0 in taken
    assert len(taken) > 5
    assert max(taken) < num_bytes


def test_what_was_held_back_is_written_at_the_close_if_there_is_room_again(
    disk: SimulatedDisk,
) -> None:
    file = disk.create(FILE)
    disk.mishaps.full = True
    file.write(b"late")
    with pytest.raises(OSError, match="No space"):
        file.sync()
    disk.mishaps.full = False
    file.close()
    assert disk.read(FILE) == b"late"


def test_what_a_process_held_back_ends_with_it(disk: SimulatedDisk) -> None:
    file = disk.create(FILE)
    file.write(b"held back")
    disk.mishaps.crash_at = disk.mishaps.steps
    with pytest.raises(Crash):
        file.sync()
    file.close()
    assert disk.read(FILE) == b""


def test_a_crash_ends_a_process_for_good(disk: SimulatedDisk) -> None:
    disk.mishaps.crash_at = disk.mishaps.steps
    for _ in range(2):
        with pytest.raises(Crash):
            disk.create(FILE)
    assert disk.size(FILE) is None


def test_a_process_ends_at_the_step_of_a_name_that_was_asked_for(disk: SimulatedDisk) -> None:
    file = disk.create(FILE)
    disk.mishaps.crash_in = (f"write {FILE.name}", 2)
    file.write(b"one")
    file.sync()
    with pytest.raises(Crash):
        file.write(b"two")
    assert disk.read(FILE) == b"one"


# databases


def rows(platter: Platter) -> list[tuple[int]]:
    database = platter.database(FILE)
    return [] if database is None else database.execute("SELECT x FROM t").fetchall()


def written(disk: SimulatedDisk, value: int) -> sqlite3.Connection:
    database = disk.database(FILE, 1.0)
    database.execute("CREATE TABLE IF NOT EXISTS t (x)")
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO t VALUES (?)", (value,))
    return database


def test_what_was_committed_survives_and_what_was_not_is_rolled_back(
    platter: Platter, disk: SimulatedDisk
) -> None:
    written(disk, 1).execute("COMMIT")
    disk.sync_folder(FILE.parent)
    written(disk, 2)
    platter.end_process(disk.mishaps)
    platter.cut_power(random.Random(0))
    assert rows(platter) == [(1,)]


def test_a_crash_before_a_commit_leaves_nothing(platter: Platter, disk: SimulatedDisk) -> None:
    database = written(disk, 1)
    disk.mishaps.crash_at = disk.mishaps.steps
    with pytest.raises(Crash):
        database.commit()
    platter.end_process(disk.mishaps)
    assert rows(platter) == []


def test_a_commit_that_fails_may_have_been_made(platter: Platter, disk: SimulatedDisk) -> None:
    outcomes = set()
    for value in range(6):
        database = written(disk, value)
        disk.mishaps.syncs_to_fail = 1
        disk.mishaps.steps += value % 2
        with pytest.raises(sqlite3.OperationalError, match="I/O"):
            database.commit()
        if database.in_transaction:
            database.execute("ROLLBACK")
        outcomes.add((value,) in rows(platter))
        database.close()
    assert outcomes == {True, False}


def test_a_database_whose_name_was_not_synced_may_be_gone() -> None:
    found = set()
    for seed in CUTS:
        platter = Platter()
        disk = SimulatedDisk(platter, Mishaps())
        make_folders(disk, FILE.parent)
        written(disk, 1).execute("COMMIT")
        platter.end_process(disk.mishaps)
        platter.cut_power(random.Random(seed))
        found.add(platter.database(FILE) is not None)
    assert found == {True, False}


def test_a_second_name_survives_from_the_sync_of_its_folder_on() -> None:
    def names_after(synced: bool, seed: int) -> tuple[bytes, bool]:
        platter = Platter()
        disk = SimulatedDisk(platter, Mishaps())
        make_folders(disk, FILE.parent)
        make_folders(disk, FILE.parent / "to")
        write_durably(disk, FILE, b"bytes")
        disk.link(FILE, FILE.parent / "to" / "other")
        if synced:
            disk.sync_folder(FILE.parent / "to")
        platter.cut_power(random.Random(seed))
        other = FILE.parent / "to" / "other"
        there = disk.size(other) is not None
        assert not there or disk.read(other) == b"bytes"
        return disk.read(FILE), there

    assert {names_after(True, seed) for seed in CUTS} == {(b"bytes", True)}
    assert {names_after(False, seed) for seed in CUTS} == {(b"bytes", True), (b"bytes", False)}


def test_a_process_may_end_before_a_second_name(disk: SimulatedDisk) -> None:
    write_durably(disk, FILE, b"bytes")
    disk.mishaps.crash_in = ("link file", 1)
    with pytest.raises(Crash):
        disk.link(FILE, FILE.parent / "other")
    assert sorted(disk.names(FILE.parent)) == ["file"]
