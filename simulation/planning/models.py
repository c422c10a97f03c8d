"""The model versions of a simulation: the newest, and those that a task in flight began with."""

from __future__ import annotations

from coordinator.aggregation.aggregation import Aggregation
from coordinator.aggregation.aggregator import ServerState
from coordinator.aggregation.beginning import begin
from coordinator.aggregation.cache import Cache, ShelfInMemory
from coordinator.aggregation.counted import Counted, UpdatesInMemory
from coordinator.algorithm import Algorithm
from schemas.buffer import Buffer
from schemas.layout import Layout


class Models:
    """Versions, kept only while they are referenced, and the updates of the open round.

    Args:
        layout: Of the model; None if it has no parameters: then only versions are counted.
        initial: Version 0.
        algorithm: How updates become the next version.

    Attributes:
        version: The newest.
    """

    def __init__(self, layout: Layout | None, initial: Buffer, algorithm: Algorithm) -> None:
        self.version = 0
        self._layout = layout
        self._algorithm = algorithm
        self._kept: dict[int, Buffer] = {0: initial}
        self._holders: dict[int, int] = {}
        self._state: ServerState = {}
        self._cache: Cache | None = None
        if layout is not None and self._algorithm.caches:
            self._cache = Cache(ShelfInMemory(layout.num_floats))
        self._counted: list[Counted] = []
        self._round = self._begin()

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, version: int) -> Buffer:
        return self._kept[version]

    @property
    def newest(self) -> Buffer:
        """The model of the newest version."""
        return self._kept[self.version]

    def hold(self, version: int) -> None:
        """A task begins with a version."""
        self._holders[version] = self._holders.get(version, 0) + 1

    def release(self, version: int) -> None:
        """A task that began with it is done."""
        self._holders[version] -= 1
        if not self._holders[version]:
            del self._holders[version]
            if version != self.version:
                del self._kept[version]

    def add(self, update: Counted) -> None:
        """Add a counted update to the open round."""
        if self._round is not None:
            self._round.add(update)
            if self._round.reads_again:
                self._counted.append(update)

    def make(self) -> int:
        """Make the next version of the open round; its number."""
        model = self._made()
        if self.version not in self._holders:
            del self._kept[self.version]
        self.version += 1
        self._kept[self.version] = model
        self._counted.clear()
        self._round = self._begin()
        return self.version

    def _begin(self) -> Aggregation | None:
        if self._layout is None:
            return None
        return begin(self._algorithm, self._layout, self._state, self._cache)

    def _made(self) -> Buffer:
        if self._round is None or self._layout is None:
            return b""
        made = self._round.result(self.newest, UpdatesInMemory(self._counted, self._layout))
        self._state = made.state
        if self._cache is not None:
            self._cache.free(self._cache.replace(made.cached))
        return made.model
