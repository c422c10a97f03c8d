"""The service over the memory transport, against a scripted worker, in virtual time."""

from __future__ import annotations

from tests.coordinator.world import MakeWorld


def test_two_answers_make_the_next_version(make_world: MakeWorld) -> None:
    world = make_world()
    first, second = world.round(1.0, 3.0)
    assert world.verdict(first) == world.verdict(second) == "counted"
    assert world.version == 1
    assert world.weight() == 1.0 + 2.0
