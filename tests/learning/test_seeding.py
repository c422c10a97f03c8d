from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.seeding import SEED_LIMIT, derive_seed, seed_everything

NAMES = st.lists(st.text() | st.integers(), max_size=4)


@given(st.integers(), NAMES)
def test_a_seed_is_one_that_numpy_takes(run_seed: int, names: list[str | int]) -> None:
    assert 0 <= derive_seed(run_seed, *names) < SEED_LIMIT


@given(st.integers(), NAMES, NAMES)
def test_other_names_give_another_seed(
    run_seed: int, names: list[str | int], others: list[str | int]
) -> None:
    same = derive_seed(run_seed, *names) == derive_seed(run_seed, *others)
    assert same == (names == others)


def test_a_seed_is_the_same_on_every_machine_and_in_every_release() -> None:
    assert derive_seed(7, "train", 3) == 3559219907


def test_a_number_and_its_digits_are_different_names() -> None:
    assert derive_seed(0, 1) != derive_seed(0, "1")


def test_names_do_not_run_into_each_other() -> None:
    assert derive_seed(0, "ab", "c") != derive_seed(0, "a", "bc")


def test_seeding_repeats_what_random_and_numpy_draw() -> None:
    seed_everything(5)
    first = (random.random(), np.random.random())
    seed_everything(5)
    assert (random.random(), np.random.random()) == first


@pytest.mark.parametrize("seed", [-1, SEED_LIMIT])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"came {seed}"):
        seed_everything(seed)


def test_seeding_does_not_import_torch() -> None:
    code = (
        "import sys; from learning.seeding import seed_everything; seed_everything(1);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
