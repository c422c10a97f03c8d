"""The rotation: its own inverse, and exact on the way back."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.codecs.rotated import rotated
from tests.schemas.codecs.coding import noise, through


@pytest.mark.parametrize("length", [1, 2, 8, 32, 64, 512, 1024])
def test_rotating_twice_gives_the_numbers_times_their_count(length: int) -> None:
    rows = noise(3 * length).reshape(3, length)
    assert rotated(rotated(rows)) == pytest.approx(rows * length, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("length", [2, 32, 1024])
def test_levels_add_up_exactly_in_whatever_order_a_machine_adds(length: int) -> None:
    levels = np.random.default_rng(1).choice([-10, -3, 3, 10], (5, length))
    exact = levels.copy()
    step = 1
    while step < length:
        pairs = exact.reshape(5, -1, 2, step)
        exact = np.stack((pairs.sum(2), pairs[:, :, 0] - pairs[:, :, 1]), 2).reshape(5, length)
        step *= 2
    assert np.array_equal(rotated(levels.astype(np.float32)), exact)


@pytest.mark.parametrize("spread", [1.0, 30.0, 1000.0])
def test_a_few_large_numbers_do_not_drown_the_others(spread: float) -> None:
    sent = noise(4096)
    sent[::512] *= np.float32(spread)
    apart = np.linalg.norm(through(sent, "int2") - sent) / np.linalg.norm(sent)
    assert apart < 0.42
