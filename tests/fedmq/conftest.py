"""What commands read is made by a coordinator over the memory broker."""

from __future__ import annotations

from tests.coordinator.world import make_world, steps  # noqa: F401  fixtures
