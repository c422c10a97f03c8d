"""Putting an object and knowing that it is there."""

from __future__ import annotations

import pytest

from depot import DepotUnreachable, put_whole
from schemas.buffer import Buffer
from simulation.depot import SimulatedDepot
from tests.contracts.depot_contract import NAME


def never() -> Buffer:
    raise AssertionError("its bytes are not needed")


def test_what_lies_there_is_not_even_read() -> None:
    depot = SimulatedDepot(objects={NAME: b"12"}, put_at={NAME: 0.0})
    put_whole(depot, NAME, 2, never)
    assert depot.puts == []


def test_what_has_another_size_is_put_over() -> None:
    depot = SimulatedDepot(objects={NAME: b"1"})
    put_whole(depot, NAME, 2, lambda: b"12")
    assert depot.objects[NAME] == b"12"


def test_it_is_put_over_what_has_its_size_if_it_is_wanted_again() -> None:
    depot = SimulatedDepot(objects={NAME: b"xx"})
    put_whole(depot, NAME, 2, lambda: b"12", again=True)
    assert depot.objects[NAME] == b"12"


def test_a_put_that_was_torn_is_not_believed() -> None:
    depot = SimulatedDepot(tears=1)
    with pytest.raises(DepotUnreachable, match=r"expected 2 bytes .* after a put, found 1"):
        put_whole(depot, NAME, 2, lambda: b"12")
