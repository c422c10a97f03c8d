from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from disk import OS_DISK
from settings import SettingsError
from tests.worker.scripted import config_for
from worker import numbering
from worker.config import WorkerConfig
from worker.disk import FolderLock
from worker.numbering import free_numbers, is_numbered


def many(folder: Path, data: str = "") -> WorkerConfig:
    """Workers of one machine, as `--id till-*` describes them."""
    config = config_for(folder / "till-*", "Adder", "till-*")
    return replace(config, data=data)


def test_an_id_with_a_star_is_one_of_many() -> None:
    assert is_numbered("till-*")
    assert not is_numbered("till-1")


def test_each_who_comes_takes_the_lowest_number_that_nobody_uses(tmp_path: Path) -> None:
    first = next(free_numbers(many(tmp_path)))
    with FolderLock(OS_DISK, first.folder):
        second = next(free_numbers(many(tmp_path)))
        with FolderLock(OS_DISK, second.folder):
            assert next(free_numbers(many(tmp_path))).worker_id == "till-3"
    assert (first.worker_id, first.folder) == ("till-1", tmp_path / "till-1")
    assert (second.worker_id, second.folder) == ("till-2", tmp_path / "till-2")


def test_a_number_that_somebody_let_go_of_is_taken_again(tmp_path: Path) -> None:
    lowest = FolderLock(OS_DISK, next(free_numbers(many(tmp_path))).folder)
    with FolderLock(OS_DISK, next(free_numbers(many(tmp_path))).folder):
        lowest.release()
        assert next(free_numbers(many(tmp_path))).worker_id == "till-1"


def test_who_was_too_late_for_one_is_given_the_next(tmp_path: Path) -> None:
    offered = free_numbers(many(tmp_path))
    assert [next(offered).worker_id for _ in range(3)] == ["till-1", "till-2", "till-3"]


def test_the_number_stands_for_the_star_in_the_data(tmp_path: Path) -> None:
    offered = free_numbers(many(tmp_path, "*/12"))
    assert [next(offered).data for _ in range(2)] == ["1/12", "2/12"]
    assert next(free_numbers(many(tmp_path, "/data"))).data == "/data"


def test_there_is_an_end_to_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbering, "NUMBERS_MAX", 2)
    with pytest.raises(SettingsError, match="--id: expected at most 2 workers"):
        list(free_numbers(many(tmp_path)))
