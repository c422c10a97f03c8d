"""Which slots are free: none that may still be read."""

from __future__ import annotations

from coordinator.aggregation.cache import Cache, CachedUpdate, ShelfInMemory


def cached(worker: str, slot: int, base: int = 0) -> CachedUpdate:
    return CachedUpdate(worker, base, slot, 1.0, 1.0)


def test_free_slots_are_the_gaps_and_then_the_end() -> None:
    cache = Cache(ShelfInMemory(1), [cached("a", 1), cached("b", 4)], needed=[2])
    assert [cache.take_slot() for _ in range(4)] == [0, 3, 5, 6]


def test_a_replaced_update_leaves_its_slot_and_frees_it_only_when_told() -> None:
    cache = Cache(ShelfInMemory(1), [cached("a", 0)])
    slot = cache.take_slot()
    assert slot == 1
    assert cache.replace([cached("a", slot, base=1), cached("b", cache.take_slot())]) == [0]
    assert {name: one.slot for name, one in cache.in_force.items()} == {"a": 1, "b": 2}
    assert cache.take_slot() == 3
    cache.free([0])
    assert cache.take_slot() == 0
