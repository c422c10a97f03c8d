"""The model versions of a simulation: the newest, and those that a task in flight began with."""

from __future__ import annotations

from coordinator.aggregation.mean import WeightedMean
from schemas.buffer import Buffer
from schemas.layout import Layout


class Models:
    """Versions, kept only while they are referenced, and the sum of the open round.

    Args:
        layout: Of the model; None if it has no parameters: then only versions are counted.
        initial: Version 0.

    Attributes:
        version: The newest.
    """

    def __init__(self, layout: Layout | None, initial: Buffer) -> None:
        self.version = 0
        self._layout = layout
        self._kept: dict[int, Buffer] = {0: initial}
        self._holders: dict[int, int] = {}
        self._sum = _empty(layout)

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

    def add(self, payload: Buffer, weight: float) -> None:
        """Add a counted update to the sum of the open round."""
        if self._sum is not None:
            self._sum.add(payload, weight)

    def make(self) -> int:
        """Make the next version of the sum; its number."""
        model = b"" if self._sum is None else self._sum.result(self.newest)
        if self.version not in self._holders:
            del self._kept[self.version]
        self.version += 1
        self._kept[self.version] = model
        self._sum = _empty(self._layout)
        return self.version


def _empty(layout: Layout | None) -> WeightedMean | None:
    return None if layout is None else WeightedMean(layout)
