"""A private node that is a container of an image, for another RabbitMQ than the installed one.

Rules:

- Only containers that this class made are ever signalled or removed, by their own names.
- The engine is one of this machine: the node answers on 127.0.0.1, and its process is seen here.
- An image that is not here is not fetched: that may take minutes, and is for a person to start.
- A guard process removes the container if we are killed before `stop()`.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.rabbitmq_install import NoBrokerError
from tests.support.rabbitmq_node import CONF, CTL_LIMIT_S, NodeError, RabbitmqNode

ENGINE_LIMIT_S = 60.0

# The image forbids nobody, and has the plugins whose keys stand in the image's own configuration.
_CONF = CONF + "loopback_users = none\n"
_PLUGINS = "[rabbitmq_prometheus].\n"
_ENVIRONMENT = {
    "RABBITMQ_CONFIG_FILE": "/etc/rabbitmq/tests.conf",
    # No busy waiting: the schedulers share the cores with what is tested.
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none",
    # The start script then becomes the virtual machine instead of staying its parent.
    "RUNNING_UNDER_SYSTEMD": "true",
}


class ContainerNode(RabbitmqNode):
    """One private node in a container; see the rules of this file.

    Args:
        image: Of RabbitMQ, with Docker's usual entrypoint, such as "rabbitmq:4-management".
        advanced_config: Erlang terms for `advanced.config`, "" for none.

    Raises:
        NoBrokerError: There is no engine, or no such image.
    """

    def __init__(self, image: str, advanced_config: str = "") -> None:
        super().__init__()
        require_image(image)
        self._name = f"fedmq-test-{secrets.token_hex(6)}"
        self._waiting: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self._image = image
        self._advanced_config = advanced_config or "[].\n"

    @property
    def pid(self) -> int:
        """The process of the virtual machine, which runs."""
        return int(docker("inspect", "--format", "{{.State.Pid}}", self._name))

    @property
    def log(self) -> str:
        """The last lines that the node wrote."""
        command = ["docker", "logs", "--tail", "30", self._name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_LIMIT_S)
        return done.stdout + done.stderr

    @property
    def runs(self) -> bool:
        """Whether the virtual machine is there, frozen or not."""
        return self._waiting is not None and self._waiting.poll() is None

    @property
    def _paused(self) -> bool:
        return self._frozen

    def stop(self) -> None:
        """Remove the container with its data."""
        self._end()
        if self._guard is not None:
            subprocess.run(_remove(self._name), capture_output=True, timeout=ENGINE_LIMIT_S)
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _freeze(self) -> None:
        docker("kill", "--signal", "STOP", self._name)
        self._frozen = True

    def resume(self) -> None:
        """Let a frozen node go on (SIGCONT)."""
        docker("kill", "--signal", "CONT", self._name)
        self._frozen = False

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints.

        Raises:
            NodeError: It failed.
        """
        command = ["docker", "exec", self._name, "rabbitmqctl", "--quiet", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CTL_LIMIT_S)
        if done.returncode != 0:
            raise NodeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}\n{self.log}")
        return done.stdout

    def _launch(self) -> None:
        assert not self.runs, "the node runs already"
        if self._guard is None:
            self._guard = _guard(self._name)
            self._create()
        docker("start", self._name)
        self._waiting = subprocess.Popen(
            ["docker", "wait", self._name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _end(self) -> None:
        if self._waiting is None:
            return
        if self.runs:
            docker("kill", "--signal", "KILL", self._name)
        self._waiting.wait(ENGINE_LIMIT_S)
        self._waiting = None
        self._frozen = False

    def _create(self) -> None:
        words = [f"--env={name}={value}" for name, value in _ENVIRONMENT.items()]
        port = f"--publish=127.0.0.1:{self.port}:5672"
        docker("create", "--name", self._name, "--hostname", "broker", port, *words, self._image)
        self._put("/etc/rabbitmq/tests.conf", _CONF)
        self._put("/etc/rabbitmq/advanced.config", self._advanced_config)
        self._put("/etc/rabbitmq/enabled_plugins", _PLUGINS)

    def _put(self, path: str, text: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_text(text)
            file.chmod(0o644)
            docker("cp", str(file), f"{self._name}:{path}")


def require_image(image: str) -> None:
    """Check that a container of an image can be made here, at once.

    Raises:
        NoBrokerError: It cannot; the message says what to do.
    """
    if shutil.which("docker") is None:
        raise NoBrokerError(f"no docker here to run {image} with: install one")
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except NodeError as error:
        raise NoBrokerError(f"no Docker engine answers here: {error}") from error
    try:
        docker("image", "inspect", "--format", "{{.Id}}", image)
    except NodeError:
        raise NoBrokerError(f"there is no image {image} here: docker pull {image}") from None


def docker(*words: str) -> str:
    """What a docker command prints.

    Raises:
        NodeError: It failed.
    """
    try:
        done = subprocess.run(
            ["docker", *words], capture_output=True, text=True, timeout=ENGINE_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise NodeError(f"docker {words[0]}: no end after {ENGINE_LIMIT_S:.0f} s") from error
    if done.returncode != 0:
        raise NodeError(f"docker {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def _guard(name: str) -> subprocess.Popen[bytes]:
    """A process that removes the container when our end of its input closes, as our death does."""
    return subprocess.Popen(
        ["sh", "-c", 'read line; exec "$@"', "guard", *_remove(name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _remove(name: str) -> list[str]:
    return ["docker", "rm", "--force", "--volumes", name]
