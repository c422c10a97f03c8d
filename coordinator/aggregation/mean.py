"""The mean of updates as a running sum: memory O(parameters), whatever their number."""

from __future__ import annotations

from coordinator.aggregation.aggregator import Stateless, Weights
from coordinator.aggregation.blocks import Doubles
from coordinator.aggregation.counted import Counted
from coordinator.aggregation.groups import GroupedSum, Room
from schemas.codecs.numbers import Numbers


class WeightedMean(Stateless):
    """The weighted mean of the updates.

        step = sum(w_k · u_k) / sum(w_k)

    McMahan et al. 2017, algorithm 1, in its update form; divided by count with equal examples it is
    Nguyen et al. 2022 (FedBuff), algorithm 1: sum(s(t_k) · u_k) / K. It lies between the smallest
    and the largest update.
    """

    reads_again = False

    def __init__(self, size: int, by_count: bool = False, room: Room | None = None) -> None:
        self._sum = GroupedSum(size, room)
        self._weights = Weights(by_count)

    @property
    def room(self) -> Room:
        """See `Aggregator.room`."""
        return self._sum.room

    def add(self, update: Counted, numbers: Numbers, shrink: float) -> None:
        """See `Aggregator.add`."""
        self._sum.add(numbers, update.weight * shrink)
        self._weights.add(update)

    def step(self, start: int, out: Doubles) -> None:
        """See `Aggregator.step`."""
        self._sum.write(start, out)
        out /= self._weights.divisor


class NormalisedMean(Stateless):
    """The mean of the updates per local step, times the mean number of local steps.

        step = sum(w_k · a_k) / sum(w_k) · sum(w_k · u_k / a_k) / sum(w_k),  a_k = local steps

    Wang et al. 2020 (FedNova), section 4: who did more steps does not pull the model to its own
    optimum. With equal steps it is the weighted mean.

    Args:
        size: Numbers of an update.
        by_count: See `Weights`.
        max_steps: The most local steps that one update counts with, 0 for no cap. They are what a
            worker says of itself, and they make everybody's step longer.
        room: See `GroupedSum`.
    """

    reads_again = False

    def __init__(
        self,
        size: int,
        by_count: bool = False,
        max_steps: int = 0,
        room: Room | None = None,
    ) -> None:
        self._sum = GroupedSum(size, room)
        self._weights = Weights(by_count)
        self._max_steps = max_steps
        self._steps = 0.0
        self._weight = 0.0

    @property
    def room(self) -> Room:
        """See `Aggregator.room`."""
        return self._sum.room

    def add(self, update: Counted, numbers: Numbers, shrink: float) -> None:
        """See `Aggregator.add`.

        Raises:
            ValueError: If its local steps are not known: such an update is refused before.
        """
        if not update.local_steps > 0:
            raise ValueError(f"expected local steps above 0, came {update.local_steps}")
        steps = min(update.local_steps, self._max_steps or update.local_steps)
        self._sum.add(numbers, update.weight * shrink / steps)
        self._weights.add(update)
        self._steps += update.weight * steps
        self._weight += update.weight

    def step(self, start: int, out: Doubles) -> None:
        """See `Aggregator.step`."""
        self._sum.write(start, out)
        out *= self._steps / self._weight / self._weights.divisor
