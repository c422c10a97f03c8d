"""The same arrival log, with the coordinator ended at every step: the same models, to the byte.

The coordinator works on a disk that forgets what was not synced; its workers say the same things in
the same order.
"""

from __future__ import annotations

import contextlib
import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from coordinator import evaluation
from coordinator.evaluation import Initial
from coordinator.startup import Surroundings
from settings import Settings
from simulation.disk import SimulatedDisk
from simulation.mishaps import Crash, Mishaps
from simulation.platter import Platter
from tests.coordinator.steps import Steps
from tests.coordinator.test_service_kill import SCENARIOS, end_of
from tests.coordinator.world import World

RUN = "7" * 32
FEW_BYTES = 300  # of an update or two
_initial: dict[str, Initial] = {}


class Machine(World):
    """A coordinator on a machine whose disk forgets, ended at one of its steps.

    Args:
        folder: Where its learner is; its state is on the simulated disk.
        crash_at: The step of the first life that it ends at, None for none.
        chances: Of what survives.
        segment_bytes: From how many on a segment of its spool is full.
        options: Of the world.
    """

    def __init__(
        self,
        folder: Path,
        crash_at: int | None = None,
        chances: random.Random | None = None,
        segment_bytes: int = FEW_BYTES,
        **options: Any,
    ) -> None:
        self.platter = Platter(lambda: self.now)
        self.mishaps = Mishaps()
        self.mishaps.crash_at = crash_at
        self.taken = self.mishaps.names = list[str]()
        self._chances = chances or random.Random(0)
        self._segment_bytes = segment_bytes
        super().__init__(folder, _Watched(self), around=self._surroundings(), **options)

    def _surroundings(self) -> Surroundings:
        disk = SimulatedDisk(self.platter, self.mishaps)
        return Surroundings(disk, _initial_of, lambda: RUN, segment_bytes=self._segment_bytes)

    def disk_to_look_at(self) -> SimulatedDisk:
        return SimulatedDisk(self.platter, Mishaps())

    def kill(self) -> None:
        """End the coordinator, and its machine with it."""
        with contextlib.suppress(Crash):  # one that has ended tidies nothing up
            super().kill()
        self.mishaps.ended = True
        self.platter.end_process(self.mishaps)
        self.platter.cut_power(self._chances)
        self.mishaps = Mishaps()
        self.around = self._surroundings()
        if self._store is not None:
            self._store.close()
            self._store = None


class _Watched(Steps):
    """The calls of the transport, as steps of the machine's process."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def at(self, name: str) -> None:
        if name.startswith("before"):
            self._machine.mishaps.at(name)


def _initial_of(settings: Settings) -> Initial:
    text = Path(settings.learner.path.partition(":")[0]).read_text()
    if text not in _initial:
        _initial[text] = evaluation.initial_of(settings)
    return _initial[text]


def places(names: list[str]) -> list[int]:
    """Where to end a process that takes these steps: of like ones, the first and the last."""
    ends: dict[tuple[str, str], list[int]] = {}
    for number, step in enumerate(pairwise(["", *map(_kind, names)])):
        ends.setdefault(step, []).append(number)
    return sorted({number for numbers in ends.values() for number in (numbers[0], numbers[-1])})


def _kind(name: str) -> str:
    """A step without the ids and numbers in it."""
    return re.sub(r"[0-9a-f]{16,}|\d+", "#", name)


def with_a_memory(world: World) -> None:
    """Three rounds of three workers, two of which come again, one late."""
    late = world.worker("c")
    begun = world.begin_task(late)
    for number, names in enumerate(("ab", "a", "ab")):
        for value, name in enumerate(names, start=1):
            world.answer(world.worker(name), value / 3 + number)
        if number == 1:
            world.finish_task(late, *begun, 0.7)


HANDED_ON: dict[str, dict[str, object]] = {
    "adam": {"algorithm__optimizer": "adam"},
    "ca2fl": {"algorithm__rule": "ca2fl", "coordinator__spool_keep_rounds": 0},
    "mifa and momentum": {"algorithm__rule": "mifa", "algorithm__optimizer": "momentum"},
    "trimmed mean": {"algorithm__rule": "trimmed-mean", "algorithm__trim": 0.4},
}


@pytest.mark.parametrize("algorithm", HANDED_ON)
def test_its_power_cut_at_any_step_what_a_version_hands_on_is_as_if_nothing_had_happened(
    tmp_path: Path, algorithm: str
) -> None:
    options: dict[str, Any] = {"rounds__concurrency": 3, **HANDED_ON[algorithm]}
    undisturbed = Machine(tmp_path, **options)
    with_a_memory(undisturbed)
    expected = end_of(undisturbed)
    assert len(expected.models) == 4
    ended = 0
    for place in places(undisturbed.taken):
        machine = Machine(tmp_path, place, random.Random(place), **options)
        with_a_memory(machine)
        ended += machine.mishaps.names is not machine.taken
        assert end_of(machine) == expected, f"ended before {machine.taken[-1]}, step {place}"
        machine.kill()
    assert ended > 40
    steps = {_kind(name) for name in undisturbed.taken}
    assert "move .spare-#.seg" in steps, "no segment was written over"
    if algorithm == "ca2fl":
        assert {"write #.slots", "sync #.slots", "sync folder cached"} <= steps
    elif algorithm == "adam":
        assert "write .partial-#.state" in steps


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_its_power_cut_at_any_step_it_counts_the_same_updates_into_the_same_models(
    tmp_path: Path, scenario: str
) -> None:
    play, options = SCENARIOS[scenario]
    chosen: dict[str, Any] = dict(options)
    undisturbed = Machine(tmp_path, **chosen)
    play(undisturbed)
    expected = end_of(undisturbed)
    assert len(expected.models) > 1
    ended = 0
    for place in places(undisturbed.taken):
        machine = Machine(tmp_path, place, random.Random(place), **chosen)
        play(machine)
        ended += machine.mishaps.names is not machine.taken
        assert end_of(machine) == expected, f"ended before {machine.taken[-1]}, step {place}"
        assert machine.ready("update") == 0, f"ended before {machine.taken[-1]}, step {place}"
        machine.kill()
    assert ended > 40
