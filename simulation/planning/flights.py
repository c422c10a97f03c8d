"""Tasks on their way: in a worker's hand, or in its own queue. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.planning.crowd import Outcome
from simulation.planning.models import Models


@dataclass(slots=True)
class Flight:
    """A task that a worker has in hand.

    Attributes:
        number: The number of the worker's task.
        since: When it was taken, or a direct one offered.
        replaced: Another was offered in its place.
    """

    task_id: str
    worker: int
    number: int
    version: int
    outcome: Outcome
    since: float
    direct: bool = False
    replaced: bool = False


@dataclass(slots=True)
class Letter:
    """A direct task in its worker's own queue, which holds one.

    Attributes:
        version: The one that it pins.
    """

    task_id: str
    worker: int
    version: int
    since: float


class Letters:
    """The workers' own queues: each holds one task, and a newer one takes its place.

    Args:
        models: Keeps the versions that the tasks pin.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._letters: dict[int, Letter] = {}

    def __len__(self) -> int:
        return len(self._letters)

    def of(self, worker: int) -> Letter | None:
        """The task in a worker's queue."""
        return self._letters.get(worker)

    def post(self, letter: Letter) -> None:
        """Put a task into its worker's queue."""
        before = self.of(letter.worker)
        if before is not None:
            self.forget(before)
        self._letters[letter.worker] = letter
        self._models.hold(letter.version)

    def forget(self, letter: Letter) -> None:
        """A task was taken, or is not wanted any more; nothing happens if it is not there."""
        if self.of(letter.worker) is letter:
            del self._letters[letter.worker]
            self._models.release(letter.version)
