"""How long work of one thread takes that waits for nothing: the median of its seconds of CPU.

On a quiet machine that is the time on the wall, and on another the seconds that others took are
not in it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def medians_s(times: int, *works: Callable[[], object]) -> list[float]:
    """Of several kinds of work that take turns, after once that does not count."""
    for work in works:
        work()
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(times):
        for work, mine in zip(works, taken, strict=True):
            began = time.process_time()
            work()
            mine.append(time.process_time() - began)
    return [statistics.median(mine) for mine in taken]
