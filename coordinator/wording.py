"""Times and numbers as the accounts say them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from coordinator.choosing import algorithm_of, weighing_of
from coordinator.policy import RoundPolicy, flattened
from settings.algorithm import AlgorithmSettings
from settings.duration import format_duration
from settings.rounds import RoundsSettings


def moment(time: float) -> str:
    """A time in UTC: "2026-03-01 12:00:00 UTC"."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """How long something takes, roughly: "40 s", "12 min", "3.5 h", "2.1 days"."""
    size = abs(seconds)
    if size < 100:
        return f"{size:.0f} s"
    if size < 100 * 60:
        return f"{size / 60:.0f} min"
    if size < 48 * 3600:
        return f"{size / 3600:.1f} h"
    return f"{size / 86400:.1f} days"


def count_of(number: int, noun: str) -> str:
    """A number of things: "1 update", "3 updates"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(counts: dict[str, int]) -> str:
    """Counts by name: "3 counted, 1 late"; "none" if there are none."""
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


SAID_AS: Mapping[str, str] = {
    "max_norm": "max_norm",
    "adaptive_deadline": "adaptive_deadline",
    "deadline_floor_s": "deadline_floor",
    "max_extensions": "max_extensions",
    "max_seconds": "max_seconds",
    "drain_s": "drain",
    "weighing.example_weights": "example_weights",
    "weighing.max_examples": "max_examples",
    "weighing.staleness": "staleness",
    "weighing.a": "staleness_a",
    "weighing.b": "staleness_b",
    "algorithm.rule": "rule",
    "algorithm.by_count": "normalise",
    "algorithm.trim": "trim",
    "algorithm.clip_norm": "clip_norm",
    "algorithm.population": "population",
    "algorithm.max_local_steps": "max_local_steps",
    "algorithm.prox_mu": "prox_mu",
    "algorithm.stepping.name": "optimizer",
    "algorithm.stepping.lr": "server_lr",
    "algorithm.stepping.beta1": "beta1",
    "algorithm.stepping.beta2": "beta2",
    "algorithm.stepping.tau": "tau",
}
"""What is said of a policy only where it is not the default, by the names of the settings."""


def policy_in_words(policy: Mapping[str, Any]) -> str:
    """What a stored round policy says, as far as it is not the default."""
    late = (
        f"late updates weighed up to {count_of(policy['max_staleness'], 'version')} behind"
        if policy["late"] == "weigh"
        else "late updates refused"
    )
    said = [f"goal {policy['goal']}", f"quorum {policy['quorum']}", late]
    said += [f"dispatch {policy['dispatch']}", f"concurrency {policy['concurrency']}"]
    said += [f"{name} {format_duration(policy[f'{name}_s'])}" for name in ("deadline", "lease")]
    usual, flat = flattened(_DEFAULTS.as_json()), flattened(policy)
    said += [
        f"{name} {_setting(field, flat[field])}"
        for field, name in SAID_AS.items()
        if field in flat and flat[field] != usual[field]  # an older release stored fewer
    ]
    return ", ".join(said)


_DEFAULTS = RoundPolicy(
    rounds=1,
    goal=1,
    quorum=1,
    concurrency=1,
    deadline_s=1.0,
    lease_s=1.0,
    weighing=weighing_of(AlgorithmSettings(), RoundsSettings()),
    algorithm=algorithm_of(AlgorithmSettings()),
)


def _setting(field: str, value: Any) -> str:
    """A value as it is written in the settings."""
    if field == "algorithm.by_count":
        return "count"  # the other is the default
    if field in ("deadline_floor_s", "drain_s", "max_seconds"):
        return format_duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
