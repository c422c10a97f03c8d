"""Files that nobody needs are written over: by one, and never under who still reads them."""

from __future__ import annotations

import errno
import fcntl
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disk import OS_DISK, OsDisk, Spares, write_chunks_durably
from simulation.disk import SimulatedDisk
from simulation.mishaps import Mishaps
from simulation.platter import Platter


@pytest.fixture
def spares(tmp_path: Path) -> Spares:
    return Spares(tmp_path, OS_DISK, bytes_max=100)


def retired(spares: Spares, path: Path, data: bytes = b"old") -> Path:
    path.write_bytes(data)
    spares.retire(path)
    return path


def written(path: Path, data: bytes, over: Path | None = None) -> None:
    write_chunks_durably(OS_DISK, path, [data], over=over)


def before_the_lock(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen between the opening of a file and the first lock on it."""
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        act()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)


def test_one_is_kept_and_the_next_is_removed(spares: Spares, tmp_path: Path) -> None:
    assert spares.find() is None
    retired(spares, tmp_path / "a")
    retired(spares, tmp_path / "b")
    (kept,) = tmp_path.iterdir()
    assert (spares.find(), kept.read_bytes()) == (kept, b"old")
    assert kept.name not in ("a", "b")


def test_several_are_kept_as_far_as_there_is_room(tmp_path: Path) -> None:
    spares = Spares(tmp_path, OS_DISK, bytes_max=100, files_max=3)
    files = [tmp_path / name for name in "abcde"]
    for file, size in zip(files, (40, 70, 40, 10, 10), strict=True):
        file.write_bytes(bytes(size))
    spares.retire(*files)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["a", "c", "d"]


def test_one_that_was_given_and_not_taken_comes_after_the_others(tmp_path: Path) -> None:
    spares = Spares(tmp_path, OS_DISK, bytes_max=100, files_max=3)
    for name in "abc":
        retired(spares, tmp_path / name)
    a, b, c = sorted(tmp_path.iterdir())
    assert [spares.find() for _ in range(7)] == [a, b, c, a, b, c, a]
    b.unlink()
    assert [spares.find() for _ in range(3)] == [c, a, c]
    assert spares.has(3)
    assert not spares.has(300)


def test_what_is_large_is_removed(spares: Spares, tmp_path: Path) -> None:
    retired(spares, tmp_path / "a", bytes(101))
    assert list(tmp_path.iterdir()) == []


def test_what_is_gone_is_no_spare(spares: Spares, tmp_path: Path) -> None:
    spares.retire(tmp_path / "none")
    assert spares.find() is None


def test_they_are_cleared(spares: Spares, tmp_path: Path) -> None:
    spares.clear()
    retired(spares, tmp_path / "a")
    spares.clear()
    assert list(tmp_path.iterdir()) == []


def test_the_next_file_is_the_spare_one(spares: Spares, tmp_path: Path) -> None:
    retired(spares, tmp_path / "a", b"0123456789")
    spare = spares.find()
    assert spare is not None
    number = spare.stat().st_ino
    written(tmp_path / "b", b"new", over=spare)
    assert (tmp_path / "b").read_bytes() == b"new"
    assert (tmp_path / "b").stat().st_ino == number
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_of_two_that_want_it_one_has_it(
    spares: Spares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other opens it, and then it is gone."""
    retired(spares, tmp_path / "a")
    spare = spares.find()

    def meanwhile() -> None:
        written(tmp_path / "b", b"b", over=spare)

    before_the_lock(monkeypatch, meanwhile)
    written(tmp_path / "c", b"c", over=spare)
    assert [(tmp_path / name).read_bytes() for name in ("b", "c")] == [b"b", b"c"]


def test_another_file_by_its_name_is_not_it(
    spares: Spares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retired(spares, tmp_path / "a")
    spare = spares.find()

    def meanwhile() -> None:
        written(tmp_path / "b", b"b", over=spare)
        retired(spares, tmp_path / "a")

    before_the_lock(monkeypatch, meanwhile)
    written(tmp_path / "c", b"c", over=spare)
    assert [(tmp_path / name).read_bytes() for name in ("b", "c")] == [b"b", b"c"]


def test_what_cannot_be_moved_is_removed(
    spares: Spares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(OsDisk, "move", refuse)
    retired(spares, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_one_of_about_the_size_is_found(tmp_path: Path) -> None:
    spares = Spares(tmp_path, OS_DISK, bytes_max=100, files_max=2)
    retired(spares, tmp_path / "a", bytes(40))
    (spare,) = tmp_path.iterdir()
    assert [spares.find(size) for size in (19, 20, 80, 81)] == [None, spare, spare, None]
    assert spares.find() == spare


def test_as_many_are_kept_as_there_may_be_and_as_many_bytes(tmp_path: Path) -> None:
    spares = Spares(tmp_path, OS_DISK, bytes_max=100, files_max=3)
    for number, size in enumerate((40, 61, 60)):
        retired(spares, tmp_path / str(number), bytes(size))
    assert sorted(path.stat().st_size for path in tmp_path.iterdir()) == [40, 60]
    for number in range(3, 6):
        retired(spares, tmp_path / str(number), b"")
    assert len(list(tmp_path.iterdir())) == 3


def test_who_has_it_in_place_keeps_it_and_it_serves_once_that_ends(
    spares: Spares, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    view = OS_DISK.map(tmp_path / "a")
    spares.retire(tmp_path / "a")
    written(tmp_path / "b", b"new", over=spares.find())
    assert bytes(view) == b"0123456789"
    number = (tmp_path / "b").stat().st_ino
    del view
    spare = spares.find()
    assert spare is not None
    assert spare.stat().st_ino != number
    number = spare.stat().st_ino
    written(tmp_path / "c", b"new", over=spare)
    assert (tmp_path / "c").stat().st_ino == number


def test_who_opens_it_too_late_finds_no_file(
    spares: Spares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of a file and the lock on it the file becomes another one."""
    (tmp_path / "a").write_bytes(b"0123456789")

    def meanwhile() -> None:
        spares.retire(tmp_path / "a")
        written(tmp_path / "b", b"new", over=spares.find())

    before_the_lock(monkeypatch, meanwhile)
    with pytest.raises(FileNotFoundError):
        OS_DISK.map(tmp_path / "a")
    assert (tmp_path / "b").read_bytes() == b"new"


def test_a_file_that_is_replaced_while_it_is_opened_is_read_as_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def meanwhile() -> None:
        written(path, b"newer")

    before_the_lock(monkeypatch, meanwhile)
    assert OS_DISK.read(path) == b"newer"


def test_where_nothing_can_be_locked_files_are_read_and_none_is_written_over(
    spares: Spares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    retired(spares, tmp_path / "a", b"0123456789")
    monkeypatch.setattr(fcntl, "flock", refuse)
    spare = spares.find()
    assert spare is not None
    view = OsDisk().map(spare)
    written(tmp_path / "b", b"new", over=spare)
    assert bytes(view) == b"0123456789"
    assert (tmp_path / "b").read_bytes() == b"new"


def test_where_files_have_other_numbers_each_time_it_is_likewise(
    spares: Spares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retired(spares, tmp_path / "a", b"0123456789")
    monkeypatch.setattr("os.path.samestat", lambda *_: False)
    spare = spares.find()
    assert spare is not None
    view = OsDisk().map(spare)
    written(tmp_path / "b", b"new", over=spare)
    assert bytes(view) == b"0123456789"
    assert OS_DISK.read(tmp_path / "b") == b"new"


@pytest.mark.parametrize("seed", range(30))
def test_a_power_cut_leaves_what_was_written_durably(seed: int) -> None:
    platter, folder = Platter(), Path("/folder")
    disk = SimulatedDisk(platter, Mishaps())
    disk.make_folder(folder)
    disk.sync_folder(Path("/"))
    spares = Spares(folder, disk, 100)
    for number, content in enumerate((b"first and long", b"second", b"third, the longest of all")):
        path = folder / str(number)
        write_chunks_durably(disk, path, [content], over=spares.find())
        platter.cut_power(random.Random(seed))
        assert disk.read(path) == content
        spares.retire(path)
