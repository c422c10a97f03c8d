"""Which policies are tried: presets, and lists of values for single settings.

A variation is a label and the settings that it changes; `coordinator.startup.policy_of` makes the
policy of them, so what is simulated is what a coordinator with these settings would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from settings.presets import PRESETS

Values = Mapping[str, object]

CONCURRENCY = 100
"""Tasks in flight, where nothing says how many."""

OVER_SELECTION = 1.3
QUORUM_OF_GOAL = 0.8


@dataclass(frozen=True, slots=True)
class Variation:
    """A policy to try.

    Attributes:
        label: Names it in tables.
        values: Settings by their dotted names.
    """

    label: str
    values: Values


def variations_of(
    presets: Sequence[str],
    lists: Mapping[str, Sequence[str]],
    configured: bool = False,
    workers: int | None = None,
) -> list[Variation]:
    """Each preset with each combination of values.

    Args:
        presets: Names of `settings.presets.PRESETS`; "" for what the settings say by themselves.
        lists: Values by the dotted name of a setting, as somebody wrote them.
        configured: Whether a file says goal and quorum where neither preset nor list does.
        workers: How many there are, if that is known: no more tasks can be in flight.
    """
    made = []
    for preset in presets:
        for values in product(*lists.values()):
            chosen = dict(zip(lists, values, strict=True))
            swept = [
                f"{name.removeprefix('rounds.')}={value}"
                for name, value in chosen.items()
                if len(lists[name]) > 1
            ]
            label = " ".join([preset or "configured", *swept])
            derived = _of_preset(preset, chosen, configured, workers)
            made.append(Variation(label, {**derived, **chosen}))
    return made


def _of_preset(
    preset: str, chosen: Mapping[str, str], configured: bool, workers: int | None
) -> Values:
    if not preset:
        return {}
    values = PRESETS[preset].dotted()
    if configured or "rounds.goal" in values:
        return values
    # A synchronous round: as many tasks as the others have in flight, or as the goal needs.
    if "rounds.goal" in chosen:
        goal = int(chosen["rounds.goal"])
    else:
        concurrency = int(chosen.get("rounds.concurrency", CONCURRENCY))
        in_flight = concurrency if workers is None else min(concurrency, workers)
        goal = max(int(in_flight / OVER_SELECTION), 1)
        values["rounds.concurrency"] = concurrency
    return {**values, "rounds.goal": goal, "rounds.quorum": max(int(QUORUM_OF_GOAL * goal), 1)}
