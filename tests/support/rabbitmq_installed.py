"""A private node of an installed `rabbitmq-server`, as any user.

Rules:

- Only processes that this class started are ever signalled, by their own ids.
- Erlang's port mapper (epmd) is started here, in the foreground: one that the node starts by
  itself is a daemon that outlives it.
- A guard process ends node and port mapper if we are killed before `stop()`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.support.rabbitmq_node import CONF, CTL_LIMIT_S, NodeError, RabbitmqNode

STOP_LIMIT_S = 30.0


class InstalledNode(RabbitmqNode):
    """One private node; see the rules of this file.

    Args:
        script: The `rabbitmq-server` script, with `rabbitmqctl` beside it.
        advanced_config: Erlang terms for `advanced.config`, "" for none.
    """

    def __init__(self, script: Path, advanced_config: str = "") -> None:
        super().__init__()
        self._script = script
        self._folder = Path(tempfile.mkdtemp(prefix="fedmq-rabbitmq-"))
        self._epmd_port = self._other_ports[1]  # it outlives a start that fails
        self._vm: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._frozen = False
        (self._folder / "rabbitmq.conf").write_text(CONF)
        (self._folder / "advanced.config").write_text(advanced_config or "[].\n")
        (self._folder / "enabled_plugins").write_text("[].\n")

    @property
    def pid(self) -> int:
        """The process of the virtual machine, which runs."""
        assert self._vm is not None, "the node does not run"
        return self._vm.pid

    @property
    def log(self) -> str:
        """The last lines that the node wrote."""
        lines: list[str] = []
        for file in sorted(self._folder.glob("*.out")) + sorted(self._folder.glob("log/*.log")):
            lines += file.read_text(errors="replace").splitlines()[-20:]
        return "\n".join(lines)

    @property
    def runs(self) -> bool:
        """Whether the virtual machine is there, frozen or not."""
        return self._vm is not None and self._vm.poll() is None

    @property
    def _paused(self) -> bool:
        return self._frozen

    def stop(self) -> None:
        """Stop the node if it runs, and the port mapper, and remove the data."""
        if self._vm is not None:
            self.resume()
            self._vm.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._vm.wait(STOP_LIMIT_S)
            self._end()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def resume(self) -> None:
        """Let a frozen node go on (SIGCONT)."""
        self._signal(signal.SIGCONT)
        self._frozen = False

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints.

        Raises:
            NodeError: It failed.
        """
        command = [str(self._script.parent / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, timeout=CTL_LIMIT_S
        )
        if done.returncode != 0:
            raise NodeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}\n{self.log}")
        return done.stdout

    def _launch(self) -> None:
        assert self._vm is None, "the node runs already"
        if self._epmd is None:
            self._epmd = self._start_epmd()
        with (self._folder / "node.out").open("ab") as output:
            self._vm = subprocess.Popen(
                [self._script],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._guard = guard(self._vm, self._epmd, self._folder)

    def _end(self) -> None:
        if self._vm is None:
            return
        self._dismiss_guard()
        if self._vm.poll() is None:
            self._signal(signal.SIGKILL)
            self._vm.wait()
        self._vm = None
        self._frozen = False

    def _signal(self, number: signal.Signals) -> None:
        assert self._vm is not None, "the node does not run"
        # The group: the start script may stay as the parent of the virtual machine.
        os.killpg(self._vm.pid, number)

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _start_epmd(self) -> subprocess.Popen[bytes]:
        program = shutil.which("epmd") or _erlang_epmd()
        return subprocess.Popen(
            [program, "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        """Settings that leave nothing to the system's: folders, ports, names, cookie (HOME)."""
        folder = self._folder
        mine = {
            "HOME": folder,
            "RABBITMQ_NODENAME": f"fedmq-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": self._other_ports[0],
            "RABBITMQ_MNESIA_BASE": folder / "mnesia",
            "RABBITMQ_LOG_BASE": folder / "log",
            "RABBITMQ_CONFIG_FILE": folder / "rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": folder / "advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "enabled_plugins",
            "RABBITMQ_CONF_ENV_FILE": folder / "none",
            "RABBITMQ_GENERATED_CONFIG_DIR": folder / "generated",
            "RABBITMQ_PID_FILE": folder / "pid",
            "ERL_EPMD_PORT": self._epmd_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # No busy waiting: the schedulers share the cores with what is tested.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none"
            ),
            # The script then becomes the virtual machine instead of staying its parent.
            "RUNNING_UNDER_SYSTEMD": "true",
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
        }
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RABBITMQ_")}
        return kept | {key: str(value) for key, value in mine.items()}


def _erlang_epmd() -> str:
    found = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
    if not found:
        raise NodeError("Erlang's epmd is not on the PATH; install erlang-base")
    return str(found[-1])


def guard(
    vm: subprocess.Popen[bytes], epmd: subprocess.Popen[bytes], folder: Path
) -> subprocess.Popen[bytes]:
    """A process that ends both and removes the data when our end of its input closes.

    Our death closes it too, however it comes.
    """
    script = 'read line; kill -s KILL "$1"; kill -s KILL -- "-$2"; rm -rf -- "$3"'
    return subprocess.Popen(
        ["sh", "-c", script, "guard", str(epmd.pid), str(vm.pid), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
