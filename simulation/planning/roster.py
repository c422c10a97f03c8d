"""What a fleet remembers of each worker: a few numbers in arrays, 26 bytes a worker. Pure."""

from __future__ import annotations

import numpy as np


class Roster:
    """Facts of the workers 0 to `workers` - 1.

    Attributes:
        busy: Whether it has a task in hand.
        tried: The version of its last task, -1 if none; a worker has one try at each version.
        counted: The base version of its update that was counted last, -1 if none.
        taken: How many tasks it took.
        answers: How many of its updates were counted.
        rests_until: Until when it is given no task.
        watched: Whether the pool has it in one of its lists.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.busy = np.zeros(workers, bool)
        self.watched = np.zeros(workers, bool)
        self.tried = np.full(workers, -1, np.int32)
        self.counted = np.full(workers, -1, np.int32)
        self.taken = np.zeros(workers, np.int32)
        self.answers = np.zeros(workers, np.int32)
        self.rests_until = np.zeros(workers)

    @property
    def num_bytes(self) -> int:
        """What it takes in memory."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))
