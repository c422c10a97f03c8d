import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.fairness import Participation
from coordinator.registry import CAPABILITIES_MAX, ROW_BYTES, Registry

LONG_AGO = -math.inf


def free(registry: Registry, row: int, version: int = 0, now: float = 100.0) -> bool:
    alone = registry.free(row, version, now, LONG_AGO)
    assert registry.all_free(np.array([row]), version, now, LONG_AGO).tolist() == [alone]
    return alone


def test_a_worker_takes_no_more_than_a_hundred_bytes_at_rest() -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    registry = Registry(("gpu",), workers=100_000)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert ROW_BYTES <= 64
    assert registry.num_bytes == 100_000 * ROW_BYTES
    assert taken / 100_000 <= 100


def test_rows_that_were_added_one_by_one_take_no_more_either() -> None:
    registry = Registry()
    for _ in range(10_000):
        registry.add()
    assert registry.num_bytes / len(registry) <= 100


def test_a_row_is_the_lowest_that_is_nobodys() -> None:
    registry = Registry()
    assert [registry.add() for _ in range(4)] == [0, 1, 2, 3]
    registry.forget(2)
    registry.forget(0)
    assert len(registry) == 2
    assert [registry.add() for _ in range(3)] == [0, 2, 4]


def test_forgotten_rows_at_the_end_are_as_if_they_had_never_been() -> None:
    registry = Registry()
    for _ in range(4):
        registry.add()
    registry.forget(2)
    registry.forget(3)
    assert (registry.end, len(registry)) == (2, 2)
    assert registry.add() == 2


def test_a_row_that_is_used_again_knows_nothing_of_who_had_it() -> None:
    registry = Registry()
    row = registry.add()
    registry.begin_task(row)
    registry.see(row, 50.0, leaving=True)
    registry.count(row)
    registry.measure(row, 3.0, loss=0.5)
    registry.spend(row, 7)
    registry.end_task(row, 1e9)
    registry.forget(row)
    assert registry.participation == Participation()
    assert registry.add() == row
    assert free(registry, row)
    assert (int(registry.drawn[row]), float(registry.duration_s[row])) == (0, 0.0)
    assert math.isnan(registry.loss[row])


def test_a_worker_has_one_task_at_a_time() -> None:
    registry = Registry(workers=2)
    registry.begin_task(0)
    assert (free(registry, 0), free(registry, 1)) == (False, True)
    registry.end_task(0, 0.0)
    assert free(registry, 0)
    assert registry.drawn.tolist() == [1, 0]


def test_a_worker_in_cool_down_is_free_when_it_ends() -> None:
    registry = Registry(workers=1)
    registry.begin_task(0)
    registry.end_task(0, rest_until=130.0)
    assert not free(registry, 0, now=129.9)
    assert free(registry, 0, now=130.0)


def test_a_later_end_does_not_shorten_a_cool_down() -> None:
    registry = Registry(workers=1)
    registry.end_task(0, rest_until=130.0)
    registry.end_task(0, rest_until=110.0)
    assert not free(registry, 0, now=120.0)


def test_after_two_unheard_leases_a_worker_must_be_seen_again() -> None:
    registry = Registry(workers=1)
    registry.see(0, 10.0)
    registry.begin_task(0)
    registry.lapse_task(0, since=20.0)
    assert free(registry, 0)
    registry.begin_task(0)
    registry.lapse_task(0, since=40.0)
    assert not free(registry, 0)
    registry.see(0, 90.0)
    assert free(registry, 0)


def test_a_lease_of_a_worker_that_was_heard_of_meanwhile_is_not_unheard() -> None:
    registry = Registry(workers=1)
    for offered_at in (20.0, 40.0, 60.0):
        registry.begin_task(0)
        registry.see(0, offered_at + 5.0)
        registry.lapse_task(0, offered_at)
    assert free(registry, 0)
    registry.begin_task(0)
    registry.lapse_task(0, since=80.0)
    assert free(registry, 0), "only the last lease was unheard"


def test_a_worker_that_had_its_try_at_a_version_is_free_for_the_next() -> None:
    registry = Registry(workers=1)
    registry.spend(0, 4)
    registry.spend(0, 2)
    assert not free(registry, 0, version=4)
    assert free(registry, 0, version=5)
    registry.let_try_again(0)
    assert free(registry, 0, version=4)


def test_who_must_be_seen_lately_must_not_be_leaving_either() -> None:
    registry = Registry(workers=3)
    registry.see(0, 50.0)
    registry.see(1, 100.0)
    registry.see(2, 100.0, leaving=True)
    since = [registry.free(row, 0, 120.0, 60.0) for row in range(3)]
    assert since == [False, True, False]
    assert registry.all_free(slice(0, 3), 0, 120.0, 60.0).tolist() == since
    assert [free(registry, row, now=120.0) for row in range(3)] == [True, True, True]
    registry.see(2, 121.0)
    assert registry.free(2, 0, 121.0, 60.0)


def test_the_mean_of_the_durations_follows_what_was_seen_last() -> None:
    registry = Registry(workers=1)
    registry.measure(0, 10.0)
    assert registry.duration_s[0] == 10.0
    assert math.isnan(registry.loss[0])
    for _ in range(50):
        registry.measure(0, 20.0, 15.0, 0.25)
    assert registry.duration_s[0] == pytest.approx(20.0, rel=1e-3)
    assert registry.train_s[0] == pytest.approx(15.0)
    assert registry.loss[0] == 0.25
    registry.measure(0, 20.0)
    assert (registry.train_s[0], registry.loss[0]) == (15.0, 0.25), "it did not say"


@given(st.lists(st.integers(0, 4), max_size=60), st.sets(st.integers(0, 4)))
def test_participation_is_that_of_the_rows(whose: list[int], gone: set[int]) -> None:
    registry = Registry(workers=5)
    for row in whose:
        registry.count(row)
    for row in gone:
        registry.forget(row)
    left = Counter(whose.count(row) for row in range(5) if row not in gone)
    assert registry.participation == Participation.of(left)


def test_more_capabilities_than_there_are_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 64 capabilities, came 65"):
        Registry([f"c{n}" for n in range(CAPABILITIES_MAX + 1)])
