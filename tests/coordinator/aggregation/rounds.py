"""Rounds of a rule over a small model, for the tests of all rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from coordinator.aggregation.aggregation import Made
from coordinator.aggregation.aggregator import ServerState
from coordinator.aggregation.beginning import begin
from coordinator.aggregation.cache import Cache
from coordinator.aggregation.counted import Counted, UpdatesInMemory
from coordinator.algorithm import Algorithm
from schemas.layout import Layout
from schemas.tensors import layout_of

Numbers = NDArray[np.float64]

COUNT = 5
LAYOUT = layout_of({"w": np.zeros(COUNT, np.float32)})


@dataclass(frozen=True)
class Sent:
    """An update as a worker sent it."""

    numbers: tuple[float, ...]
    worker: int = 0
    base: int = 0
    examples: float = 1.0
    decay: float = 1.0
    steps: float = 1.0

    @property
    def u(self) -> Numbers:
        return np.array(self.numbers, np.float64)

    @property
    def weight(self) -> float:
        return self.examples / self.decay

    def counted(self) -> Counted:
        payload = np.array(self.numbers, "<f4").tobytes()
        name = f"worker-{self.worker}"
        return Counted(payload, name, self.base, self.weight, self.examples, self.steps)


NUMBERS = st.lists(st.floats(-10, 10, width=32), min_size=COUNT, max_size=COUNT).map(tuple)


@st.composite
def rounds(draw: st.DrawFn, least: int = 1, most: int = 9) -> list[Sent]:
    """The updates of one round: no worker twice for one version."""
    names = draw(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, 3)),
            min_size=least,
            max_size=most,
            unique=True,
        )
    )
    return [
        Sent(
            draw(NUMBERS),
            worker,
            base,
            examples=float(draw(st.integers(1, 1000))),
            decay=draw(st.floats(1, 5)),
            steps=float(draw(st.integers(1, 200))),
        )
        for worker, base in names
    ]


def make(
    algorithm: Algorithm,
    sent: Sequence[Sent],
    base: bytes | bytearray = b"",
    state: ServerState | None = None,
    cache: Cache | None = None,
    layout: Layout = LAYOUT,
) -> Made:
    """What a round becomes; from a model of zeros unless there is another."""
    counted = [one.counted() for one in sent]
    aggregation = begin(algorithm, layout, state, cache)
    for update in counted:
        aggregation.add(update)
    updates = UpdatesInMemory(counted, layout)
    return aggregation.result(base or bytes(layout.num_bytes), updates)


def numbers_of(made: Made) -> NDArray[np.float32]:
    return np.frombuffer(made.model, "<f4")


def step(algorithm: Algorithm, sent: Sequence[Sent]) -> NDArray[np.float32]:
    """The step of a round without a past."""
    return numbers_of(make(algorithm, sent))
