"""The round policy: one object for synchronous, semi-synchronous and asynchronous rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, cast

import msgspec

from coordinator.algorithm import Algorithm
from coordinator.weighing import Weighing

AT_ONCE = (
    "rounds",
    "deadline_s",
    "adaptive_deadline",
    "deadline_floor_s",
    "lease_s",
    "max_extensions",
    "max_seconds",
    "drain_s",
)
"""What changes for the open round too: it decides when things happen, not what a version is."""


@dataclass(frozen=True, slots=True)
class RoundPolicy:
    """When a round closes, how many tasks are in flight, and what a late update is worth.

    Attributes:
        rounds: Model versions to make, at least 1.
        goal: Updates that close a round; FedBuff's K.
        quorum: Fewest updates that a deadline may close with, 1 to `goal`.
        concurrency: Tasks in flight. Above `goal` it is over-selection.
        deadline_s: Seconds after which a round closes with what it has.
        lease_s: Seconds a taken task may stay unanswered before another is offered.
        late: "weigh" counts an update of an older version by its staleness; "refuse" does not.
        max_staleness: Versions an update may be behind and still count, when weighed.
        max_extensions: Deadlines a round may miss in a row before the run is paused.
        max_norm: The largest L2 norm of an update, 0 for no ceiling.
        max_seconds: Seconds after which the run ends with what it has, 0 for no limit.
        drain_s: Seconds a run that ended still records what comes.
        dispatch: Who gets a task: whoever takes one from the "pool", or, "direct", a worker that
            was drawn.
        adaptive_deadline: Share of the last tasks, 0 to 1, that took no longer than a round waits;
            0: it waits for `deadline_s`, which is the most in any case.
        deadline_floor_s: The least seconds that it waits then.
        weighing: What a counted update weighs.
        algorithm: How the counted updates become the next version.
    """

    rounds: int
    goal: int
    quorum: int
    concurrency: int
    deadline_s: float
    lease_s: float
    late: Literal["weigh", "refuse"] = "weigh"
    max_staleness: int = 20
    max_extensions: int = 3
    max_norm: float = 0.0
    max_seconds: float = 0.0
    drain_s: float = 30.0
    dispatch: Literal["pool", "direct"] = "pool"
    adaptive_deadline: float = 0.0
    deadline_floor_s: float = 10.0
    weighing: Weighing = field(default_factory=Weighing)
    algorithm: Algorithm = field(default_factory=Algorithm)

    def __post_init__(self) -> None:
        if not 1 <= self.quorum <= self.goal:
            raise ValueError(f"expected 1 <= quorum <= goal, came {self.quorum} and {self.goal}")
        if self.goal > self.concurrency:
            raise ValueError(
                f"goal {self.goal} can never be met: only {self.concurrency} tasks are in flight, "
                "and a worker counts once in a version"
            )
        for name in ("deadline_s", "lease_s"):
            if not getattr(self, name) > 0:  # or the clock would be looked at without end
                raise ValueError(f"expected {name} above 0, came {getattr(self, name)}")
        if not 0 <= self.adaptive_deadline <= 1 or not self.deadline_floor_s > 0:
            raise ValueError(
                "expected adaptive_deadline from 0 to 1 and deadline_floor_s above 0, came "
                f"{self.adaptive_deadline} and {self.deadline_floor_s}"
            )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """A policy as `as_json` wrote it, perhaps in another release.

        from_json(policy.as_json()) == policy

        Raises:
            ValueError: If it is none.
        """
        return msgspec.convert(stored, cls)

    def as_json(self) -> dict[str, Any]:
        """The policy as values that JSON can say."""
        return cast(dict[str, Any], msgspec.to_builtins(self))

    def amended(self, by: RoundPolicy) -> Self:
        """This policy, for the rest of the open round, when another was set meanwhile.

        Only when things happen is changed: which updates count, and what each is worth, is not.
        """
        timing = {name: getattr(by, name) for name in AT_ONCE}
        return replace(
            self,
            **timing,
            quorum=min(by.quorum, self.goal),
            concurrency=max(by.concurrency, self.goal),
        )

    def differences(self, other: RoundPolicy) -> list[str]:
        """What is not the same in another policy, in words: "goal: was 2, now 3"."""
        was, now = flattened(self.as_json()), flattened(other.as_json())
        return [
            f"{name}: was {was[name]}, now {now[name]}" for name in was if was[name] != now[name]
        ]


def flattened(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields, and those of the values in them: of "algorithm" there is "algorithm.rule"."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": each for inner, each in flattened(value).items()}
        else:
            flat[name] = value
    return flat
