"""Read images and labels from files in the IDX format of MNIST and its like.

bytes 0-1   zero
byte  2     type of the elements; 8 is a byte, the only one read here
byte  3     number of dimensions
then        each dimension, 4 bytes, big-endian
then        the elements
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learning.errors import LearnerSettingError

BYTES_MAX = 256 * 2**20  # unpacked; MNIST's largest file has 47 MB
_BYTE = 8


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in a gzipped IDX file.

    Raises:
        LearnerSettingError: There is no such file, or it is not one.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(BYTES_MAX + 1)
    except (OSError, EOFError) as error:
        raise LearnerSettingError(f"{path}: expected a gzipped IDX file ({error})") from error
    if len(content) > BYTES_MAX:
        raise LearnerSettingError(f"{path}: expected at most {BYTES_MAX} bytes, came more")
    head = content[:4]
    if head[:3] != bytes((0, 0, _BYTE)) or len(content) < 4 + 4 * head[-1]:
        raise LearnerSettingError(f"{path}: expected an IDX file of bytes")
    start = 4 + 4 * head[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if len(content) - start != math.prod(shape):
        raise LearnerSettingError(
            f"{path}: expected {math.prod(shape)} elements, came {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
