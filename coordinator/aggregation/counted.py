"""What an aggregator is given: counted updates as they arrive, and once more at the close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.buffer import Buffer
from schemas.layout import Layout
from schemas.tensors import Floats, update_floats


@dataclass(frozen=True, slots=True)
class Counted:
    """A counted update, checked: finite, and of the layout's size.

    Attributes:
        payload: Float32 of every float of the layout, then the maxed arrays.
        weight: What it weighs in the sum, above 0: `examples`, less for its staleness.
        examples: What its examples weigh, above 0; `weight` if it is not stale.
        local_steps: Optimiser steps of its training, 0 if unknown.
    """

    payload: Buffer
    worker_id: str
    base_version: int
    weight: float
    examples: float
    local_steps: float = 0.0


class Updates(Protocol):
    """The updates of a round, to be read once more by a rule that needs all of them at once."""

    def read(self, index: int, start: int, stop: int) -> Floats:
        """Numbers `start` to `stop` of one update, `(stop - start,)` float32.

        Args:
            index: The update's place among those that were added.
            start: Its first number.
            stop: The one behind its last.
        """
        ...


class UpdatesInMemory:
    """Updates that are kept where they are."""

    def __init__(self, payloads: Sequence[Buffer], layout: Layout) -> None:
        self._floats = [update_floats(payload, layout) for payload in payloads]

    def read(self, index: int, start: int, stop: int) -> Floats:
        """See `Updates.read`."""
        return self._floats[index][start:stop]
