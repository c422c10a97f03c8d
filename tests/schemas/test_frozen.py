"""Changing a frozen state is the same as making another, only faster."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest

from schemas.frozen import replace


@dataclass(frozen=True)
class State:
    number: int
    names: tuple[str, ...] = ()
    other: dict[str, int] = field(default_factory=dict)


def test_a_changed_state_is_another_with_the_rest_as_it_was() -> None:
    before = State(1, ("a",), {"b": 2})
    after = replace(before, number=3)
    assert after == dataclasses.replace(before, number=3)
    assert after.other is before.other
    assert before.number == 1
    assert type(after) is State


def test_a_changed_state_is_frozen_too() -> None:
    after = replace(State(1), names=("b",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.number = 2  # type: ignore[misc]
    assert hash(State(1, (), ())) == hash(replace(State(2, (), ()), number=1))  # type: ignore[arg-type]


def test_the_states_that_are_changed_so_have_no_slots() -> None:
    """Or changing one would fail."""
    from worker.asking import Asking
    from worker.known import Session
    from worker.sending import OnWay, Sending, Shipment

    for kind in (Asking, OnWay, Sending, Session, Shipment):
        assert not hasattr(kind, "__slots__"), kind
        assert not hasattr(kind, "__post_init__"), kind
