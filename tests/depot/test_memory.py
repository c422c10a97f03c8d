"""Putting a large file costs no memory of its size, nor does reading it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.s3_server import BUCKET, KEY, SECRET, s3_server

LARGE_MIB, SMALL_MIB = 128, 40

CHILD = """
import resource, sys
from pathlib import Path
from depot import RANGE_BYTES, open_depot
from disk import OS_DISK

url, endpoint, credentials, source = sys.argv[1:]
depot = open_depot(url, "demo", endpoint=endpoint, credentials=Path(credentials))
depot.put("models/small", bytes(2**20))  # what is imported and pooled is there from here on
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
view = OS_DISK.map(Path(source))
depot.put("models/large", view)
for start in range(0, view.nbytes, RANGE_BYTES):
    depot.read("models/large", start, RANGE_BYTES)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(2**20) * LARGE_MIB)
    return path


def grown_mib(url: str, endpoint: str, credentials: Path, source: Path) -> int:
    command = [sys.executable, "-c", CHILD, url, endpoint, str(credentials), str(source)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
def test_a_folder_takes_a_large_file_in_little_memory(tmp_path: Path, large: Path) -> None:
    (tmp_path / "depot").mkdir()
    (tmp_path / "depot" / "demo.depot").touch()
    url = (tmp_path / "depot").as_uri()
    assert grown_mib(url, "", tmp_path / "none", large) < SMALL_MIB


@pytest.mark.slow
def test_a_bucket_takes_a_large_file_in_little_memory(tmp_path: Path, large: Path) -> None:
    pytest.importorskip("obstore")
    keys = tmp_path / "keys"
    keys.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    with s3_server() as store:
        assert grown_mib(f"s3://{BUCKET}", store.url, keys, large) < SMALL_MIB
