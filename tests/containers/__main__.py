"""Print the figures of the containers: sizes, and seconds from a cold start to the first round.

    make container-figures

Cold is: images built, no volume, no network, nothing running. The seconds are those until the
coordinator says that version 1 is made, of `docker compose up` and all.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.containers.figures import BASE_BYTES, own_bytes, size_of
from tests.containers.site import NoEngineError, build_variables, compose_command, require_images
from tests.containers.stack import COORDINATOR_IMAGE, WORKER_IMAGE, Stack

WORKERS = 3
_MB = 1_000_000


def main() -> int:
    """Build, measure, take down."""
    try:
        compose = compose_command()
        require_images()
    except NoEngineError as error:
        print(f"no containers here: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="fedmq-containers-") as folder:
        stack = Stack(compose, Path(folder), build_variables())
        stack.build()
        for image in (COORDINATOR_IMAGE, WORKER_IMAGE):
            ours = own_bytes(image)
            print(
                f"{image}: {size_of(image) / _MB:.0f} MB here, of which {ours / _MB:.0f} MB are "
                f"ours; {(ours + BASE_BYTES) / _MB:.0f} MB on the public base",
                flush=True,
            )
        try:
            began = time.monotonic()
            stack.up(WORKERS)
            stack.wait_for("the first round", lambda now: now["version"] >= 1)
            print(f"first round {time.monotonic() - began:.1f} s after a cold `up`")
        finally:
            stack.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
