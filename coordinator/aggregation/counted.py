"""What an aggregator is given: counted updates as they arrive, and once more at the close."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from schemas.buffer import Buffer
from schemas.codecs.names import FP32
from schemas.codecs.numbers import Numbers, Watched
from schemas.codecs.payload import numbers_of
from schemas.layout import Layout
from schemas.tensors import Floats


@dataclass(frozen=True, slots=True)
class Counted:
    """A counted update, checked: finite, and of the size that layout and codec give.

    Attributes:
        payload: Every float of the layout in its codec, then the maxed arrays.
        weight: What it weighs in the sum, above 0: `examples`, less for its staleness.
        examples: What its examples weigh, above 0; `weight` if it is not stale.
        local_steps: Optimiser steps of its training, 0 if unknown.
        codec: How its floats are encoded.
        update_id: What is random in its codec follows from it.
        passed: Called now and then by who goes through its numbers; None: nobody wants to know.
    """

    payload: Buffer
    worker_id: str
    base_version: int
    weight: float
    examples: float
    local_steps: float = 0.0
    codec: str = FP32
    update_id: str = ""
    passed: Callable[[], object] | None = None

    def numbers(self, layout: Layout) -> Numbers:
        """What its floats are.

        Raises:
            DecodeError: If it was not checked after all.
        """
        numbers = numbers_of(self.payload, self.codec, layout, self.update_id)
        return numbers if self.passed is None else Watched(numbers, self.passed)


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

    def __init__(self, updates: Iterable[Counted], layout: Layout) -> None:
        self._numbers = [update.numbers(layout) for update in updates]

    def read(self, index: int, start: int, stop: int) -> Floats:
        """See `Updates.read`."""
        return self._numbers[index].read(start, stop)
