from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from learning.errors import LearnerSettingError
from learning.idx import read_idx
from tests.learning.pictures import write_idx


def test_what_was_written_is_read(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "a.gz", array)
    assert np.array_equal(read_idx(tmp_path / "a.gz"), array)


def zipped(content: bytes) -> bytes:
    """Gzipped without the time of day: the names of tests are made of it."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (zipped(b""), "expected an IDX file of bytes"),
        (zipped(bytes((0, 0, 13, 1, 0, 0, 0, 1)) + b"1234"), "expected an IDX file of"),
        (zipped(bytes((0, 0, 8, 1, 0, 0, 0, 3)) + b"12"), "expected 3 elements, came 2"),
        (zipped(bytes((0, 0, 8, 3, 0, 0))), "expected"),
        (b"not gzip", "expected a gzipped IDX file"),
        (zipped(bytes(1000))[:-20], "expected a gzipped IDX file"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(LearnerSettingError, match=complaint):
        read_idx(tmp_path / "a.gz")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LearnerSettingError, match=r"a\.gz"):
        read_idx(tmp_path / "a.gz")
