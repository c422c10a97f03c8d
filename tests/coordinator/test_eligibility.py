import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.eligibility import (
    NO_TRAITS,
    NOTHING,
    Required,
    Traits,
    local_minute,
    offset_of,
    shortfall,
)
from coordinator.registry import Registry
from settings.hours import Hours

NOON = 20_000 * 86_400.0 + 12 * 3600
NAMES = ("camera", "gpu", "nfc")

hours = st.none() | st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(
    lambda pair: pair[0] != pair[1]
).map(lambda pair: Hours(*pair))
traits = st.builds(
    Traits,
    examples=st.integers(0, 50),
    capabilities=st.frozensets(st.sampled_from(NAMES)),
    battery=st.sampled_from([-1.0, 0.0, 0.2, 0.3, 0.7, 1.0]),
    metered=st.booleans(),
    offset=st.integers(-1, 1439),
)
required = st.builds(
    Required,
    min_examples=st.integers(0, 50),
    capabilities=st.lists(st.sampled_from(NAMES), unique=True).map(tuple),
    min_battery=st.sampled_from([0.0, 0.2, 0.3, 0.7, 1.0]),
    unmetered=st.booleans(),
    hours=hours,
)


@pytest.mark.parametrize(
    ("has", "needs", "why"),
    [
        (Traits(), Required(min_examples=5), "5 examples are required, it does not say how many"),
        (Traits(examples=4), Required(min_examples=5), "5 examples are required, it has 4"),
        (Traits(), Required(capabilities=("gpu",)), "it lacks what is required: gpu"),
        (Traits(battery=0.1), Required(min_battery=0.2), "its battery is at 10%, 20% are required"),
        (Traits(metered=True), Required(unmetered=True), "its network is metered"),
        (Traits(), Required(hours=Hours(0, 60)), "it does not say what time of day"),
        (Traits(offset=0), Required(hours=Hours(780, 60)), "its time of day is 1h before"),
    ],
)
def test_a_worker_that_falls_short_is_told_why(has: Traits, needs: Required, why: str) -> None:
    found = shortfall(has, needs, NOON)
    assert found is not None
    assert why in found.why


def test_a_worker_that_says_nothing_meets_what_requires_nothing() -> None:
    assert shortfall(NO_TRAITS, NOTHING, NOON) is None


def test_a_worker_without_a_battery_is_not_asked_for_its_charge() -> None:
    assert shortfall(Traits(battery=-1.0), Required(min_battery=1.0), NOON) is None


def test_only_hours_come_by_themselves_and_it_is_said_when() -> None:
    out_of_hours = shortfall(Traits(offset=0), Required(hours=Hours(780, 60)), NOON + 90)
    assert out_of_hours is not None
    assert out_of_hours.until_s == 3600 - 90
    later = NOON + 90 + out_of_hours.until_s
    assert shortfall(Traits(offset=0), Required(hours=Hours(780, 60)), later) is None
    metered = shortfall(Traits(metered=True), Required(unmetered=True), NOON)
    assert metered is not None
    assert metered.until_s == 0


@given(minute=st.integers(0, 1439), now=st.floats(0, 4e9), later_s=st.floats(0, 1e6))
def test_a_clock_runs_on_after_it_was_told(minute: int, now: float, later_s: float) -> None:
    offset = offset_of(minute, now)
    assert local_minute(offset, now) == minute
    passed = int((now + later_s) // 60) - int(now // 60)
    assert local_minute(offset, now + later_s) == (minute + passed) % 1440
    assert local_minute(offset_of(-1, now), now) == -1


@given(workers=st.lists(traits, min_size=1, max_size=20), needs=required, now=st.floats(0, 4e9))
def test_the_registry_judges_many_as_one_is_judged(
    workers: list[Traits], needs: Required, now: float
) -> None:
    registry = Registry(NAMES)
    for each in workers:
        registry.declare(registry.add(), each)
    rows = np.arange(len(workers))
    alone = [shortfall(each, needs, now) is None for each in workers]
    assert registry.all_meet(rows, needs, now).tolist() == alone
    assert registry.all_meet(slice(0, len(workers)), needs, now).tolist() == alone
    assert [registry.traits(row) for row in range(len(workers))] == workers


@given(each=traits, gave=hours, now=st.floats(0, 4e9))
def test_outside_of_the_hours_that_it_gave_a_worker_is_not_drawn(
    each: Traits, gave: Hours | None, now: float
) -> None:
    registry = Registry(NAMES)
    row = registry.add()
    registry.declare(row, Traits(offset=each.offset, hours=gave))
    minute = local_minute(each.offset, now)
    inside = gave is None or minute < 0 or gave.includes(minute)
    assert registry.all_meet(np.array([row]), NOTHING, now).tolist() == [inside]
    assert registry.traits(row).hours == gave


def test_a_capability_that_nobody_keeps_is_met_by_nobody() -> None:
    registry = Registry(("gpu",))
    registry.declare(registry.add(), Traits(capabilities=frozenset({"gpu", "nfc"})))
    needs = Required(capabilities=("nfc",))
    assert registry.all_meet(np.array([0]), needs, NOON).tolist() == [False]
