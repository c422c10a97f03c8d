"""What the tests of containers share: the images, built once.

They take minutes, so `make test` leaves them out and `make test-containers` runs them. Where there
is no engine, or a base image is not here and cannot be fetched, they are skipped, and say so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.containers.site import NoEngineError, build_variables, compose_command, require_images
from tests.containers.stack import Stack

WANTED = "FEDMQ_TEST_CONTAINERS"

MakeStack = Callable[..., Stack]


@pytest.fixture(scope="session")
def compose() -> list[str]:
    """Compose, where it and the base images can be had."""
    if not os.environ.get(WANTED):
        pytest.skip(f"make test-containers runs it ({WANTED}=1)")
    try:
        command = compose_command()
        require_images()
    except NoEngineError as error:
        pytest.skip(f"no containers here: {error}")
    return command


@pytest.fixture(scope="session")
def variables(compose: list[str]) -> dict[str, str]:
    """Where packages come from here."""
    return build_variables()


@pytest.fixture(scope="session")
def images(
    compose: list[str], variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Both images, built of this tree."""
    Stack(compose, tmp_path_factory.mktemp("build"), variables).build()


@pytest.fixture
def make_stack(
    compose: list[str], variables: dict[str, str], images: None, tmp_path: Path
) -> Iterator[MakeStack]:
    """Makes projects, which are taken down afterwards."""
    made: list[Stack] = []

    def make(more: list[Path] | None = None, **own: str) -> Stack:
        made.append(Stack(compose, tmp_path, {**variables, **own}, more))
        return made[-1]

    yield make
    for stack in made:
        stack.down()
