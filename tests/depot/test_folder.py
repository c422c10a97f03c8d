"""A depot that is a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from depot import DepotUnreachable, FolderDepot
from disk.durable import PARTIAL
from tests.contracts.depot_contract import FAR_S, NAME, OTHER, DepotContract


def depot_in(folder: Path, federation: str = "demo") -> FolderDepot:
    """A depot with the label that whoever sets it up makes."""
    depot = FolderDepot(folder, federation)
    depot.label.touch()
    return depot


class TestFolderDepot(DepotContract):
    @pytest.fixture
    def depot(self, tmp_path: Path) -> FolderDepot:
        return depot_in(tmp_path)

    @pytest.fixture
    def other_federation(self, tmp_path: Path) -> FolderDepot:
        return depot_in(tmp_path, "demo-2")

    @pytest.fixture(params=["no folder", "not mounted", "another federation's"])
    def lost(self, tmp_path: Path, request: pytest.FixtureRequest) -> FolderDepot:
        folder = tmp_path / "mount"
        if request.param != "no folder":
            folder.mkdir()
        if request.param == "another federation's":
            depot_in(folder, "demo-2")
        return FolderDepot(folder, "demo")


def test_all_objects_lie_in_the_one_folder(tmp_path: Path) -> None:
    depot_in(tmp_path).put(OTHER, b"1")
    assert all(path.is_file() for path in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_put_where_nothing_is_mounted(tmp_path: Path) -> None:
    depot = FolderDepot(tmp_path, "demo")
    with pytest.raises(DepotUnreachable, match=r"mount it.*touch .*demo\.depot"):
        depot.put(NAME, b"1")
    assert list(tmp_path.iterdir()) == []


def test_the_label_never_expires(tmp_path: Path) -> None:
    depot = depot_in(tmp_path)
    for prefix in ("depot", "models", "updates"):
        depot.expire(prefix, FAR_S, lambda _: False)
    assert depot.label.exists()


def test_a_folder_that_is_missing_is_never_made(tmp_path: Path) -> None:
    depot = FolderDepot(tmp_path / "mount", "demo")
    with pytest.raises(DepotUnreachable, match="make or mount it"):
        depot.put(NAME, b"1")
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_unfinished_expires_like_objects(tmp_path: Path) -> None:
    unfinished = tmp_path / f"{PARTIAL}demo.updates.{32 * 'a'}.{64 * 'b'}.0123"
    unfinished.write_bytes(b"half of it")
    of_another = tmp_path / f"{PARTIAL}other.updates.{32 * 'a'}.{64 * 'b'}.0123"
    of_another.write_bytes(b"half of it")
    depot = depot_in(tmp_path)
    assert depot.expire("updates", 0.0, lambda _: False) == 0
    assert unfinished.exists()
    depot.expire("updates", FAR_S, lambda _: True)
    assert not unfinished.exists()
    assert of_another.exists()


def test_a_name_that_none_of_ours_has_is_left_alone(tmp_path: Path) -> None:
    depot = depot_in(tmp_path)
    depot.put("models/a", b"1")
    foreign = tmp_path / "demo.models.Read-me.txt"
    foreign.write_bytes(b"of the administrator")
    assert depot.expire("models", FAR_S, lambda _: False) == 1
    assert [path for path in tmp_path.iterdir() if "models" in path.name] == [foreign]
