import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.scores import Answer, Sums, metrics_of, quantile, score, worst_decile


def answers(pairs: list[tuple[int, float]], metric: str = "loss") -> list[Answer]:
    return [Answer(examples, {metric: mean}) for examples, mean in pairs]


def test_the_mean_is_by_examples_and_the_quantiles_are_by_workers() -> None:
    found = score(answers([(90, 1.0), (5, 3.0), (5, 5.0)]), "loss", "lower")
    assert found is not None
    assert found.mean == pytest.approx((90 + 15 + 25) / 100)
    assert found.p50 == 3.0


def test_the_worst_decile_is_the_mean_of_the_worst_tenth_rounded_up() -> None:
    values = [float(n) for n in range(1, 22)]  # 21 workers: three are the worst tenth
    assert worst_decile(values, "lower") == pytest.approx((19 + 20 + 21) / 3)
    assert worst_decile(values, "higher") == pytest.approx((1 + 2 + 3) / 3)
    assert worst_decile([4.0], "lower") == 4.0


def test_which_is_worse_may_be_unknown() -> None:
    found = score(answers([(1, 0.5)], "speed"), "speed", None)
    assert found is not None
    assert found.worst is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.sampled_from([0.1, 0.5, 0.9]))
def test_quantiles_are_those_of_numpy(values: list[float], share: float) -> None:
    assert quantile(sorted(values), share) == pytest.approx(
        float(np.quantile(values, share)), rel=1e-9, abs=1e-6
    )


def test_the_standard_error_is_that_of_a_ratio_of_means_over_workers() -> None:
    pairs = [(10, 1.0), (20, 1.4), (30, 0.7), (5, 2.0)]
    found = score(answers(pairs), "loss", "lower")
    n, m = (np.array(column, float) for column in zip(*pairs, strict=True))
    mean = (n * m).sum() / n.sum()
    expected = math.sqrt(4 / 3 * (n**2 * (m - mean) ** 2).sum()) / n.sum()
    assert found is not None
    assert found.standard_error == pytest.approx(expected)


def test_the_standard_error_is_about_how_far_the_mean_of_drawn_workers_is_off() -> None:
    rng = np.random.default_rng(3)
    examples, losses = rng.integers(5, 100, 2000), rng.gamma(2, 1, 2000)
    population = [(int(n), float(m)) for n, m in zip(examples, losses, strict=True)]
    found = []
    for _ in range(400):
        rows = rng.choice(len(population), 40, replace=False)
        each = score(answers([population[row] for row in rows]), "loss", "lower")
        assert each is not None
        found.append((each.mean, each.standard_error or 0.0))
    means, errors = np.array(found).T
    assert float(np.std(means)) == pytest.approx(float(np.mean(errors)), rel=0.15)


def test_one_answer_has_no_standard_error() -> None:
    found = score(answers([(10, 1.0)]), "loss", "lower")
    assert found is not None
    assert found.standard_error is None


PAIRS = st.lists(st.tuples(st.integers(1, 1000), st.floats(-100, 100)), min_size=2, max_size=30)


@given(PAIRS, st.data())
def test_the_sums_of_two_halves_are_those_of_all(
    pairs: list[tuple[int, float]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(pairs)))
    parts = [
        sum((Sums.of(float(n), m) for n, m in part), Sums()) for part in (pairs[:cut], pairs[cut:])
    ]
    whole = sum((Sums.of(float(n), m) for n, m in pairs), Sums())
    together = parts[0] + parts[1]
    assert together.workers == whole.workers
    assert together.mean == pytest.approx(whole.mean, abs=1e-9)
    assert together.squares == pytest.approx(whole.squares, rel=1e-9, abs=1e-3)


def test_an_answer_without_the_metric_is_left_out() -> None:
    found = score([Answer(1, {"loss": 1.0}), Answer(99, {"speed": 2.0})], "loss", "lower")
    assert found is not None
    assert (found.sums.workers, found.mean) == (1, 1.0)
    assert score([Answer(1, {"speed": 1.0})], "loss", "lower") is None
    assert score([], "loss", "lower") is None


def test_numbers_too_large_to_add_up_make_no_score() -> None:
    assert score(answers([(10, 1e300), (10, 1e300)]), "loss", "lower") is None


def test_one_worker_alone_cannot_add_a_metric() -> None:
    given = [Answer(1, {"loss": 1.0, "made-up": 1.0}), Answer(1, {"loss": 2.0})]
    assert metrics_of(given) == ["loss"]
    assert metrics_of([]) == []


def test_facts_say_by_how_many_workers_and_examples() -> None:
    found = score(answers([(2, 1.0), (2, 3.0)]), "loss", "lower")
    assert found is not None
    facts = found.facts()
    assert (facts["workers"], facts["examples"], facts["mean"]) == (2, 4.0, 2.0)
    assert facts["worst_decile"] == 3.0
