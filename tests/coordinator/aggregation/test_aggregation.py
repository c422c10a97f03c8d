"""What all rules have in common: what becomes of integers, of the base, of a second call; clip."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.aggregation.beginning import begin
from coordinator.aggregation.cache import Cache, ShelfInMemory
from coordinator.aggregation.checks import inspect
from coordinator.aggregation.counted import Counted, UpdatesInMemory
from coordinator.aggregation.groups import Room
from coordinator.algorithm import Algorithm, Rule
from schemas.codecs.numbers import BLOCK
from schemas.layout import Layout
from schemas.tensors import Array, flatten, layout_of, unflatten, update_between
from tests.coordinator.aggregation.rounds import LAYOUT, Sent, make, numbers_of, rounds, step

RULES: tuple[Rule, ...] = get_args(Rule)


def model(weight: float, batches: int, frozen: int, seen: bool) -> dict[str, Array]:
    return {
        "bn.weight": np.array([weight, weight], np.float32),
        "bn.half": np.array([weight], np.float16),
        "bn.num_batches_tracked": np.array(batches, np.int64),
        "frozen": np.array([frozen], np.int16),
        "seen": np.array([seen, False]),
    }


BASE = model(1.0, 10, 5, False)
MIXED = layout_of(BASE, {"bn.num_batches_tracked": "max", "seen": "max"})


def round_of(rule: Rule, trained: list[dict[str, Array]]) -> dict[str, Array]:
    """The model that a round of trained models becomes."""
    before = flatten(BASE, MIXED)
    payloads = [bytes(update_between(before, flatten(one, MIXED), MIXED)) for one in trained]
    aggregation = begin(Algorithm(rule=rule), MIXED, cache=Cache(ShelfInMemory(MIXED.num_floats)))
    counted = [Counted(one, f"w{number}", 0, 1.0, 1.0, 4.0) for number, one in enumerate(payloads)]
    for update in counted:
        aggregation.add(update)
    made = aggregation.result(before, UpdatesInMemory(counted, MIXED))
    return unflatten(made.model, MIXED)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_floats_are_averaged_counters_maxed_and_the_rest_kept(
    rule: Rule, order: tuple[int, ...]
) -> None:
    trained = [model(2.0, 12, 9, False), model(3.0, 9, 8, True), model(4.0, 11, 7, False)]
    result = round_of(rule, [trained[index] for index in order])
    assert result["bn.weight"] == pytest.approx([3.0, 3.0])
    assert result["bn.half"].tolist() == [3.0]
    assert result["bn.num_batches_tracked"] == 12
    assert result["frozen"].tolist() == [5]
    assert result["seen"].tolist() == [True, False]


def test_a_counter_never_falls_below_the_servers() -> None:
    result = round_of("mean", [model(1.0, 3, 5, False)])
    assert result["bn.num_batches_tracked"] == 10


@pytest.mark.parametrize("rule", RULES)
def test_nothing_added_gives_the_base(rule: Rule) -> None:
    base = np.arange(5, dtype="<f4").tobytes()
    made = make(Algorithm(rule=rule), [], base, cache=Cache(ShelfInMemory(5)))
    assert bytes(made.model) == base
    assert not made.cached


@pytest.mark.parametrize("rule", RULES)
def test_neither_base_nor_updates_are_changed(rule: Rule) -> None:
    base = bytearray(np.arange(5, dtype="<f4").tobytes())
    payload = bytearray(np.ones(5, "<f4").tobytes())
    before = bytes(base), bytes(payload)
    aggregation = begin(Algorithm(rule=rule, clip_norm=1.0), LAYOUT, cache=Cache(ShelfInMemory(5)))
    update = Counted(payload, "a", 0, 5.0, 5.0, 3.0)
    aggregation.add(update)
    aggregation.result(base, UpdatesInMemory([update], LAYOUT))
    assert (bytes(base), bytes(payload)) == before


def test_a_result_is_made_once() -> None:
    aggregation = begin(Algorithm(), LAYOUT)
    aggregation.add(Sent((1.0,) * 5).counted())
    aggregation.result(bytes(LAYOUT.num_bytes), UpdatesInMemory([], LAYOUT))
    with pytest.raises(ValueError, match="used up"):
        aggregation.result(bytes(LAYOUT.num_bytes), UpdatesInMemory([], LAYOUT))


@pytest.mark.parametrize("rule", ["mean", "nova", "median", "trimmed-mean"])
def test_rules_without_a_memory_hand_nothing_on(rule: Rule) -> None:
    made = make(Algorithm(rule=rule), [Sent((1.0,) * 5)])
    assert (dict(made.state), made.cached) == ({}, ())


@pytest.mark.parametrize("rule", ["ca2fl", "mifa", "fedvarp"])
def test_a_rule_that_caches_asks_for_a_cache(rule: Rule) -> None:
    with pytest.raises(ValueError, match=f"expected a cache for the rule {rule}"):
        begin(Algorithm(rule=rule), LAYOUT)


@given(rounds(), st.floats(0.01, 100))
def test_updates_are_shortened_to_the_norm_they_may_have(sent: list[Sent], clip: float) -> None:
    def clipped(one: Sent) -> Any:
        norm = float(np.linalg.norm(one.u))
        return one.u * min(1.0, clip / float(norm)) if norm else one.u

    expected = sum(one.weight * clipped(one) for one in sent) / sum(one.weight for one in sent)
    made = step(Algorithm(clip_norm=clip), sent)
    assert made == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert np.linalg.norm(made) <= clip * (1 + 1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_clips(rule: Rule) -> None:
    sent = [Sent((300.0, 400.0, 0, 0, 0), worker) for worker in range(3)]
    made = make(Algorithm(rule=rule, clip_norm=5.0), sent, cache=Cache(ShelfInMemory(5)))
    assert numbers_of(made) == pytest.approx([3.0, 4.0, 0, 0, 0], rel=1e-3)


def test_updates_that_pass_the_checks_leave_a_half_precision_model_finite() -> None:
    layout: Layout = layout_of({"w": np.ones(1, np.float16)})
    payload = np.array([1e5], "<f4").tobytes()
    assert inspect(payload, layout, max_norm=0.0) is None
    aggregation = begin(Algorithm(), layout)
    update = Counted(payload, "a", 0, 1.0, 1.0)
    aggregation.add(update)
    base = flatten({"w": np.ones(1, np.float16)}, layout)
    made = aggregation.result(base, UpdatesInMemory([update], layout))
    assert np.isfinite(unflatten(made.model, layout)["w"]).all()


def test_the_next_version_is_made_without_a_model_in_memory() -> None:
    layout = layout_of({"w": np.zeros(4_000_000, np.float32), "n": np.zeros(500_000, np.int64)})
    base = bytes(layout.num_bytes)
    aggregation = begin(Algorithm(), layout)
    aggregation.add(Counted(bytes(layout.update_bytes), "w", 0, 1.0, 1.0))
    tracemalloc.start()
    size = sum(block.nbytes for block in aggregation.blocks(base, UpdatesInMemory([], layout)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == layout.num_bytes == 20_000_000
    assert peak < 2_000_000


def test_a_sum_in_the_memory_of_another_is_the_same() -> None:
    layout = layout_of({"w": np.zeros(BLOCK + 3, np.float32)})
    payload = np.linspace(-1, 1, BLOCK + 3, dtype="<f4").tobytes()
    updates = [Counted(payload, str(number), 0, 1.0 + number, 1.0) for number in range(3)]

    def made(room: Room | None, count: int) -> bytes:
        aggregation = begin(Algorithm(), layout, room=room)
        for update in updates[:count]:
            aggregation.add(update)
        assert room is None or aggregation.room is room
        return bytes(aggregation.result(bytes(layout.num_bytes), UpdatesInMemory([], layout)).model)

    for count in range(4):
        assert made([np.full(BLOCK + 3, np.nan, np.float32)], count) == made(None, count)


def test_memory_of_another_size_is_of_no_use() -> None:
    layout = layout_of({"w": np.zeros(4, np.float32)})
    room = [np.full(5, np.nan, np.float32)]
    aggregation = begin(Algorithm(), layout, room=room)
    aggregation.add(Counted(np.ones(4, "<f4").tobytes(), "w", 0, 1.0, 1.0))
    assert aggregation.room is not room
    made = aggregation.result(bytes(16), UpdatesInMemory([], layout))
    assert np.frombuffer(made.model, "<f4").tolist() == [1.0] * 4
