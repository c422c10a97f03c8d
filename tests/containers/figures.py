"""How large the images are.

An image's size is that of its base and of what we add. The base of a site without the internet may
hold more than the public one, so what is promised is looked for in what we add.
"""

from __future__ import annotations

from tests.containers.site import python_image
from tests.support.rabbitmq_container import docker

BASE_BYTES = 130_000_000
"""python:3.11-slim-bookworm, unpacked, as `docker images` shows it."""
COORDINATOR_BYTES = 200_000_000 - BASE_BYTES
WORKER_BYTES = 1_000_000_000 - BASE_BYTES


def size_of(image: str) -> int:
    """Bytes of an image with its base."""
    return int(docker("image", "inspect", "--format={{.Size}}", image))


def own_bytes(image: str) -> int:
    """Bytes that an image of ours adds to its base."""
    return size_of(image) - size_of(python_image())
