from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.drawing import Terms, draw, eligible
from coordinator.eligibility import Required, Traits
from coordinator.registry import Mask, Registry
from schemas.chance import Chance, Rows, key_of
from tests.schemas.test_chance import chi_square

NOW = 1000.0


def chance(number: int, *names: str) -> Chance:
    return Chance(key_of(0, 1, 0, "draw", *names), number)


def uniform(counts: list[int]) -> bool:
    degrees = len(counts) - 1
    limit: float = degrees + 5 * (2 * degrees) ** 0.5
    return chi_square(counts) <= limit


def counts_of(
    registry: Registry, draws: int, count: int = 1, terms: Terms | None = None, candidates: int = 1
) -> Counter[int]:
    drawn: Counter[int] = Counter()
    for number in range(draws):
        rows = draw(registry, count, terms or Terms(0, NOW), chance(number), candidates)
        assert len(set(rows)) == count
        drawn.update(rows)
    return drawn


@pytest.mark.parametrize(("workers", "count"), [(40, 1), (40, 7), (40, 39), (3000, 50)])
def test_all_workers_are_drawn_equally_often(workers: int, count: int) -> None:
    draws = max(400, 40 * workers // count)
    drawn = counts_of(Registry(workers=workers), draws, count)
    assert uniform([drawn[row] for row in range(workers)])


@pytest.mark.parametrize("share", [0.5, 0.05, 0.004, 0.0005])
def test_the_few_that_are_eligible_among_many_are_drawn_equally_often(share: float) -> None:
    """From half of them, found by single tries, to so few that only a look at all finds them."""
    registry = Registry(workers=20_000)
    chosen = [int(row) for row in np.linspace(0, 19_999, max(10, int(20_000 * share)))]
    registry.rest_until[:] = NOW + 1
    registry.rest_until[chosen] = NOW
    drawn = counts_of(registry, max(1000, 10 * len(chosen)), 2)
    assert set(drawn) <= set(chosen)
    assert uniform([drawn[row] for row in chosen])


def test_pairs_are_drawn_equally_often() -> None:
    registry = Registry(workers=6)
    pairs = Counter(
        frozenset(draw(registry, 2, Terms(0, NOW), chance(number), 1)) for number in range(6000)
    )
    assert len(pairs) == 15
    assert uniform(list(pairs.values()))


def test_requirements_and_further_conditions_leave_the_others_equally_likely() -> None:
    registry = Registry(("gpu",), workers=60)
    for row in range(60):
        names = frozenset({"gpu"}) if row % 3 == 0 else frozenset[str]()
        registry.declare(row, Traits(capabilities=names))

    def in_the_upper_half(rows: Rows) -> Mask:
        upper: Mask = rows >= 30
        return upper

    required = Required(capabilities=("gpu",))
    drawn = counts_of(registry, 2000, 2, Terms(0, NOW, required=required))
    assert set(drawn) == set(range(0, 60, 3))
    assert uniform(list(drawn.values()))
    drawn = counts_of(registry, 2000, 2, Terms(0, NOW, required=required, also=in_the_upper_half))
    assert set(drawn) == set(range(30, 60, 3))
    assert uniform(list(drawn.values()))


def test_of_several_candidates_the_least_served_is_taken() -> None:
    registry = Registry(workers=2)
    registry.drawn[0] = 3
    assert [draw(registry, 1, Terms(0, NOW), chance(n)) for n in range(20)] == [[1]] * 20
    assert draw(registry, 2, Terms(0, NOW), chance(0)) == [1, 0]


def test_equally_served_candidates_are_equally_likely() -> None:
    drawn = counts_of(Registry(workers=30), 6000, candidates=3)
    assert uniform([drawn[row] for row in range(30)])


def test_two_candidates_even_out_what_one_leaves_to_chance() -> None:
    """Balanced allocations (Azar et al. 1994): the gap shrinks from sqrt to log log."""
    spread = {}
    for candidates in (1, 2):
        registry = Registry(workers=100)
        for number in range(3000):
            for row in draw(registry, 1, Terms(0, NOW), chance(number), candidates):
                registry.begin_task(row)
                registry.end_task(row, 0.0)
        spread[candidates] = int(registry.drawn.max()) - int(registry.drawn.min())
    assert spread[1] > 15
    assert spread[2] <= 6


def test_by_loss_the_highest_is_taken_and_the_unknown_before_it() -> None:
    registry = Registry(workers=3)
    for row, loss in ((0, 0.5), (1, 2.0)):
        registry.measure(row, 1.0, loss=loss)
    assert draw(registry, 3, Terms(0, NOW), chance(0), 3, "loss") == [2, 1, 0]


def test_by_loss_every_worker_still_has_its_chance() -> None:
    """With d of n candidates the one of the lowest loss is never best; others are, now and then."""
    registry = Registry(workers=10)
    for row in range(10):
        registry.measure(row, 1.0, loss=float(row))
    drawn: Counter[int] = Counter()
    for number in range(4500):
        drawn.update(draw(registry, 1, Terms(0, NOW), chance(number), 2, "loss"))
    # Of 45 pairs, row r is the higher in r.
    expected = [100 * row for row in range(10)]
    assert drawn[0] == 0
    assert all(abs(drawn[row] - expected[row]) <= 5 * expected[row] ** 0.5 for row in range(1, 10))


def test_with_nobody_there_nobody_is_drawn() -> None:
    assert draw(Registry(), 5, Terms(0, NOW), chance(0)) == []
    busy = Registry(workers=3)
    for row in range(3):
        busy.begin_task(row)
    assert draw(busy, 1, Terms(0, NOW), chance(0)) == []


def test_the_same_draw_from_the_same_registry_is_the_same() -> None:
    def drawn(number: int) -> list[int]:
        return draw(Registry(workers=500), 20, Terms(3, NOW), chance(number))

    assert drawn(5) == drawn(5)
    assert drawn(5) != drawn(6)


def test_a_draw_changes_nothing() -> None:
    registry = Registry(workers=50)
    draw(registry, 20, Terms(0, NOW), chance(0))
    assert registry.drawn.sum() == 0
    assert len(eligible(registry, Terms(0, NOW))) == 50


@given(
    states=st.lists(
        st.sampled_from(["free", "busy", "resting", "silent", "tried", "gone", "poor"]), max_size=40
    ),
    count=st.integers(0, 45),
    candidates=st.integers(1, 5),
    required=st.booleans(),
    number=st.integers(0, 99),
)
def test_only_the_eligible_are_drawn_each_once_and_all_if_asked(
    states: list[str], count: int, candidates: int, required: bool, number: int
) -> None:
    registry = Registry(workers=len(states))
    for row, state in enumerate(states):
        registry.declare(row, Traits(examples=0 if state == "poor" else 5))
        match state:
            case "busy":
                registry.begin_task(row)
            case "resting":
                registry.end_task(row, NOW + 1)
            case "silent":
                registry.lapse_task(row, 10.0)
                registry.lapse_task(row, 20.0)
            case "tried":
                registry.spend(row, 4)
            case _:
                pass
    for row, state in enumerate(states):
        if state == "gone":
            registry.forget(row)
    terms = Terms(4, NOW, required=Required(min_examples=1 if required else 0))
    may = [row for row, s in enumerate(states) if s == "free" or (s == "poor" and not required)]
    assert eligible(registry, terms).tolist() == may
    rows = draw(registry, count, terms, chance(number), candidates)
    assert len(rows) == len(set(rows)) == min(count, len(may))
    assert set(rows) <= set(may)
