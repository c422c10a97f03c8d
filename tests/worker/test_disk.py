from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from disk import OS_DISK
from worker.disk import FolderLock, make_folder
from worker.errors import StoreError


def test_a_file_in_the_way_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="--state-dir"):
        make_folder(OS_DISK, tmp_path / "file" / "w1")
    with pytest.raises(StoreError, match="--state-dir"):
        FolderLock(OS_DISK, tmp_path / "file")


def test_a_lock_that_cannot_be_opened_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        FolderLock(OS_DISK, tmp_path)


def test_a_file_system_without_locks_is_not_taken_for_another_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(37, os.strerror(37))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError):
        FolderLock(OS_DISK, tmp_path)
