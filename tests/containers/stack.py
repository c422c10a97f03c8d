"""deploy/compose.yaml as a project of its own: started, looked into, broken, and taken down.

Rules:

- The project has a name and secrets of its own and publishes no fixed port, so it meets no other.
- Only its own containers are signalled or removed. A guard process takes all down if we are killed.
- A kill is of the container's first process from outside, as a crash or the out-of-memory killer
  would: `docker kill` counts as a person's wish, after which nothing is started again.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.rabbitmq_container import docker
from tests.support.rabbitmq_node import NodeError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BUILD_LIMIT_S = 900.0
UP_LIMIT_S = 180.0
DEADLINE_S = 120.0
LOOK_S = 0.2
COORDINATOR_IMAGE = "fedmq-test-coordinator"
WORKER_IMAGE = "fedmq-test-worker"
CONFIG = ("--config", "/federation/federation.toml")


class Stack:
    """One project.

    Args:
        compose: The words that Compose is called by.
        folder: For secrets; nobody else's.
        variables: Of deploy/compose.yaml.
        more: Compose files that come on top.
    """

    def __init__(
        self,
        compose: list[str],
        folder: Path,
        variables: Mapping[str, str],
        more: list[Path] | None = None,
    ) -> None:
        self.name = f"fedmq-test-{secrets.token_hex(4)}"
        files = [DEPLOY / "compose.yaml", *(more or [])]
        self._compose = [*compose, "-p", self.name, *(f"--file={file}" for file in files)]
        # Nothing of a person's own federation: neither their environment nor deploy/.env.
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
        self._environment = {
            **kept,
            "SECRETS": str(folder / "secrets"),
            "AMQP_PORT": "127.0.0.1:",
            "MANAGEMENT_PORT": "127.0.0.1:",
            "COORDINATOR_IMAGE": COORDINATOR_IMAGE,
            "WORKER_IMAGE": WORKER_IMAGE,
            "DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker")),
            **variables,
        }
        make = [sys.executable, str(DEPLOY / "make_secrets.py"), str(folder / "secrets")]
        subprocess.run(make, check=True, capture_output=True)
        self._guard: subprocess.Popen[bytes] | None = None

    # All of it.

    def build(self) -> None:
        """Build both images."""
        self.compose("build", limit_s=BUILD_LIMIT_S)

    def up(self, workers: int) -> None:
        """Start everything; nothing need answer yet when this returns."""
        if self._guard is None:
            self._guard = _guard(self.name)
        self.compose("up", "-d", "--no-build", "--scale", f"worker={workers}", limit_s=UP_LIMIT_S)

    def down(self) -> None:
        """Remove containers, networks and volumes."""
        self.compose("down", "--volumes", "--timeout", "5", limit_s=UP_LIMIT_S)
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def compose(self, *words: str, limit_s: float = UP_LIMIT_S) -> str:
        """What Compose prints.

        Raises:
            AssertionError: It failed; with what it said.
        """
        done = subprocess.run(
            [*self._compose, *words],
            cwd=DEPLOY,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        said = f"{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"compose {words[0]}: {said[-4000:]}"
        return said

    # Its containers.

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, in the order of their names."""
        listed = docker(
            "ps",
            "--all",
            "--no-trunc",
            f"--filter=label=com.docker.compose.project={self.name}",
            f"--filter=label=com.docker.compose.service={service}",
            "--format={{.Names}} {{.ID}}",
        )
        return [line.split()[1] for line in sorted(listed.splitlines())]

    def one(self, service: str) -> str:
        """The id of a service's one container."""
        (container,) = self.containers(service)
        return container

    def logs(self, container: str) -> str:
        """What a container has written."""
        done = subprocess.run(
            ["docker", "logs", container], capture_output=True, text=True, timeout=DEADLINE_S
        )
        return done.stdout + done.stderr

    def health(self, container: str) -> str:
        """What the service in a container says of itself; "" if it does not."""
        try:
            return docker("exec", container, "fedmq", "health")
        except NodeError:
            return ""

    def kill(self, container: str) -> None:
        """End a container's processes at once, and see that they end; it starts again by itself."""
        before = state_of(container)
        assert before["Running"], "there is nothing to kill"
        script = "import os, sys; os.kill(int(sys.argv[1]), 9)"
        words = ["run", "--rm", "--pid=host", "--user=0", "--entrypoint=python", COORDINATOR_IMAGE]
        docker(*words, "-c", script, str(before["Pid"]))
        wait_until(
            lambda: state_of(container)["StartedAt"] != before["StartedAt"],
            "the killed container to be started again",
        )

    # Its run.

    def fedmq(self, *words: str) -> str:
        """What a command prints beside the coordinator."""
        return docker("exec", self.one("coordinator"), "fedmq", *words)

    def status(self) -> dict[str, Any]:
        """How the run stands; nothing while the coordinator is away."""
        try:
            said: dict[str, Any] = json.loads(self.fedmq("status", *CONFIG, "--json"))
        except NodeError:
            return {}
        return said

    def wait_for(self, what: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the run stands as is wanted; how it stands then."""
        seen: dict[str, Any] = {}

        def holds() -> bool:
            seen.update(self.status())
            return bool(seen) and condition(seen)

        try:
            wait_until(holds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._told()}") from None
        return seen

    def _told(self) -> str:
        everything = [
            f"-- {service} {container[:12]}\n{self.logs(container)[-3000:]}"
            for service in ("broker", "coordinator", "worker")
            for container in self.containers(service)
        ]
        return "\n".join(everything)


def state_of(container: str) -> dict[str, Any]:
    """A container's state as the engine has it."""
    state: dict[str, Any] = json.loads(docker("inspect", "--format={{json .State}}", container))
    return state


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: If it does not come true in time.
    """
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S:.0f} s for {what}"
        time.sleep(LOOK_S)


def _guard(project: str) -> subprocess.Popen[bytes]:
    """A process that removes the project when our end of its input closes, as our death does."""
    label = f"--filter=label=com.docker.compose.project={project}"
    script = """
        read line
        docker ps --all --quiet "$1" | xargs -r docker rm --force --volumes
        docker volume ls --quiet "$1" | xargs -r docker volume rm
        docker network ls --quiet "$1" | xargs -r docker network rm
    """
    return subprocess.Popen(
        ["sh", "-c", script, "guard", label],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
