"""What a counted update weighs: by its examples, and by how stale it is. Pure.

    weight = examples(n) / decay(staleness)

    examples      linear       n                           McMahan et al. 2017, algorithm 1
                  equal        1                           Nguyen et al. 2022 (FedBuff), algorithm 1
                  sqrt         sqrt(n)
                  log          ln(1 + n)
    staleness     constant     1
      (decay)     polynomial   (1 + t)^a                   Xie et al. 2019 (FedAsync), section 5.2
                  hinge        1 if t <= b, else 1 + a (t - b)

FedBuff's 1 / sqrt(1 + t) is polynomial with a = 0.5; it is not 1 / (1 + sqrt(t)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, assert_never

ExampleWeights = Literal["linear", "equal", "sqrt", "log"]
Staleness = Literal["constant", "polynomial", "hinge"]

DECAY_MAX = 1e100
"""The most that a weight is divided by: (1 + t)^a has no end, and a weight of 0 divides by zero."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """What an update weighs in the round that counts it; always above 0.

    Attributes:
        example_weights: How its weight grows with its examples.
        max_examples: The most examples one update can weigh, 0 for no cap.
        staleness: How its weight falls with the versions it is behind.
        a: The exponent of "polynomial", the slope of "hinge"; at least 0.
        b: Up to how many versions behind "hinge" takes nothing off; at least 0.
    """

    example_weights: ExampleWeights = "linear"
    max_examples: int = 0
    staleness: Staleness = "polynomial"
    a: float = 0.5
    b: float = 4.0

    def of_examples(self, num_examples: int) -> float:
        """What an update of so many examples, at least 1, weighs if it is not stale."""
        count = min(num_examples, self.max_examples or num_examples)
        match self.example_weights:
            case "linear":
                return float(count)
            case "equal":
                return 1.0
            case "sqrt":
                return math.sqrt(count)
            case "log":
                return math.log1p(count)
            case _:
                assert_never(self.example_weights)

    def decay(self, staleness: int) -> float:
        """By what the weight of an update is divided that is so many versions behind.

        Never more than `DECAY_MAX`.
        """
        match self.staleness:
            case "constant":
                return 1.0
            case "polynomial":
                # The square root is exact to the last bit, which a power need not be.
                behind = 1.0 + staleness
                return math.sqrt(behind) if self.a == 0.5 else _power(behind, self.a)
            case "hinge":
                return 1.0 + self.a * max(staleness - self.b, 0.0)
            case _:
                assert_never(self.staleness)

    def weight(self, num_examples: int, staleness: int) -> float:
        """What an update weighs in the sum."""
        return self.of_examples(num_examples) / self.decay(staleness)


def _power(base: float, exponent: float) -> float:
    """A power of a base of at least 1, or `DECAY_MAX` if that is less."""
    if exponent * math.log(base) >= math.log(DECAY_MAX):
        return DECAY_MAX
    return min(math.pow(base, exponent), DECAY_MAX)
