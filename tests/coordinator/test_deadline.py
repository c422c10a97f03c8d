"""How long a round waits where that follows from what was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.deadline import LEAST, WINDOW, deadline_of, quantile, remembered
from coordinator.events import ExtendRound, Refused
from coordinator.states import Collecting
from tests.coordinator.bench import Bench, policy

durations = st.lists(st.floats(0.0, 1e6), min_size=LEAST, max_size=WINDOW)


def adaptive(share: float = 0.9) -> Bench:
    """A run whose deadline is 600 s at most and 10 s at least."""
    bench = Bench(
        policy(
            rounds=99,
            goal=LEAST,
            quorum=1,
            concurrency=2 * LEAST,
            deadline_s=600.0,
            lease_s=1e6,
            adaptive_deadline=share,
            deadline_floor_s=10.0,
        )
    )
    bench.store()
    return bench


def waits_s(bench: Bench) -> float:
    """How long the round that has just opened waits."""
    assert isinstance(bench.state, Collecting)
    return bench.state.deadline_at - bench.state.opened_at


def play_round(bench: Bench, *durations_s: float) -> None:
    """A round to its goal, the updates of which took so long."""
    for number, duration_s in enumerate(durations_s):
        bench.update(bench.open[0], f"w{number}", duration_s=duration_s)
    bench.store()


def test_without_a_quantile_the_deadline_is_what_is_set() -> None:
    assert deadline_of(policy(deadline_s=60.0), [1.0] * WINDOW) == 60.0


def test_before_enough_was_seen_the_deadline_is_what_is_set() -> None:
    rules = policy(deadline_s=60.0, adaptive_deadline=0.9)
    assert deadline_of(rules, [1.0] * (LEAST - 1)) == 60.0
    assert deadline_of(rules, [1.0] * LEAST) < 60.0


@given(durations, st.floats(0.01, 1.0))
def test_the_deadline_is_between_its_floor_and_what_is_set(seen: list[float], share: float) -> None:
    rules = policy(deadline_s=60.0, adaptive_deadline=share, deadline_floor_s=5.0)
    assert 5.0 <= deadline_of(rules, seen) <= 60.0


def test_a_floor_above_the_deadline_does_not_prolong_it() -> None:
    rules = policy(deadline_s=60.0, adaptive_deadline=0.5, deadline_floor_s=100.0)
    assert deadline_of(rules, [1.0] * LEAST) == 60.0


@given(durations, st.floats(0.01, 1.0))
def test_so_many_were_not_slower_than_the_quantile(seen: list[float], share: float) -> None:
    limit = quantile(seen, share)
    assert sum(value <= limit for value in seen) >= share * len(seen)
    assert sum(value < limit for value in seen) < share * len(seen)
    assert limit in seen


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.75, 3.0), (0.76, 4.0), (1.0, 4.0)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    assert quantile([3.0, 1.0, 4.0, 2.0], share) == value


def test_only_the_last_durations_are_remembered() -> None:
    seen: tuple[float, ...] = ()
    for number in range(WINDOW + 5):
        seen = remembered(seen, float(number))
    assert seen == tuple(float(number) for number in range(5, WINDOW + 5))
    assert remembered(seen, None) == seen


# in the machine


def test_a_round_waits_as_long_as_tasks_were_seen_to_take() -> None:
    bench = adaptive(0.9)
    assert waits_s(bench) == 600.0
    play_round(bench, *(20.0 + number for number in range(LEAST)))
    assert waits_s(bench) == 28.0


def test_updates_that_came_too_late_to_count_make_the_next_deadline_longer() -> None:
    bench = adaptive(1.0)
    late, worker = bench.open[-1], "slow"
    bench.take(late, worker)
    play_round(bench, *[20.0] * LEAST)
    assert waits_s(bench) == 20.0
    for _ in range(3):
        play_round(bench, *[20.0] * LEAST)
    assert bench.update(late, worker, base=0, duration_s=300.0) == "stale"
    play_round(bench, *[20.0] * LEAST)
    assert waits_s(bench) == 300.0


def test_how_long_an_update_took_that_was_refused_for_its_data_says_nothing() -> None:
    bench = adaptive(0.1)
    for _ in range(LEAST):
        fault = Refused("non-finite", "NaN")
        bench.update(bench.open[0], "bad", fault=fault, duration_s=0.0)
    assert bench.state.run.durations == ()


def test_a_round_that_is_extended_waits_as_long_as_is_set() -> None:
    bench = adaptive(0.9)
    play_round(bench, *[20.0] * LEAST)
    actions = bench.tick_to_wake()
    assert ExtendRound(1, 1, bench.now + 600.0) in actions
