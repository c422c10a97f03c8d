"""A coordinator as `fedmq coordinator` runs it, that kills itself (SIGKILL) at its n-th step.

The steps are those of `tests.coordinator.steps`: before and after all that is seen outside of its
memory.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from broker.connect import open_transport
from broker.transport import Post, Transport
from coordinator.service import CoordinatorService
from coordinator.startup import Surroundings
from settings import load
from settings.signals import heeding
from tests.coordinator.steps import SteppedTransport, Steps

RUN_AND_SALT = "5" * 32
"""Not drawn: the tasks of both coordinators that are fed one log have the same ids."""


class LastSteps(Steps):
    """Steps of which one is the last that this process does.

    Args:
        last: Its number, from 1; 0 for none.
        file: Where its name is noted first.
    """

    def __init__(self, last: int, file: Path) -> None:
        super().__init__()
        self._last = last
        self._file = file

    def at(self, name: str) -> None:
        """A step is reached."""
        super().at(name)
        if len(self.names) == self._last:
            with self._file.open("a") as file:
                file.write(name + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


def main(config: str, last: str, file: str) -> int:
    """Serve until the run has ended, or the step is reached."""
    settings = load(Path(config), os.environ, {})
    steps = LastSteps(int(last), Path(file))
    steps.watch(pytest.MonkeyPatch())

    def stepped(post: Post) -> Transport:
        return SteppedTransport(open_transport(settings.broker.url, post, "coordinator"), steps)

    around = Surroundings(draw_id=lambda: RUN_AND_SALT)
    service = CoordinatorService(settings, stepped, around=around)
    with heeding(service.stop):
        return 0 if service.run().state == "ended" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
