"""A porter in virtual time."""

from __future__ import annotations

import random

import pytest

from simulation.clock import VirtualTime
from simulation.mishaps import Mishaps
from simulation.porter import VirtualPorter


class Carrying:
    """A porter, and what was told of its errands."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.delay_s = 0.0
        self.done: list[int] = []
        self.told: list[int] = []
        self.porter = VirtualPorter(
            self.time,
            random.Random(1),
            Mishaps(),
            lambda: False,
            lambda: None,
            0.1,
            lambda: self.delay_s,
        )

    def do(self, number: int, instead: bool = False) -> None:
        do = self.porter.do_instead if instead else self.porter.do
        do(lambda: self.done.append(number), lambda _: self.told.append(number))


@pytest.fixture
def carrying() -> Carrying:
    return Carrying()


def run(carrying: Carrying, seconds: float) -> None:
    end = carrying.time.now + seconds
    while carrying.time.step(end):
        pass


def test_errands_are_done_one_after_another(carrying: Carrying) -> None:
    for number in range(3):
        carrying.do(number)
    run(carrying, 100.0)
    assert carrying.told == [0, 1, 2]
    assert not carrying.porter.is_busy


def test_at_a_depot_that_hangs_only_the_last_waits(carrying: Carrying) -> None:
    carrying.delay_s = 1000.0
    carrying.do(0)
    run(carrying, 100.0)
    assert (carrying.done, carrying.told, carrying.porter.is_busy) == ([0], [], True)
    carrying.do(1)
    carrying.do(2, instead=True)
    carrying.delay_s = 0.0
    run(carrying, 2000.0)
    assert carrying.told == [0, 2]
