"""A small set of pictures in the files of Fashion-MNIST, for tests that need the form alone."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TRAINING, HELD_OUT = 400, 100


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an array of bytes as a gzipped IDX file."""
    head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + array.tobytes()))


def write_pictures(folder: Path) -> None:
    """Ten kinds of noise, each with its own bright rows, so that they can be told apart."""
    rng = np.random.default_rng(7)
    for which, count in (("train", TRAINING), ("t10k", HELD_OUT)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(0, 120, (count, 28, 28), dtype=np.uint8)
        for kind in range(10):
            images[labels == kind, 2 * kind : 2 * kind + 2] += 120
        write_idx(folder / f"{which}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{which}-labels-idx1-ubyte.gz", labels)
