"""Properties of this part are not timed: a busy machine must not fail them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("schemas", deadline=None, max_examples=50)
settings.load_profile("schemas")
