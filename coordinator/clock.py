"""The coordinator's clock: UTC when it starts, then monotonic, so that no jump moves a timer."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)

JUMP_S = 60.0  # a difference that people should know of


class Clock:
    """Seconds since 1970 that never jump while the process lives."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._told = 0.0

    def now(self) -> float:
        """The coordinator's time."""
        return time.monotonic() + self._offset

    def look(self) -> None:
        """Log it if the system's clock has jumped since the last look; no timer is shifted."""
        drift = time.time() - self.now()
        if abs(drift - self._told) > JUMP_S:
            _log.warning("the system clock jumped by %.0f s; deadlines are not moved", drift)
            self._told = drift
