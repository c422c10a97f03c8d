"""The depot of the simulation keeps the contract, as far as it has one federation."""

from __future__ import annotations

import time

import pytest

from depot import DepotUnreachable
from simulation.depot import SimulatedDepot
from tests.contracts.depot_contract import NAME, DepotContract


class TestSimulatedDepot(DepotContract):
    @pytest.fixture
    def depot(self) -> SimulatedDepot:
        return SimulatedDepot(clock=time.time)

    @pytest.fixture
    def other_federation(self) -> SimulatedDepot:
        return SimulatedDepot(clock=time.time)

    @pytest.fixture
    def lost(self) -> SimulatedDepot:
        return SimulatedDepot(away=True)


def test_a_put_that_fails_may_have_put_it() -> None:
    depot = SimulatedDepot(fails=1)
    with pytest.raises(DepotUnreachable):
        depot.put(NAME, b"1")
    assert depot.size(NAME) == 1


def test_it_tears_and_mixes_up_without_a_word() -> None:
    depot = SimulatedDepot(tears=1)
    depot.put(NAME, b"1234")
    assert depot.objects[NAME] == b"12"
    depot.mixes_up = 1
    depot.put(NAME, b"1234")
    assert len(depot.objects[NAME]) == 4
    assert depot.objects[NAME] != b"1234"
