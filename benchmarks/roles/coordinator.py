"""A coordinator as a process of its own, that says when it made each version.

    python -m benchmarks.roles.coordinator --config federation.toml

Prints `version <number> <seconds, monotonic> <time of day>`, and `ended`.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from broker.connect import open_transport
from coordinator.allocation import keep_memory_of_messages
from coordinator.progress import Progress
from coordinator.service import CoordinatorService
from settings import load
from settings.logging import configure_logging


class Announcer:
    """Says of each version when it was first seen."""

    def __init__(self) -> None:
        self._version = -1

    def __call__(self, progress: Progress) -> None:
        """Look at the run."""
        if progress.version != self._version:
            self._version = progress.version
            print(f"version {progress.version} {time.monotonic()} {time.time()}", flush=True)


def main() -> None:
    """Serve the run to its end."""
    keep_memory_of_messages()
    configure_logging(os.environ.get("FEDMQ_LOG_LEVEL", "warning"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    settings = load(parser.parse_args().config, {}, {})
    service = CoordinatorService(
        settings,
        lambda post: open_transport(settings.broker.url, post, "coordinator"),
        Announcer(),
    )
    service.run()
    print("ended", flush=True)


if __name__ == "__main__":
    main()
