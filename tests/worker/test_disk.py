from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from worker import disk
from worker.disk import FolderLock, make_folder
from worker.errors import StoreError


def test_each_folder_made_is_synced_in_the_one_above_and_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_folder", synced.append)
    assert make_folder(tmp_path / "a" / "b" / "c") == tmp_path / "a" / "b" / "c"
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    for made in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) == 0o700
    synced.clear()
    make_folder(tmp_path / "a")
    assert synced == []


def test_a_file_in_the_way_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="--state-dir"):
        make_folder(tmp_path / "file" / "w1")
    with pytest.raises(StoreError, match="--state-dir"):
        FolderLock(tmp_path / "file")


def test_a_lock_that_cannot_be_opened_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        FolderLock(tmp_path)


def test_a_file_system_without_locks_is_not_taken_for_another_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(37, os.strerror(37))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError):
        FolderLock(tmp_path)
