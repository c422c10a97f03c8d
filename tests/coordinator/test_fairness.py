from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.fairness import Participation, in_words

counts = st.lists(st.integers(0, 300), min_size=1, max_size=40)


def of(each: list[int]) -> Participation:
    return Participation.of(Counter(each))


def test_jains_index_is_that_of_the_paper() -> None:
    # Jain, Chiu and Hawe 1984: who favours 20 of 100 equally is 20 % fair.
    assert of([1] * 20 + [0] * 80).jain == pytest.approx(0.20)
    assert of([50, 30, 50]).jain == pytest.approx(130**2 / (3 * (50**2 + 30**2 + 50**2)))


@given(counts)
def test_jains_index_lies_between_one_for_all_and_all_for_one(each: list[int]) -> None:
    index = of(each).jain
    assert 1 / len(each) <= index + 1e-12
    assert index <= 1 + 1e-12
    if any(each):
        assert index == pytest.approx(sum(each) ** 2 / (len(each) * sum(x * x for x in each)))


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 1000))
def test_if_some_took_part_equally_and_the_others_never_it_is_their_share(
    some: int, others: int, times: int
) -> None:
    assert of([times] * some + [0] * others).jain == pytest.approx(some / (some + others))


def test_before_anything_is_counted_nobody_is_wronged() -> None:
    assert of([0, 0]).jain == 1.0
    assert Participation().jain == 1.0


@given(counts, st.data())
def test_one_more_counted_update_is_as_if_all_were_told_anew(
    each: list[int], data: st.DataObject
) -> None:
    participation = of(each)
    chosen = data.draw(st.integers(0, len(each) - 1))
    participation.raise_from(each[chosen])
    each[chosen] += 1
    assert participation == of(each)
    participation.add(each[chosen], -1)
    del each[chosen]
    assert participation == of(each)


@given(counts)
def test_every_worker_is_in_one_bin_of_the_histogram(each: list[int]) -> None:
    histogram = of(each).histogram()
    for span in histogram:
        inside = sum(span["from"] <= count <= span["to"] for count in each)
        assert span["workers"] == inside > 0
    assert sum(span["workers"] for span in histogram) == len(each)


def test_the_highest_count_that_fits_has_a_bin() -> None:
    histogram = of([2**32 - 1]).histogram()
    assert histogram == [{"from": 2**31, "to": 2**32 - 1, "workers": 1}]


def test_a_record_is_said_in_one_line() -> None:
    record = of([0, 0, 1, 3, 9]).record()
    assert (record["workers"], record["updates"]) == (5, 13)
    assert in_words(record) == (
        "Jain index 0.371; workers counted never: 2, once: 1, 2 to 3 times: 1, 8 to 15 times: 1"
    )
    assert in_words(Participation().record()) == "no worker was seen yet"
