"""Properties of this part are not timed: a busy machine must not fail them."""

from __future__ import annotations

from hypothesis import settings

from tests.coordinator.world import make_world, steps  # noqa: F401  fixtures

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
