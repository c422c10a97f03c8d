"""What goes wrong at the depot of a world: drawn at each request, until all is healed."""

from __future__ import annotations

import random
from collections.abc import Callable

from simulation.clock import VirtualTime
from simulation.depot import SimulatedDepot

FAILS, TEARS, MIXES_UP, LOSES, AWAY, HANGS = (
    "depot fails",
    "depot tears",
    "depot mixes up",
    "depot loses",
    "depot away",
    "depot hangs",
)
DEPOT_KINDS = frozenset({FAILS, TEARS, MIXES_UP, LOSES, AWAY, HANGS})
_CHANCES = (
    (FAILS, 0.06),
    (TEARS, 0.03),
    (MIXES_UP, 0.03),
    (LOSES, 0.03),
    (AWAY, 0.01),
    (HANGS, 0.02),
)
_AWAY_S = (5.0, 120.0)
_HANGS_S = (30.0, 2000.0)  # longer than anyone waits for it


class Weather:
    """Strikes a depot before each of its requests.

    Args:
        depot: Which.
        rng: What is drawn from.
        time: Of the world.
        told: Takes what happened.
        count: Takes its kind.
    """

    def __init__(
        self,
        depot: SimulatedDepot,
        rng: random.Random,
        time: VirtualTime,
        told: Callable[[str], None],
        count: Callable[[str], None],
    ) -> None:
        self._depot = depot
        self._rng = rng
        self._time = time
        self._told = told
        self._count = count
        depot.before_request = self._strike

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        depot = self._depot
        depot.before_request = lambda: None
        depot.fails = depot.tears = depot.mixes_up = 0
        depot.hangs_s = 0.0
        depot.away = False

    def _strike(self) -> None:
        drawn = self._rng.random()
        for kind, chance in _CHANCES:
            drawn -= chance
            if drawn < 0:
                self._do(kind)
                return

    def _do(self, kind: str) -> None:
        depot = self._depot
        match kind:
            case "depot fails":
                depot.fails += 1
            case "depot tears":
                depot.tears += 1
            case "depot mixes up":
                depot.mixes_up += 1
            case "depot loses" if depot.objects:
                del depot.objects[self._rng.choice(sorted(depot.objects))]
            case "depot away" if not depot.away:
                depot.away = True
                self._time.call_in(self._rng.uniform(*_AWAY_S), self._back)
            case "depot hangs" if not depot.hangs_s:
                depot.hangs_s = self._rng.uniform(*_HANGS_S)
            case _:
                return
        self._told(kind)
        self._count(kind)

    def _back(self) -> None:
        self._depot.away = False
