from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from learning.partition import Indices, dirichlet, iid, shards, size_skew

SEEDS = st.integers(0, 2**32 - 1)
LABELS = st.lists(st.integers(-3, 6), min_size=1, max_size=120).map(np.array)
ALPHAS = st.floats(1e-320, 1e308) | st.sampled_from([0.01, 0.1, 0.5, 1.0, 100.0])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def digits(n: int = 600) -> NDArray[np.int64]:
    return np.arange(n) % 10


def assert_each_is_given_once(parts: list[Indices], num_examples: int) -> None:
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_examples))
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)


@given(st.integers(1, 200), SEEDS, st.data())
def test_iid_gives_each_example_once_and_equal_sizes(
    num_examples: int, seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, num_examples))
    parts = iid(num_examples, count, rng(seed))
    assert_each_is_given_once(parts, num_examples)
    assert len(parts) == count
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(LABELS, SEEDS, st.data())
def test_shards_give_each_example_once(
    labels: NDArray[Any], seed: int, data: st.DataObject
) -> None:
    each = data.draw(st.integers(1, min(3, len(labels))))
    count = data.draw(st.integers(1, len(labels) // each))
    parts = shards(labels, count, rng(seed), shards_per_part=each)
    assert_each_is_given_once(parts, len(labels))
    assert len(parts) == count


@given(LABELS, SEEDS, ALPHAS, st.data())
def test_dirichlet_gives_each_example_once_and_every_part_its_minimum(
    labels: NDArray[Any], seed: int, alpha: float, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(labels)))
    least = data.draw(st.integers(0, len(labels) // count))
    parts = dirichlet(labels, count, rng(seed), alpha=alpha, min_examples=least)
    assert_each_is_given_once(parts, len(labels))
    assert len(parts) == count
    assert min(map(len, parts)) >= least


@given(
    st.integers(1, 200),
    SEEDS,
    st.sampled_from(["power", "lognormal"]),
    st.floats(0, 10),
    st.data(),
)
def test_size_skew_gives_each_example_once_and_every_part_its_minimum(
    num_examples: int,
    seed: int,
    law: Literal["power", "lognormal"],
    spread: float,
    data: st.DataObject,
) -> None:
    count = data.draw(st.integers(1, num_examples))
    least = data.draw(st.integers(0, num_examples // count))
    parts = size_skew(num_examples, count, rng(seed), law=law, spread=spread, min_examples=least)
    assert_each_is_given_once(parts, num_examples)
    assert len(parts) == count
    assert min(map(len, parts)) >= least


@pytest.mark.parametrize(
    "split",
    [
        lambda r: iid(600, 12, r),
        lambda r: shards(digits(), 12, r),
        lambda r: dirichlet(digits(), 12, r),
        lambda r: size_skew(600, 12, r),
    ],
    ids=["iid", "shards", "dirichlet", "size_skew"],
)
def test_the_same_generator_gives_the_same_parts_and_another_others(
    split: Callable[[np.random.Generator], list[Indices]],
) -> None:
    def key(seed: int) -> list[list[int]]:
        return [part.tolist() for part in split(rng(seed))]

    assert key(1) == key(1)
    assert key(1) != key(2)


def test_two_shards_hold_few_labels() -> None:
    parts = shards(digits(), 20, rng())
    assert max(len(set(digits()[part])) for part in parts) <= 4


def test_a_small_alpha_skews_labels_and_a_large_one_does_not() -> None:
    def largest_share(alpha: float) -> float:
        parts = dirichlet(digits(6000), 10, rng(), alpha=alpha, min_examples=10)
        counts = [np.bincount(digits(6000)[part], minlength=10) for part in parts]
        return float(np.mean([count.max() / count.sum() for count in counts]))

    assert largest_share(0.05) > 0.5
    assert largest_share(1000.0) < 0.13


def test_dirichlet_repairs_what_no_draw_can_give() -> None:
    parts = dirichlet(np.zeros(50), 50, rng(), alpha=0.001, min_examples=1)
    assert [len(part) for part in parts] == [1] * 50


def test_labels_may_be_anything_that_sorts() -> None:
    words = np.array(["cat", "dog", "eel", "cat", "dog", "eel"])
    assert_each_is_given_once(dirichlet(words, 2, rng()), 6)
    assert_each_is_given_once(shards(words, 3, rng()), 6)


def test_the_power_law_is_zipfs() -> None:
    sizes = sorted((len(part) for part in size_skew(1100, 3, rng(), min_examples=0)), reverse=True)
    assert sizes == [600, 300, 200]


def test_no_spread_means_equal_sizes() -> None:
    for law in ("power", "lognormal"):
        parts = size_skew(100, 4, rng(), law=law, spread=0)
        assert [len(part) for part in parts] == [25] * 4


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda: iid(3, 4, rng()), "4 parts of at least 1 need 4 examples, came 3"),
        (lambda: iid(3, 0, rng()), "at least 1 part"),
        (lambda: shards(digits(5), 3, rng()), "need 6 examples, came 5"),
        (lambda: shards(digits(5), 3, rng(), shards_per_part=0), "shards_per_part"),
        (lambda: dirichlet(digits(5), 3, rng(), min_examples=2), "need 6 examples, came 5"),
        (lambda: dirichlet(digits(5), 3, rng(), alpha=0.0), "alpha above 0"),
        (lambda: dirichlet(digits(5), 3, rng(), alpha=float("nan")), "alpha above 0"),
        (lambda: dirichlet(np.zeros((2, 2)), 1, rng()), r"shape \(num_examples,\)"),
        (lambda: size_skew(5, 3, rng(), min_examples=2), "need 6 examples, came 5"),
        (lambda: size_skew(5, 3, rng(), spread=-1.0), "spread of 0 to 10"),
        (lambda: size_skew(5, 3, rng(), law="flat"), "came 'flat'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_shared_out_is_refused(split: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split()
