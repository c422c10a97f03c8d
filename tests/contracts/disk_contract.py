"""What every disk promises, the system's and the simulated one. Each one's tests inherit this."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from disk import Disk, let_go

DEADLINE_S = 10.0


def refusal(act: Callable[[], object]) -> tuple[type[OSError], int | None]:
    """How a disk refuses."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the caller looks at it
        act()
    return caught.type, caught.value.errno


MISSING = (FileNotFoundError, errno.ENOENT)
NO_FOLDER = (NotADirectoryError, errno.ENOTDIR)
A_FOLDER = (IsADirectoryError, errno.EISDIR)
THERE = (FileExistsError, errno.EEXIST)


class DiskContract:
    """The suite. A subclass overrides `disk`, and `folder` if its folders are not the system's."""

    @pytest.fixture
    def disk(self) -> Disk:
        raise NotImplementedError

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """An empty folder of the disk."""
        return tmp_path

    @pytest.fixture
    def file(self, disk: Disk, folder: Path) -> Path:
        """A file with ten bytes."""
        self.put(disk, folder / "file", b"0123456789")
        return folder / "file"

    @staticmethod
    def put(disk: Disk, path: Path, data: bytes) -> None:
        file = disk.create(path)
        file.write(data)
        file.close()

    # Bytes.

    @pytest.mark.parametrize("lasting", [True, False])
    def test_what_was_written_is_read_when_it_was_passed_on(
        self, disk: Disk, folder: Path, lasting: bool
    ) -> None:
        file = disk.create(folder / "file", lasting=lasting)
        assert file.tell() == 0
        file.write(b"one ")
        file.write(memoryview(b"two"))
        assert file.tell() == 7
        file.sync()
        assert disk.read(folder / "file") == b"one two"
        file.write(b" three")
        file.flush()
        assert disk.read(folder / "file") == b"one two three"
        file.write(b" four")
        file.close()
        assert disk.read(folder / "file") == b"one two three four"
        assert disk.size(folder / "file") == 18

    def test_what_is_created_again_begins_anew(self, disk: Disk, file: Path) -> None:
        self.put(disk, file, b"new")
        assert disk.read(file) == b"new"

    def test_what_is_appended_comes_behind_what_is_there(self, disk: Disk, file: Path) -> None:
        for path, expected in ((file, b"0123456789abc"), (file.with_name("other"), b"abc")):
            opened = disk.append(path)
            assert opened.tell() == len(expected) - 3
            opened.write(b"abc")
            opened.close()
            assert disk.read(path) == expected

    def test_a_closed_file_takes_nothing_and_may_be_closed_again(
        self, disk: Disk, folder: Path
    ) -> None:
        file = disk.create(folder / "file")
        file.close()
        file.close()
        with pytest.raises(ValueError, match="closed file"):
            file.write(b"x")
        with pytest.raises(ValueError, match="closed file"):
            file.flush()
        with pytest.raises(ValueError, match="closed file"):
            file.sync()
        assert disk.size(folder / "file") == 0

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, -1, b"0123456789"),
            (7, -1, b"789"),
            (2, 3, b"234"),
            (8, 5, b"89"),
            (3, 0, b""),
            (10, 1, b""),
            (99, 5, b""),
            (99, -1, b""),
        ],
    )
    def test_a_range_is_read_as_far_as_there_is_one(
        self, disk: Disk, file: Path, start: int, length: int, expected: bytes
    ) -> None:
        assert disk.read(file, start, length) == expected
        assert bytes(disk.map(file, start, length)) == expected

    def test_a_large_file_is_mapped_from_anywhere(self, disk: Disk, folder: Path) -> None:
        data = bytes(range(251)) * 2000
        self.put(disk, folder / "large", data)
        for start, length in ((0, -1), (70_001, 5), (123_456, 300_000), (65_536, 65_536)):
            view = disk.map(folder / "large", start, length)
            assert view == data[start:][: length if length >= 0 else None]
            assert view.readonly
            let_go(view)
            assert view == data[start:][: length if length >= 0 else None]
        let_go(memoryview(b"not mapped"))

    def test_what_is_written_to_a_private_view_stays_with_it(self, disk: Disk, file: Path) -> None:
        one, other = disk.map_private(file), disk.map_private(file)
        one[3:6] = b"xyz"
        let_go(one)
        disk.remove(file)
        assert bytes(one) == b"012xyz6789"
        assert bytes(other) == b"0123456789"
        self.put(disk, file, b"")
        assert bytes(disk.map_private(file)) == b""
        assert refusal(lambda: disk.map_private(file.with_name("none"))) == MISSING

    def test_what_is_mapped_stays_when_its_name_is_gone(self, disk: Disk, file: Path) -> None:
        view = disk.map(file, 3)
        disk.remove(file)
        assert bytes(view) == b"3456789"

    # Files that nobody needs any more.

    def test_a_file_is_written_over_under_another_name(self, disk: Disk, file: Path) -> None:
        new = file.with_name("new")
        writing = disk.create(new, over=file)
        assert writing.tell() == 0
        writing.write(b"abc")
        assert writing.tell() == 3
        writing.flush()
        assert disk.names(file.parent) == ["new"]
        assert disk.read(new) == b"abc3456789"
        writing.cut()
        writing.sync()
        assert disk.read(new) == b"abc"
        writing.write(b"def")
        writing.close()
        assert disk.read(new) == b"abcdef"

    def test_what_is_longer_than_what_it_is_written_over_is_whole(
        self, disk: Disk, file: Path
    ) -> None:
        writing = disk.create(file.with_name("new"), over=file)
        for piece in (b"abcdefgh", b"ijklmnop", b""):
            writing.write(piece)
        writing.cut()
        writing.close()
        assert disk.read(file.with_name("new")) == b"abcdefghijklmnop"
        with pytest.raises(ValueError, match="closed"):
            writing.cut()

    def test_with_nothing_to_write_over_a_file_is_made(self, disk: Disk, folder: Path) -> None:
        writing = disk.create(folder / "new", over=folder / "none")
        writing.write(b"abc")
        writing.cut()
        writing.close()
        assert disk.read(folder / "new") == b"abc"

    @pytest.mark.parametrize("how", ["map", "map_private"])
    def test_what_is_in_place_somewhere_stays_as_it_was(
        self, disk: Disk, file: Path, how: str
    ) -> None:
        view = getattr(disk, how)(file)
        writing = disk.create(file.with_name("new"), over=file)
        writing.write(b"abcdefghijk")
        writing.close()
        assert bytes(view) == b"0123456789"
        assert disk.read(file.with_name("new")) == b"abcdefghijk"

    def test_pages_are_written_over_too(self, disk: Disk, file: Path) -> None:
        pages = disk.pages(file.with_name("new"), over=file)
        pages.write(2, b"ab")
        pages.sync()
        pages.close()
        assert disk.names(file.parent) == ["new"]
        assert disk.read(file.with_name("new")) == b"01ab456789"
        pages = disk.pages(file.with_name("newer"), over=file)
        pages.write(1, b"c")
        pages.close()
        assert disk.read(file.with_name("newer")) == b"\0c"

    def test_what_has_another_name_stays_as_it_was(self, disk: Disk, file: Path) -> None:
        disk.link(file, file.with_name("other"))
        writing = disk.create(file.with_name("new"), over=file)
        writing.write(b"abc")
        writing.close()
        assert disk.read(file.with_name("other")) == b"0123456789"
        assert disk.read(file.with_name("new")) == b"abc"

    def test_a_file_is_cut_and_never_made_longer(self, disk: Disk, file: Path) -> None:
        disk.truncate(file, 12)
        disk.truncate(file, 10)
        assert disk.size(file) == 10
        disk.truncate(file, 4)
        assert disk.read(file) == b"0123"
        disk.truncate(file.with_name("none"), 4)
        assert disk.names(file.parent) == ["file"]

    def test_only_files_have_bytes(self, disk: Disk, folder: Path, file: Path) -> None:
        assert refusal(lambda: disk.read(folder / "none")) == MISSING
        assert refusal(lambda: disk.read(folder / "none" / "none")) == MISSING
        assert refusal(lambda: disk.map(folder / "none")) == MISSING
        assert refusal(lambda: disk.map(folder)) == A_FOLDER
        assert refusal(lambda: disk.read(file / "below")) == NO_FOLDER
        assert refusal(lambda: disk.read(folder)) == A_FOLDER
        assert disk.size(folder / "none") is None
        assert disk.size(file / "below") is None
        assert disk.size(folder) is None

    def test_a_file_is_made_in_a_folder_that_is_there(
        self, disk: Disk, folder: Path, file: Path
    ) -> None:
        for make in (disk.create, disk.append, disk.pages, disk.lock):
            assert refusal(partial(make, folder / "none" / "file")) == MISSING
            assert refusal(partial(make, file / "below")) == NO_FOLDER
            assert refusal(partial(make, folder)) == A_FOLDER

    def test_pages_are_read_and_written_anywhere(self, disk: Disk, folder: Path) -> None:
        pages = disk.pages(folder / "pages")
        assert bytes(pages.read(0, 4)) == b""
        pages.write(6, memoryview(b"678"))
        assert bytes(pages.read(0, 99)) == bytes(6) + b"678"
        pages.write(0, b"01")
        pages.write(5, b"56")
        before = pages.read(0, 3)
        pages.write(8, b"89" * 5000)
        assert bytes(before[:2]) == b"01", "what was read of a file that grew"
        assert bytes(pages.read(4, 6)) == b"\x0056789"
        assert bytes(pages.read(10_005, 99)) == b"989"
        assert bytes(pages.read(99_999, 9)) == b""
        pages.sync()
        pages.close()
        assert disk.size(folder / "pages") == 10_008

    def test_pages_that_are_there_are_opened_as_they_are(self, disk: Disk, file: Path) -> None:
        pages = disk.pages(file)
        pages.write(3, b"xyz")
        pages.close()
        assert disk.read(file) == b"012xyz6789"

    def test_closed_pages_take_nothing_and_may_be_closed_again(
        self, disk: Disk, file: Path
    ) -> None:
        pages = disk.pages(file)
        pages.close()
        pages.close()
        acts: list[Callable[[], object]] = [
            lambda: pages.read(0, 1),
            lambda: pages.write(0, b"x"),
            pages.sync,
        ]
        for act in acts:
            with pytest.raises(ValueError, match="closed file"):
                act()
        assert disk.read(file) == b"0123456789"

    # Entries.

    def test_a_folder_lists_its_names_in_their_order(self, disk: Disk, folder: Path) -> None:
        for name in ("b", "a", "C"):
            self.put(disk, folder / name, b"")
        disk.make_folder(folder / "0")
        assert disk.names(folder) == ["0", "C", "a", "b"]

    def test_what_is_no_folder_has_no_names(self, disk: Disk, folder: Path, file: Path) -> None:
        for path in (folder / "none", file, file / "below"):
            assert disk.names(path) == []
            assert not disk.is_folder(path)
        assert disk.is_folder(folder)

    def test_a_folder_is_made_once_in_one_that_is_there(
        self, disk: Disk, folder: Path, file: Path
    ) -> None:
        disk.make_folder(folder / "new")
        self.put(disk, folder / "new" / "file", b"")
        disk.make_folder(folder / "new")
        assert disk.names(folder / "new") == ["file"]
        assert refusal(lambda: disk.make_folder(folder / "none" / "new")) == MISSING
        assert refusal(lambda: disk.make_folder(file / "new")) == NO_FOLDER
        assert refusal(lambda: disk.make_folder(file)) == THERE

    def test_a_move_takes_the_place_of_what_was_there(
        self, disk: Disk, folder: Path, file: Path
    ) -> None:
        disk.make_folder(folder / "to")
        self.put(disk, folder / "to" / "file", b"old")
        disk.move(file, folder / "to" / "file")
        assert disk.read(folder / "to" / "file") == b"0123456789"
        assert disk.names(folder) == ["to"]

    def test_a_move_to_its_own_place_changes_nothing(self, disk: Disk, file: Path) -> None:
        disk.move(file, file)
        assert disk.read(file) == b"0123456789"

    def test_a_move_of_nothing_or_to_where_no_file_can_be_is_refused(
        self, disk: Disk, folder: Path, file: Path
    ) -> None:
        disk.make_folder(folder / "to")
        assert refusal(lambda: disk.move(folder / "none", file)) == MISSING
        assert refusal(lambda: disk.move(file, folder / "none" / "file")) == MISSING
        assert refusal(lambda: disk.move(file, folder / "to")) == A_FOLDER
        assert disk.names(folder) == ["file", "to"]

    def test_a_file_has_two_names_and_is_there_until_both_are_gone(
        self, disk: Disk, folder: Path, file: Path
    ) -> None:
        disk.make_folder(folder / "to")
        other = folder / "to" / "other"
        disk.link(file, other)
        pages = disk.pages(file)
        pages.write(3, b"xyz")
        pages.close()
        assert disk.read(other) == b"012xyz6789"
        disk.remove(file)
        assert disk.names(folder) == ["to"]
        assert disk.read(other) == b"012xyz6789"
        disk.remove(other)
        assert disk.names(folder / "to") == []

    def test_a_second_name_is_refused_where_one_is_or_none_can_be(
        self, disk: Disk, folder: Path, file: Path
    ) -> None:
        disk.make_folder(folder / "to")
        assert refusal(lambda: disk.link(folder / "none", folder / "new")) == MISSING
        assert refusal(lambda: disk.link(file, folder / "none" / "new")) == MISSING
        assert refusal(lambda: disk.link(file, folder / "to")) == THERE
        assert refusal(lambda: disk.link(file, file)) == THERE
        assert disk.names(folder) == ["file", "to"]

    def test_a_file_is_removed_and_once_more_changes_nothing(self, disk: Disk, file: Path) -> None:
        disk.remove(file / "below")
        disk.remove(file)
        disk.remove(file)
        assert disk.names(file.parent) == []

    def test_a_folder_is_not_removed_as_a_file(self, disk: Disk, folder: Path) -> None:
        disk.make_folder(folder / "inner")
        assert refusal(lambda: disk.remove(folder / "inner")) == A_FOLDER
        assert disk.is_folder(folder / "inner")

    def test_a_folder_is_removed_when_it_is_empty(self, disk: Disk, folder: Path) -> None:
        disk.make_folder(folder / "inner")
        self.put(disk, folder / "inner" / "file", b"")
        full = refusal(lambda: disk.remove_folder(folder / "inner"))
        assert full == (OSError, errno.ENOTEMPTY)
        assert refusal(lambda: disk.remove_folder(folder / "inner" / "file")) == NO_FOLDER
        disk.remove(folder / "inner" / "file")
        disk.remove_folder(folder / "inner")
        disk.remove_folder(folder / "inner")
        assert disk.names(folder) == []

    def test_only_a_folder_is_synced_as_one(self, disk: Disk, folder: Path, file: Path) -> None:
        disk.sync_folder(folder)
        assert refusal(lambda: disk.sync_folder(folder / "none")) == MISSING
        assert refusal(lambda: disk.sync_folder(file)) == NO_FOLDER

    # Times.

    def test_what_is_touched_later_is_not_older(self, disk: Disk, folder: Path) -> None:
        a, b = folder / "a", folder / "b"
        self.put(disk, a, b"")
        self.put(disk, b, b"")
        assert disk.touched_ns(a) <= disk.touched_ns(b)
        self.until_later(disk, lambda: disk.touch(a), a, b)

    def test_what_is_written_or_changed_counts_as_touched(self, disk: Disk, folder: Path) -> None:
        inner, file, other = folder / "inner", folder / "inner" / "file", folder / "other"
        disk.make_folder(inner)
        self.put(disk, file, b"12")

        def append() -> None:
            opened = disk.append(file)
            opened.write(b"x")
            opened.close()

        def come_and_go() -> None:
            self.put(disk, inner / "new", b"")
            disk.move(inner / "new", inner / "newer")
            disk.remove(inner / "newer")

        def folders_come_and_go() -> None:
            disk.make_folder(inner / "new")
            disk.remove_folder(inner / "new")

        for act, touched in (
            (append, file),
            (come_and_go, inner),
            (folders_come_and_go, inner),
            (lambda: disk.create(file).close(), file),
        ):
            self.put(disk, other, b"x")
            self.until_later(disk, act, touched, other)

    def test_a_file_has_an_age(self, disk: Disk, folder: Path) -> None:
        path = folder / "file"
        self.put(disk, path, b"x")
        first = disk.age_s(path)
        assert 0 <= first < DEADLINE_S
        second = disk.age_s(path)
        assert second >= first
        assert refusal(lambda: disk.age_s(folder / "none")) == MISSING

    def test_nothing_was_never_touched(self, disk: Disk, folder: Path) -> None:
        assert refusal(lambda: disk.touched_ns(folder / "none")) == MISSING
        assert refusal(lambda: disk.touch(folder / "none")) == MISSING

    @staticmethod
    def until_later(disk: Disk, act: Callable[[], None], touched: Path, than: Path) -> None:
        """A disk's clock is coarse: what is done again and again is later at some time."""
        deadline = time.monotonic() + DEADLINE_S
        act()
        assert disk.touched_ns(touched) >= disk.touched_ns(than)
        while disk.touched_ns(touched) == disk.touched_ns(than):
            assert time.monotonic() < deadline
            act()

    # Locks.

    def test_a_lock_is_taken_once_until_it_is_let_go(self, disk: Disk, folder: Path) -> None:
        first = disk.lock(folder / "lock")
        taken = refusal(lambda: disk.lock(folder / "lock"))
        assert taken == (BlockingIOError, errno.EWOULDBLOCK)
        first.close()
        second = disk.lock(folder / "lock")
        first.close()
        assert refusal(lambda: disk.lock(folder / "lock")) == taken, "the second's is its own"
        second.close()
        disk.lock(folder / "lock").close()

    # Databases.

    def test_what_was_committed_is_seen_by_all_and_what_was_rolled_back_by_nobody(
        self, disk: Disk, folder: Path
    ) -> None:
        one, two = (disk.database(folder / "db", 1.0) for _ in range(2))
        one.execute("CREATE TABLE t (x)")
        for value, end in ((1, "COMMIT"), (2, "ROLLBACK"), (3, "COMMIT")):
            one.execute("BEGIN IMMEDIATE")
            assert one.in_transaction
            one.execute("INSERT INTO t VALUES (?)", (value,))
            one.execute(end)
            assert not one.in_transaction
        assert two.execute("SELECT x FROM t").fetchall() == [(1,), (3,)]
        one.close()
        two.execute("INSERT INTO t VALUES (4)")  # is a transaction of its own
        two.close()
        three = disk.database(folder / "db", 1.0)
        assert three.execute("SELECT count(*) FROM t").fetchone() == (3,)
        three.close()

    def test_one_writes_at_a_time(self, disk: Disk, folder: Path) -> None:
        one, two = (disk.database(folder / "db", 0.0) for _ in range(2))
        one.execute("CREATE TABLE t (x)")
        one.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            two.execute("BEGIN IMMEDIATE")
        one.execute("COMMIT")
        two.execute("BEGIN IMMEDIATE")
        two.execute("ROLLBACK")
        one.close()
        two.close()

    def test_who_only_looks_at_a_database_makes_and_changes_nothing(
        self, disk: Disk, folder: Path
    ) -> None:
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            disk.database(folder / "none", 1.0, read_only=True).execute("SELECT 1")
        assert disk.names(folder) == []
        writer = disk.database(folder / "db", 1.0)
        writer.execute("CREATE TABLE t (x)")
        looker = disk.database(folder / "db", 1.0, read_only=True)
        assert looker.execute("SELECT x FROM t").fetchall() == []
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            looker.execute("INSERT INTO t VALUES (1)")
        looker.close()
        writer.close()

    def test_a_database_is_a_file_of_a_folder_that_is_there(self, disk: Disk, folder: Path) -> None:
        for where in (folder / "none" / "db", folder):
            with pytest.raises(sqlite3.OperationalError, match="unable to open"):
                disk.database(where, 1.0)
        database = disk.database(folder / "db", 1.0)
        database.execute("CREATE TABLE t (x)")
        database.close()
        assert disk.names(folder) == ["db"]
        assert disk.size(folder / "db")
        disk.remove(folder / "db")
        assert disk.names(folder) == []
