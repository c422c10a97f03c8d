"""A large file is gone through in place, and does not stay in this process's memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.rabbitmq.buffers import Buffers
from disk import OS_DISK, chunks_of, let_go

SIZE = 32 * 1024 * 1024
CHUNK = 4 * 1024 * 1024


def resident_bytes(mapped: Path) -> int:
    """How much of a mapped file counts as memory of this process."""
    here, found = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            here = line.endswith(str(mapped))
        elif here and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "large").write_bytes(os.urandom(SIZE))
    return tmp_path / "large"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells it there")
def test_of_a_file_that_is_gone_through_a_chunk_or_two_are_in_memory(path: Path) -> None:
    view = OS_DISK.map(path)
    most = 0
    for chunk in chunks_of(view, CHUNK):
        assert bytes(chunk[::4096])
        most = max(most, resident_bytes(path))
    assert CHUNK // 2 <= most <= 2 * CHUNK
    assert resident_bytes(path) == 0
    assert view == path.read_bytes()
    assert resident_bytes(path) > SIZE // 2
    let_go(view)
    assert resident_bytes(path) == 0


def test_chunks_are_all_of_it(path: Path) -> None:
    data = path.read_bytes()[:1000]
    for size in (1, 7, 999, 1000, 2000):
        assert b"".join(chunks_of(data, size)) == data
        assert b"".join(chunks_of(OS_DISK.map(path, 0, 1000), size)) == data
    assert list(chunks_of(b"")) == []


def test_memory_without_a_file_is_not_let_go_of() -> None:
    memory = Buffers().take(100_000)
    memory[:5] = b"hello"
    view = memoryview(memory).toreadonly()
    let_go(view)
    assert [bytes(chunk[:5]) for chunk in chunks_of(view[:5])] == [b"hello"]
    assert bytes(view[:5]) == b"hello"
