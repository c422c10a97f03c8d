from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from learning.learner import parameters_of
from learning.loading import load_learner
from learning.seeding import seed_everything
from tests.learning.optional import needs

needs("torch")

EXAMPLE = Path(__file__).parents[2] / "examples" / "bob_and_alice.py"


@pytest.fixture(scope="module")
def example() -> Any:
    return SimpleNamespace(**runpy.run_path(str(EXAMPLE)))


def test_it_is_a_learner_for_the_command_too() -> None:
    assert sorted(load_learner(str(EXAMPLE)).initial_parameters()) == ["bias", "weight"]


@pytest.mark.parametrize("seed", range(5))
def test_the_global_loss_of_each_way_is_in_its_range(example: Any, seed: int) -> None:
    seed_everything(seed)
    initial = parameters_of(example.learner)
    assert 1e-6 < example.global_loss(example.central(initial)) < 1e-2
    assert 1e-7 < example.global_loss(example.sequential(initial)) < 1e-4
    assert example.global_loss(initial) > 1e-2


@pytest.mark.parametrize("seed", [0, 1])
def test_the_federation_learns_what_averaging_by_hand_does(example: Any, seed: int) -> None:
    seed_everything(seed)
    initial = parameters_of(example.learner)
    by_hand = initial
    for _ in range(10):
        two = [example.visit(by_hand, whose, 10) for whose in ("bob", "alice")]
        by_hand = {name: (two[0][name] + two[1][name]) / 2 for name in initial}
    through_fedmq = example.federated(initial)
    assert 1e-3 < example.global_loss(through_fedmq) < 0.2
    for name in initial:
        np.testing.assert_allclose(through_fedmq[name], by_hand[name], rtol=1e-5, atol=1e-6)
