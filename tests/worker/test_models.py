from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.topology import OFFSETS_SKIPPED_MAX
from disk.durable import PARTIAL
from disk.os_disk import OsFile
from schemas.digest import digest_of, identify
from schemas.messages import ModelPart
from tests.worker.examples import a_start, a_task
from worker.models import (
    MODELS_KEPT,
    ModelCache,
    ModelGoneError,
    ModelReader,
    StreamBrokenError,
)

BODY = bytes(range(40))
DIGEST = digest_of(BODY)
PARTS = 3
START = a_start(a_task(), model_digest=DIGEST, model_bytes=40, parts=PARTS, offset=10)


def part(index: int, digest: str = DIGEST, size: int = 40, parts: int = PARTS) -> ModelPart:
    return ModelPart(identify("run"), 1, 0, digest, size, index, parts)


def span(index: int) -> bytes:
    return BODY[index * 16 : (index + 1) * 16]


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    made = ModelCache(tmp_path / "models")
    made.prepare()
    return made


@pytest.fixture
def reader(cache: ModelCache) -> Iterator[ModelReader]:
    made = ModelReader(cache, START)
    yield made
    made.drop()


def test_a_model_has_its_name_once_all_of_it_is_there(
    cache: ModelCache, reader: ModelReader
) -> None:
    assert reader.take(part(0), span(0), 10) == "part"
    assert reader.take(part(1), span(1), 11) == "part"
    assert not cache.has(DIGEST, 40)
    assert reader.take(part(2), span(2), 12) == "whole"
    assert cache.has(DIGEST, 40)
    assert cache.path_of(DIGEST).read_bytes() == BODY


def test_what_comes_before_the_offset_is_passed_over(reader: ModelReader) -> None:
    assert reader.take(part(2, digest_of(b"older")), b"x", 9) == "nothing"
    assert reader.left == 3
    assert reader.take(part(0), span(0), 10) == "part"


def test_a_model_may_begin_a_little_later_than_was_counted(
    reader: ModelReader, cache: ModelCache
) -> None:
    assert reader.take(part(2, digest_of(b"older")), b"x", 11) == "nothing"
    for index in range(PARTS):
        reader.take(part(index), span(index), 13 + 2 * index)
    assert cache.path_of(DIGEST).read_bytes() == BODY


def test_a_part_that_stands_twice_is_taken_once(reader: ModelReader, cache: ModelCache) -> None:
    for offset, index in enumerate((0, 0, 1, 1, 0, 2), start=10):
        reader.take(part(index), span(index), offset)
    assert cache.path_of(DIGEST).read_bytes() == BODY


@pytest.mark.parametrize(
    ("found", "offset", "why"),
    [
        (part(1), 10 + OFFSETS_SKIPPED_MAX, "expected part 0, came part 1"),
        (part(0, digest_of(b"other")), 10 + OFFSETS_SKIPPED_MAX, "another model"),
        (part(0, size=41), 10, "41"),
        (part(0, parts=4), 10, "4 of 40"),
    ],
)
def test_a_stream_without_the_model_where_it_should_be_is_broken(
    reader: ModelReader, found: ModelPart, offset: int, why: str
) -> None:
    with pytest.raises(StreamBrokenError, match=why):
        reader.take(found, span(0), offset)


def test_a_gap_is_noticed(reader: ModelReader) -> None:
    reader.take(part(0), span(0), 10)
    with pytest.raises(StreamBrokenError, match="expected part 1, came part 2"):
        reader.take(part(2), span(2), 11)


def test_no_more_is_written_than_was_announced(reader: ModelReader) -> None:
    with pytest.raises(StreamBrokenError, match="came more"):
        reader.take(part(0), bytes(41), 10)


@pytest.mark.parametrize("last", [span(2)[:-1] + b"x", span(2)[:-1]])
def test_other_bytes_under_the_name_are_no_model(
    cache: ModelCache, reader: ModelReader, last: bytes
) -> None:
    reader.take(part(0), span(0), 10)
    reader.take(part(1), span(1), 11)
    with pytest.raises(ModelGoneError, match="digest"):
        reader.take(part(2), last, 12)
    reader.drop()
    assert list(cache.folder.iterdir()) == []


def test_what_is_dropped_leaves_nothing_behind_and_may_be_dropped_again(
    cache: ModelCache, reader: ModelReader
) -> None:
    reader.take(part(0), span(0), 10)
    reader.drop()
    reader.drop()
    assert list(cache.folder.iterdir()) == []


def test_of_what_a_crash_left_unfinished_the_newest_stays(cache: ModelCache) -> None:
    for age, name in enumerate(("a", "b", "c")):
        path = cache.folder / f"{PARTIAL}{name}"
        path.write_bytes(b"m")
        os.utime(path, (1000 + age % 2, 1000 + age % 2))
    cache.prepare()
    assert [file.name for file in cache.folder.iterdir()] == [f"{PARTIAL}b"]


@pytest.mark.parametrize("there", range(PARTS + 1))
def test_an_interrupted_reading_goes_on_with_the_parts_that_are_missing(
    cache: ModelCache, reader: ModelReader, there: int
) -> None:
    for index in range(there):
        reader.take(part(index), span(index), 10 + index)
    reader.stop()
    reader.go_on(replace(START, offset=70))
    assert reader.offset == 70 + there
    for index in range(there, PARTS):
        reader.take(part(index), span(index), 70 + index)
    assert cache.path_of(DIGEST).read_bytes() == BODY
    assert [file.name for file in cache.folder.iterdir()] == [DIGEST]


@pytest.mark.parametrize("there", range(41))
def test_another_process_goes_on_behind_whatever_is_there(cache: ModelCache, there: int) -> None:
    """A process that is killed may leave half a part."""
    (cache.folder / f"{PARTIAL}{DIGEST}").write_bytes(BODY[:there])
    reader = ModelReader(cache, START)
    first = reader.offset - 10
    assert there // 16 - 1 <= first <= there // 16 or there == 40
    for index in range(first, PARTS):
        reader.take(part(index), span(index), 10 + index)
    assert cache.path_of(DIGEST).read_bytes() == BODY


def test_what_a_power_cut_left_of_a_model_is_read_again(cache: ModelCache) -> None:
    (cache.folder / f"{PARTIAL}{DIGEST}").write_bytes(bytes(20))
    reader = ModelReader(cache, START)
    reader.take(part(1), span(1), 11)
    with pytest.raises(OSError, match="damaged"):
        reader.take(part(2), span(2), 12)
    reader.drop()
    reader = ModelReader(cache, START)
    assert reader.offset == 10
    for index in range(PARTS):
        reader.take(part(index), span(index), 10 + index)
    assert cache.path_of(DIGEST).read_bytes() == BODY


def test_a_gap_behind_what_was_there_is_noticed(cache: ModelCache, reader: ModelReader) -> None:
    reader.take(part(0), span(0), 10)
    reader.stop()
    reader.go_on(replace(START, offset=70))
    with pytest.raises(StreamBrokenError, match="expected part 1, came part 2"):
        reader.take(part(2), span(2), 70 + OFFSETS_SKIPPED_MAX)


def test_the_newest_models_are_kept(cache: ModelCache) -> None:
    for age in range(5):
        path = cache.path_of(str(age))
        path.write_bytes(b"m")
        os.utime(path, (1000 - age, 1000 - age))
    cache.touch("4")
    cache.trim(spare="4")
    assert MODELS_KEPT == 2
    assert sorted(file.name for file in cache.folder.iterdir()) == ["0", "4"]


def test_the_model_that_just_came_is_kept_whatever_the_clock_says(
    cache: ModelCache, reader: ModelReader
) -> None:
    for age in range(3):
        path = cache.path_of(str(age))
        path.write_bytes(b"m")
        os.utime(path, (4e9 + age, 4e9 + age))
    for index in range(PARTS):
        reader.take(part(index), span(index), 10 + index)
    assert sorted(file.name for file in cache.folder.iterdir()) == ["2", DIGEST]


def test_a_disk_that_fails_while_tidying_up_is_no_failure(
    cache: ModelCache, reader: ModelReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    reader.take(part(0), span(0), 10)
    monkeypatch.setattr(Path, "unlink", fail)
    cache.discard(DIGEST)
    cache.touch(DIGEST)
    cache.prepare()
    reader.drop()
    reader.drop()


def test_a_full_disk_gives_no_model_its_name(cache: ModelCache, reader: ModelReader) -> None:
    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    for index in range(PARTS - 1):
        reader.take(part(index), span(index), 10 + index)
    assert reader._partial._file is not None
    reader._partial._file.close()
    reader._partial._file = OsFile(Full(), lasting=False)
    with pytest.raises(OSError, match="No space left"):
        reader.take(part(PARTS - 1), span(PARTS - 1), 9 + PARTS)
    assert not cache.has(DIGEST, len(BODY))


def test_what_is_buffered_when_the_disk_is_full_is_read_again(
    cache: ModelCache, reader: ModelReader
) -> None:
    class Full(io.BytesIO):
        def close(self) -> None:
            raise OSError(28, "No space left on device")

    reader.take(part(0), span(0), 10)
    assert reader._partial._file is not None
    reader._partial._file.close()
    cache.disk.truncate(cache.folder / f"{PARTIAL}{DIGEST}", 7)
    reader._partial._file = OsFile(Full(), lasting=True)
    reader.stop()
    reader.go_on(START)
    assert reader.offset == 10
    for index in range(PARTS):
        reader.take(part(index), span(index), 10 + index)
    assert cache.path_of(DIGEST).read_bytes() == BODY


def test_a_model_of_another_size_is_not_at_hand(cache: ModelCache) -> None:
    cache.path_of(DIGEST).write_bytes(BODY[:-1])
    assert not cache.has(DIGEST, 40)
    assert not cache.has(None, 40)
