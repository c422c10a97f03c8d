"""What the peers' scripts of sums share: arguments, arrays, times, and the JSON line.

Standard library and numpy only: it runs in the peers' environments.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import numpy as np


def arrays(params: int, updates: int) -> list[np.ndarray]:
    """Distinct arrays of float32 numbers near zero."""
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(params, np.float32) * np.float32(0.01)
    return [np.roll(numbers, place) for place in range(updates)]


def measure(
    version: str, ways: Callable[[list[np.ndarray]], Mapping[str, Callable[[], object]]]
) -> None:
    """Time each way of adding up the same arrays, and print the CPU time it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--params", type=int, required=True)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    for way, work in ways(arrays(given.params, given.updates)).items():
        work()
        for _ in range(given.times):
            began = time.process_time()
            work()
            seconds.setdefault(way, []).append(time.process_time() - began)
    print(json.dumps({"version": version, "seconds": seconds}))
