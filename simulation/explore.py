"""Many seeds, on all cores: what was broken, what came of it, and which seed breaks a law."""

from __future__ import annotations

import os
import signal
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from simulation.world import World

LINES_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one seed.

    Attributes:
        seed: Which.
        faults: How often each kind of fault happened.
        verdicts: How many updates have each verdict.
        finished: Updates that a training process finished, but for those below; each has its
            verdict, if nothing failed.
        given_up: Updates that a worker gave up, since its disk had changed them.
        lost: Updates whose verdict a restore from a backup lost.
        broken: What law does not hold and how it came to that, "" if all hold.
    """

    seed: int
    faults: Counter[str]
    verdicts: Counter[str]
    finished: int
    given_up: int
    lost: int
    broken: str = ""


def try_seed(seed: int) -> Finding:
    """Run one world to its rest."""
    world, broken = World(seed), ""
    try:
        world.run()
    except Exception as error:
        lines = [*list(world.history)[-LINES_SHOWN:], str(world.plan), _where(error)]
        broken = "\n".join(lines)
    verdicts = Counter(row.verdict for row in world.laws.rows)
    laws = world.laws
    return Finding(seed, world.faults, verdicts, laws.finished, laws.given_up, laws.lost, broken)


def _where(error: Exception) -> str:
    return "".join(traceback.format_exception(error, limit=-4)).rstrip()


def _leave_ctrl_c_to_its_owner() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def explore(first: int, count: int) -> Iterator[Finding]:
    """Try seeds on all cores, in their order."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=_leave_ctrl_c_to_its_owner) as pool:
        try:
            yield from pool.map(try_seed, range(first, first + count), chunksize=4)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
