from collections import Counter

import numpy as np
import pytest

from schemas.chance import Chance, key_of, mixed


def chi_square(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 for count in counts) / expected


def test_the_numbers_are_those_of_the_published_algorithm() -> None:
    # Java's SplittableRandom and the reference C code give this for the state 1234567.
    gamma = 0x9E3779B97F4A7C15
    assert mixed(1234567 + gamma) == 6457827717110365317
    assert mixed(1234567 + 2 * gamma) == 3203168211198807973


def test_a_block_holds_what_single_draws_would_give() -> None:
    one, other = Chance(key_of("draw", 3), 7), Chance(key_of("draw", 3), 7)
    singles = [one.below(1_000_003) for _ in range(500)]
    blocks = [*other.block(200, 1_000_003), other.below(1_000_003), *other.block(299, 1_000_003)]
    assert singles == [int(number) for number in blocks]


def test_the_same_names_give_the_same_numbers_and_others_give_others() -> None:
    def first(*names: str | int, number: int = 0) -> int:
        return Chance(key_of(*names), number).below(2**31)

    assert first(0, 5, 1, "draw") == first(0, 5, 1, "draw")
    different = [first(0, 5, version, "draw", number=n) for version in range(20) for n in range(20)]
    assert len(set(different)) == 400


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_numbers_are_uniform_below_the_limit(limit: int) -> None:
    numbers = Chance(key_of("uniform"), limit).block(100_000, limit)
    counts = Counter(int(number) for number in numbers)
    assert set(counts) == set(range(limit))
    # Its mean is limit - 1, its deviation sqrt(2 (limit - 1)): five of them is one in a million.
    assert chi_square([counts[n] for n in range(limit)]) <= limit - 1 + 5 * (2 * limit) ** 0.5


def test_the_first_numbers_of_consecutive_draws_are_uniform_too() -> None:
    counts = Counter(Chance(key_of("draws"), number).below(50) for number in range(50_000))
    assert chi_square([counts[n] for n in range(50)]) <= 49 + 5 * 98**0.5


def test_no_number_reaches_the_limit() -> None:
    for limit in (1, 3, 1_000_000, 2**32 - 1):
        numbers = Chance(key_of("limit"), limit).block(10_000, limit)
        assert 0 <= int(numbers.min()) <= int(numbers.max()) < limit
    top = float(np.float64(2**53 - 1) * ((2**32 - 1) * 2.0**-53))
    assert int(top) < 2**32 - 1


def test_bits_are_those_that_single_draws_are_made_of() -> None:
    one, other = Chance(key_of("bits"), 3), Chance(key_of("bits"), 3)
    assert [int(bits) >> 33 for bits in one.bits(50)] == [other.below(2**31) for _ in range(50)]
    assert one.below(2**31) == other.below(2**31)


def test_units_are_uniform_from_0_to_below_1() -> None:
    units = Chance(key_of("units")).units(200_001)
    assert units.dtype == np.float32
    assert 0 <= float(units.min()) < float(units.max()) < 1
    counts = np.histogram(units, bins=50, range=(0, 1))[0]
    assert chi_square([int(count) for count in counts]) <= 49 + 5 * 98**0.5
