"""The users that a page tells to make at the broker can do their work, and no more."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.support.rabbitmq_node import NodeError, RabbitmqNode

PAGE = ROOT / "docs" / "how-to" / "run-a-federation.md"
WORKER = "till-17"
LIMIT_S = 120


def commands() -> list[list[str]]:
    """The rabbitmqctl commands of the page, as words."""
    text = "".join(block.text for block in blocks(PAGE, "console"))
    found = re.findall(r"^\$ sudo rabbitmqctl (.+)$", text, re.MULTILINE)
    return [shlex.split(line) for line in found]


@pytest.fixture
def users(rabbitmq_node: RabbitmqNode) -> Iterator[dict[str, str]]:
    """The URL of each user that the page makes."""
    made = commands()
    names = {words[1]: words[2] for words in made if words[0] == "add_user"}
    (vhost,) = (words[1] for words in made if words[0] == "add_vhost")
    try:
        for words in made:
            rabbitmq_node.ctl(*words)
        host = f"127.0.0.1:{rabbitmq_node.port}"
        yield {name: f"amqp://{name}:{word}@{host}/{vhost}" for name, word in names.items()}
    finally:
        for words in (["delete_vhost", vhost], *(["delete_user", name] for name in names)):
            with suppress(NodeError):  # the page may not have come that far
                rabbitmq_node.ctl(*words)


def environment(url: str, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FEDMQ_")}
    return {
        **kept,
        "FEDMQ_BROKER_URL": url,
        "FEDMQ_FEDERATION_NAME": "shop",
        "FEDMQ_RUN_ROUNDS": "1",
        "FEDMQ_ROUNDS_GOAL": "1",
        "FEDMQ_ROUNDS_QUORUM": "1",
        "FEDMQ_COORDINATOR_STATE_DIR": str(folder / "coordinator"),
        "FEDMQ_WORKER_STATE_DIR": str(folder / "workers"),
    }


@contextmanager
def running(command: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    fedmq = Path(sys.executable).with_name("fedmq")
    settings = ROOT / "examples" / "linear" / "federation.toml"
    process = subprocess.Popen(
        [fedmq, *command, "--config", settings],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_coordinator_and_worker_can_do_their_work(users: dict[str, str], tmp_path: Path) -> None:
    with (
        running(["coordinator"], environment(users["coordinator"], tmp_path)) as coordinator,
        running(["worker", "--id", WORKER, "--once"], environment(users[WORKER], tmp_path)) as till,
    ):
        said, _ = till.communicate(timeout=LIMIT_S)
        assert till.returncode == 0, said
        said, _ = coordinator.communicate(timeout=LIMIT_S)
        assert coordinator.returncode == 0, said
    assert "1 counted" in said


@pytest.mark.slow
def test_a_worker_may_not_coordinate(users: dict[str, str], tmp_path: Path) -> None:
    with running(["coordinator"], environment(users[WORKER], tmp_path)) as coordinator:
        said, _ = coordinator.communicate(timeout=LIMIT_S)
    assert coordinator.returncode == 2
    assert "refuse" in said
