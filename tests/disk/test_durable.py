from __future__ import annotations

import errno
import os
import random
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from disk import OS_DISK, OsDisk, make_folders, remove_tree, write_durably
from simulation.disk import SimulatedDisk
from simulation.mishaps import Mishaps
from simulation.platter import Platter
from tests.coordinator.test_spool import files_of_at_most


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were synced."""
    folders: list[Path] = []
    sync_folder = OsDisk.sync_folder

    def watched(disk: OsDisk, folder: Path) -> None:
        folders.append(folder)
        sync_folder(disk, folder)

    monkeypatch.setattr(OsDisk, "sync_folder", watched)
    return folders


def test_each_folder_made_is_synced_in_the_one_above_and_its_owners_alone(
    tmp_path: Path, synced: list[Path]
) -> None:
    make_folders(OS_DISK, tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path.parent, tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    for made in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) == 0o700


def test_a_folder_that_is_there_is_synced_all_the_same_in_the_one_above(
    tmp_path: Path, synced: list[Path]
) -> None:
    (tmp_path / "a").mkdir()  # by a process that was killed before it could sync
    make_folders(OS_DISK, tmp_path / "a")
    assert synced == [tmp_path]


def test_a_folder_above_that_may_not_be_read_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(OsDisk, "sync_folder", refuse)
    make_folders(OS_DISK, tmp_path)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fsync = os.fsync

    def fsync_of_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_of_files)
    make_folders(OS_DISK, tmp_path / "a" / "b")
    write_durably(OS_DISK, tmp_path / "a" / "b" / "file", b"bytes")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"bytes"


def test_a_folder_that_could_not_be_synced_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        make_folders(OS_DISK, tmp_path / "a")


def test_where_there_is_no_sync_of_data_alone_a_file_is_synced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.delattr(os, "fdatasync", raising=False)
    monkeypatch.setattr(os, "fsync", synced.append)
    with closing(OS_DISK.create(tmp_path / "file")) as file:
        file.write(b"bytes")
        file.sync()
    with closing(OS_DISK.pages(tmp_path / "file")) as pages:
        pages.sync()
    assert len(synced) == 2


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(OS_DISK, path, b"old", b" and good")
    with files_of_at_most(5), pytest.raises(OSError, match="large"):
        write_durably(OS_DISK, path, b"new and far too long")
    assert path.read_bytes() == b"old and good"
    assert list(tmp_path.iterdir()) == [path]
    write_durably(OS_DISK, path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("seed", range(10))
def test_a_file_written_durably_outlives_a_power_cut(seed: int) -> None:
    platter, path = Platter(), Path("/folder/file")
    disk = SimulatedDisk(platter, Mishaps())
    make_folders(disk, path.parent)
    for content in (b"one", b"another"):
        write_durably(disk, path, content)
        platter.cut_power(random.Random(seed))
        assert disk.read(path) == content


def test_a_tree_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    (tmp_path / "a" / "file").touch()
    remove_tree(OS_DISK, tmp_path / "a")
    remove_tree(OS_DISK, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_one_processes_and_free_when_it_is_let_go(tmp_path: Path) -> None:
    lock = OS_DISK.lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        OS_DISK.lock(tmp_path / "lock")
    lock.close()
    lock.close()
    OS_DISK.lock(tmp_path / "lock").close()


def test_what_is_not_there_has_no_size_no_names_and_is_removed_already(tmp_path: Path) -> None:
    assert OS_DISK.size(tmp_path / "file") is None
    assert OS_DISK.names(tmp_path / "folder") == []
    assert not OS_DISK.is_folder(tmp_path / "folder")
    OS_DISK.remove(tmp_path / "file")
    OS_DISK.remove_folder(tmp_path / "folder")
    with pytest.raises(FileNotFoundError):
        OS_DISK.read(tmp_path / "file")


def test_a_file_is_cut_and_never_made_longer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    OS_DISK.truncate(path, 9)
    assert path.read_bytes() == b"12345"
    OS_DISK.truncate(path, 2)
    assert path.read_bytes() == b"12"
    OS_DISK.truncate(tmp_path / "none", 2)
    assert list(tmp_path.iterdir()) == [path]
