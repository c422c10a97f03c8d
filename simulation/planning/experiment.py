"""One federation simulated until it is good enough, or its time is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from coordinator.policy import RoundPolicy
from coordinator.startup import policy_of
from settings import Settings
from simulation.planning.crowd import Crowd
from simulation.planning.drawer import Choice
from simulation.planning.errors import CannotPlan
from simulation.planning.fleet import Fleet
from simulation.planning.report import Ended, Report, report_of
from simulation.planning.tally import Measured
from simulation.planning.training import Training

UPDATES_PER_EVALUATION = 10
"""A version made of fewer is not evaluated each time."""

TASKS_LOOKED_AT = 1000
APART_S = 7 * 3600.0
"""From one looked at task of a worker to its next: 24 of them come at each hour of the day."""

MOST_ANSWERS, HALF_OF_THEM = 0.95, 0.5
PATIENCE_FACTOR = 2.0

Look = Callable[[Fleet], None]
Dispatch = Literal["pool", "direct"]


@dataclass(frozen=True, slots=True)
class Limits:
    """When an experiment ends.

    Attributes:
        until: Virtual seconds.
        target: The accuracy to reach, None for none.
        evaluate_every: Versions from one evaluation to the next; 0: about ten updates.
    """

    until: float
    target: float | None = None
    evaluate_every: int = 0


@dataclass(frozen=True, slots=True)
class Setup:
    """What a coordinator does, as its settings say.

    Attributes:
        label: Names it in tables.
    """

    label: str
    policy: RoundPolicy
    choice: Choice = field(default_factory=Choice)

    @classmethod
    def of(cls, label: str, settings: Settings) -> Setup:
        """Made of settings by what makes a coordinator's."""
        selection = settings.selection
        choice = Choice(
            candidates=selection.candidates,
            by=selection.by,
            cool_down_s=selection.cool_down_s,
            seen_within_s=selection.seen_within_s,
        )
        return cls(label, policy_of(settings), choice)


class Experiment:
    """One setup, one crowd, one seed.

    Args:
        setup: What the coordinator does.
        crowd: The workers.
        training: What they train.
        seed: Of the experiment.
        limits: When it ends.
        look: Called after each version, for whoever watches.

    Attributes:
        training: What they train.
        fleet: The federation.
    """

    def __init__(
        self,
        setup: Setup,
        crowd: Crowd,
        training: Training,
        seed: int,
        limits: Limits,
        look: Look = lambda fleet: None,
    ) -> None:
        self._label = setup.label
        self.training = training
        self._seed = seed
        self._limits = limits
        self._look = look
        self._every = limits.evaluate_every or -(-UPDATES_PER_EVALUATION // setup.policy.goal)
        self._reached = False
        self.fleet = Fleet(setup.policy, crowd, training, seed, self._made, setup.choice)

    def run(self) -> Report:
        """Run it to its end."""
        self.fleet.run(self._limits.until, lambda fleet: self._reached)
        self._evaluate()  # the last version, if that was not done yet
        return self.report(self._why())

    def _why(self) -> Ended:
        if self._reached:
            return "target"
        return "rounds" if self.fleet.over else "time"

    def report(self, ended: Ended = "stopped") -> Report:
        """What it came to up to now."""
        return report_of(self.fleet, self._label, self._seed, self._limits.target, ended)

    def _made(self, fleet: Fleet) -> None:
        if fleet.models.version % self._every == 0:
            self._evaluate()
        self._look(fleet)

    def _evaluate(self) -> None:
        fleet, tally = self.fleet, self.fleet.tally
        version, at = fleet.models.version, tally.version_at[-1]
        if tally.measured and tally.measured[-1].version == version:
            return
        metrics = self.training.evaluate(version, fleet.models.newest)
        if not metrics:
            return
        tally.measured.append(Measured(at, version, tally.counted, metrics))
        target = self._limits.target
        self._reached = target is not None and metrics.get("accuracy", 0.0) >= target


def patience_s(crowd: Crowd, share: float = MOST_ANSWERS, dispatch: Dispatch = "pool") -> float:
    """How long to wait for devices like these: twice what such a share of answers take.

    Args:
        crowd: The devices.
        share: Of the answers, above 0 and at most 1.
        dispatch: From the pool a task is taken by who is there; a direct one waits for its worker
            to come, and that is part of how long its answer takes.

    Raises:
        CannotPlan: If none of them ever answers.
    """
    availability, took = crowd.availability, []
    workers = min(crowd.workers, TASKS_LOOKED_AT)
    for place in range(-(-TASKS_LOOKED_AT // workers) * workers):
        number, worker = divmod(place, workers)
        offered = number * APART_S
        begun = availability.there_from(worker, offered)
        if not np.isfinite(begun):
            continue
        trip = crowd.trip(worker, number, begun)
        if trip.outcome == "arrives":
            took.append(trip.ends_at - (begun if dispatch == "pool" else offered))
    if not took:
        raise CannotPlan("none of these workers would ever answer")
    return float(np.ceil(PATIENCE_FACTOR * np.quantile(took, share)))


def waits_for(
    crowd: Crowd, late: Literal["weigh", "refuse"], dispatch: Dispatch = "pool"
) -> dict[str, float]:
    """Seconds to set `rounds.deadline` and `rounds.lease` to, for devices like these.

    Where a late update still counts nothing is lost by a short lease, and a long one lets those
    that are away hold the places of those that are there.
    """
    deadline_s = patience_s(crowd, MOST_ANSWERS, dispatch)
    lease_s = deadline_s if late == "refuse" else patience_s(crowd, HALF_OF_THEM, dispatch)
    return {"rounds.deadline": deadline_s, "rounds.lease": lease_s}
