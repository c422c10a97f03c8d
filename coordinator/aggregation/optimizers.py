"""The server's optimiser: the round's step is its gradient, downhill as it is.

    d  the step of the rule          none      w += lr · d
    m  momentum, 0 at first          momentum  m = beta1 · m + d               w += lr · m
    v  tau^2 at first                adaptive  m = beta1 · m + (1 - beta1) d   w += lr · m / (sqrt(v) + tau)
                                     adagrad   v += d^2
                                     adam      v = beta2 · v + (1 - beta2) d^2
                                     yogi      v -= (1 - beta2) d^2 sign(v - d^2)

Momentum: Hsu et al. 2019 (FedAvgM). The adaptive ones: Reddi et al. 2021, algorithm 2, which has no
correction of bias: the first steps are short. Their state is float32, and lives as long as the run.
"""  # noqa: E501 - a table

from __future__ import annotations

from typing import assert_never

import numpy as np

from coordinator.aggregation.aggregator import ServerState
from coordinator.aggregation.blocks import Doubles
from coordinator.algorithm import Stepping
from schemas.codecs.numbers import BLOCK
from schemas.tensors import Array, Floats

MOMENTUM, SECOND = "momentum", "second_moment"


def as_of(state: ServerState, then: ServerState) -> ServerState:
    """A version's state, but for the optimiser's part, which is that of an earlier version."""
    optimizers = (MOMENTUM, SECOND)
    stays = {name: numbers for name, numbers in state.items() if name not in optimizers}
    return stays | {name: numbers for name, numbers in then.items() if name in optimizers}


class Optimizer:
    """Turns the round's step into the change of the model.

    Args:
        stepping: Which optimiser.
        size: Numbers of a step.
        state: Of the version before; what it lacks begins anew. It is written over.
    """

    def __init__(self, stepping: Stepping, size: int, state: ServerState) -> None:
        self._stepping = stepping
        self._momentum = self._second = np.zeros(0, np.float32)
        if stepping.name != "none":
            self._momentum = _begun(state, MOMENTUM, size, 0.0)
        if stepping.name in ("adagrad", "adam", "yogi"):
            self._second = _begun(state, SECOND, size, stepping.tau**2)
        self._scratch = np.empty(min(BLOCK, self._momentum.size))
        self._doubles = np.empty(min(BLOCK, self._second.size))

    def state(self) -> dict[str, Array]:
        """What the next version needs."""
        named = {MOMENTUM: self._momentum, SECOND: self._second}
        return {name: numbers for name, numbers in named.items() if numbers.size}

    def turn(self, start: int, block: Doubles) -> None:
        """Turn a block of the step, which begins at `start`, into the model's change; once each."""
        match self._stepping.name:
            case "none":
                pass
            case "momentum":
                self._follow(start, block)
            case "adagrad" | "adam" | "yogi":
                self._see(start, block)
                block *= 1.0 - self._stepping.beta1
                self._follow(start, block)
                self._adapt(start, block)
            case _:
                assert_never(self._stepping.name)
        block *= self._stepping.lr

    def _follow(self, start: int, block: Doubles) -> None:
        """What stays of the momentum is added to the block, and this is the new momentum."""
        momentum = self._scratch[: block.size]
        here = self._momentum[start : start + block.size]
        momentum[...] = here
        momentum *= self._stepping.beta1
        block += momentum
        here[...] = block

    @np.errstate(over="ignore", under="ignore")  # of a step near the largest float; it is damped
    def _see(self, start: int, block: Doubles) -> None:
        """The second moment sees the step."""
        squares, second = self._scratch[: block.size], self._doubles[: block.size]
        here = self._second[start : start + block.size]
        np.multiply(block, block, out=squares)
        second[...] = here
        match self._stepping.name:
            case "none" | "momentum":
                raise AssertionError(f"{self._stepping.name} has no second moment")
            case "adagrad":
                second += squares
            case "adam":
                second *= self._stepping.beta2
                squares *= 1.0 - self._stepping.beta2
                second += squares
            case "yogi":
                np.subtract(second, squares, out=second)
                np.sign(second, out=second)
                squares *= 1.0 - self._stepping.beta2
                squares *= second
                np.subtract(here, squares, out=second)
            case _:
                assert_never(self._stepping.name)
        here[...] = second

    def _adapt(self, start: int, block: Doubles) -> None:
        root = self._scratch[: block.size]
        root[...] = self._second[start : start + block.size]
        np.sqrt(root, out=root)
        root += self._stepping.tau
        block /= root


def _begun(state: ServerState, name: str, size: int, first: float) -> Floats:
    numbers = state.get(name)
    return np.full(size, first, np.float32) if numbers is None else numbers
