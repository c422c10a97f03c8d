"""From an URL to a depot."""

from __future__ import annotations

from pathlib import Path

import pytest

from depot import DepotUnusable, FolderDepot, open_depot
from tests.contracts.depot_contract import NAME


def test_an_url_of_a_file_opens_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "of all"
    folder.mkdir()
    depot = open_depot(folder.as_uri(), "demo")
    assert isinstance(depot, FolderDepot)
    assert depot.label == folder / "demo.depot"
    depot.label.touch()
    depot.put(NAME, b"1")
    assert len(list(folder.iterdir())) == 2


def test_another_scheme_is_refused() -> None:
    with pytest.raises(DepotUnusable, match="came http:"):
        open_depot("http://somewhere", "demo")
