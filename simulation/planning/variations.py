"""Which policies are tried: presets, and lists of values for single settings.

A variation is a label and the settings that it changes; `coordinator.startup.policy_of` makes the
policy of them, so what is simulated is what a coordinator with these settings would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

Values = Mapping[str, object]

CONCURRENCY = 100
"""Tasks in flight, where nothing says how many."""

PRESETS: Mapping[str, Values] = MappingProxyType(
    {
        # Bonawitz et al. 2019: 30 % more tasks than are needed, and 80 % of the goal is enough.
        "sync": {"rounds.late": "refuse"},
        # Nguyen et al. 2022, algorithm 1.
        "fedbuff": {"rounds.late": "weigh", "rounds.goal": 10, "rounds.quorum": 1},
        # Xie et al. 2019, in its update form.
        "fedasync": {"rounds.late": "weigh", "rounds.goal": 1, "rounds.quorum": 1},
    }
)
"""What each preset sets."""

OVER_SELECTION = 1.3
QUORUM_OF_GOAL = 0.8
MAX_STALENESS = 1000


@dataclass(frozen=True, slots=True)
class Variation:
    """A policy to try.

    Attributes:
        label: Names it in tables.
        values: Settings by their dotted names.
    """

    label: str
    values: Values


def variations_of(presets: Sequence[str], lists: Mapping[str, Sequence[str]]) -> list[Variation]:
    """Each preset with each combination of values.

    Args:
        presets: Names of `PRESETS`; "" for what the settings say by themselves.
        lists: Values by the dotted name of a setting, as somebody wrote them.
    """
    made = []
    for preset in presets:
        for values in product(*lists.values()):
            chosen = dict(zip(lists, values, strict=True))
            swept = [
                f"{name.partition('.')[2]}={value}"
                for name, value in chosen.items()
                if len(lists[name]) > 1
            ]
            label = " ".join([preset or "configured", *swept])
            made.append(Variation(label, {**_of_preset(preset, chosen), **chosen}))
    return made


def _of_preset(preset: str, chosen: Mapping[str, str]) -> Values:
    if not preset:
        return {}
    concurrency = int(chosen.get("rounds.concurrency", CONCURRENCY))
    values = {**PRESETS[preset], "rounds.concurrency": concurrency}
    if preset != "sync":
        return {**values, "rounds.max_staleness": MAX_STALENESS}
    if "rounds.goal" not in chosen:
        goal = max(int(concurrency / OVER_SELECTION), 1)
    else:
        goal = int(chosen["rounds.goal"])
        if "rounds.concurrency" not in chosen:
            values["rounds.concurrency"] = 0  # that is 30 % more than the goal
    return {**values, "rounds.goal": goal, "rounds.quorum": max(int(QUORUM_OF_GOAL * goal), 1)}
