"""Times and numbers as the accounts say them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


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


def policy_in_words(policy: Mapping[str, Any]) -> str:
    """What a stored round policy says of the updates that a version is made of."""
    late = (
        f"late updates weighed up to {count_of(policy['max_staleness'], 'version')} behind"
        if policy["late"] == "weigh"
        else "late updates refused"
    )
    said = [f"goal {policy['goal']}", f"quorum {policy['quorum']}", late]
    said.append(f"dispatch {policy['dispatch']}")
    algorithm = policy.get("algorithm", {})
    rule = algorithm.get("rule", "mean")
    optimizer = algorithm.get("stepping", {}).get("name", "none")
    said += [f"rule {rule}"] * (rule != "mean")
    said += [f"optimizer {optimizer}"] * (optimizer != "none")
    return ", ".join(said)
