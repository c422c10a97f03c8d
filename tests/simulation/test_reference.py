"""What the laws expect of an algorithm is what the coordinator's own code makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.aggregation.aggregator import ServerState
from coordinator.aggregation.beginning import begin
from coordinator.aggregation.cache import Cache, ShelfInMemory
from coordinator.aggregation.counted import Counted, UpdatesInMemory
from coordinator.choosing import algorithm_of
from schemas.tensors import layout_of
from settings import load
from simulation.plan import ALGORITHMS
from simulation.reference import SETTINGS, Name, UnitUpdate, change_of

SLOTS = 40
LAYOUT = layout_of({"slots": np.zeros(SLOTS, np.float32)})


@st.composite
def runs(draw: st.DrawFn) -> list[list[UnitUpdate]]:
    """Rounds, each of a few updates; no worker counts twice for a version."""
    once = set[tuple[int, str]]()
    rounds, slot = [], 0
    for version in range(draw(st.integers(1, 5))):
        counted = []
        for _ in range(draw(st.integers(1, 4))):
            worker, base = draw(st.sampled_from("abcd")), draw(st.integers(0, version))
            if (base, worker) not in once:
                once.add((base, worker))
                weight = 1 / (1 + version - base) ** 0.5
                counted.append(UnitUpdate(version, base, worker, slot, weight))
                slot += 1
        if not counted:
            break
        rounds.append(counted)
    return rounds


@pytest.mark.parametrize("name", SETTINGS)
@given(rounds=runs())
def test_the_reference_and_the_rules_agree(name: Name, rounds: list[list[UnitUpdate]]) -> None:
    algorithm = algorithm_of(load(None, {}, SETTINGS[name]).algorithm)
    cache, base = Cache(ShelfInMemory(SLOTS)), bytes(LAYOUT.num_bytes)
    state: ServerState = {}
    counted: list[UnitUpdate] = []
    for version, sent in enumerate(rounds):
        payloads = [np.eye(SLOTS, dtype="<f4")[one.slot].tobytes() for one in sent]
        aggregation = begin(algorithm, LAYOUT, state, cache)
        updates = [
            Counted(payload, one.worker_id, one.base_version, one.weight, examples=1.0)
            for one, payload in zip(sent, payloads, strict=True)
        ]
        for update in updates:
            aggregation.add(update)
        made = aggregation.result(base, UpdatesInMemory(updates, LAYOUT))
        state = made.state
        cache.free(cache.replace(made.cached))
        counted += sent
        change = np.frombuffer(made.model, "<f4") - np.frombuffer(base, "<f4")
        expected = change_of(name, counted, version, SLOTS)
        assert change == pytest.approx(expected, rel=1e-5, abs=1e-6)
        base = bytes(made.model)


def test_every_algorithm_of_the_worlds_has_a_reference() -> None:
    assert set(ALGORITHMS) == set(SETTINGS)
