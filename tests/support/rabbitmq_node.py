"""A RabbitMQ node of our own: private ports, private data, any user, gone when we are.

    node = RabbitmqNode(script)
    node.start()          # answers AMQP when this returns
    node.url(node.fresh_vhost())
    node.kill()           # kill -9 of the virtual machine; the data stays
    node.restart()        # on the same ports, with the same data
    node.stop()           # and the data is removed

Rules:

- Only processes that this class started are ever signalled, by their own ids.
- Erlang's port mapper (epmd) is started here, in the foreground: one that the node starts by
  itself is a daemon that outlives it.
- A guard process ends node and port mapper if we are killed before `stop()`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_LIMIT_S = 120.0  # a cold start takes 4 to 9 s, several times that on a loaded machine
STOP_LIMIT_S = 30.0
CTL_LIMIT_S = 120.0
VHOST_BATCH = 16  # one call of rabbitmqctl costs 0.7 s, whatever it does

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_CONF = """\
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 32000000
"""


class NodeError(Exception):
    """The node did not start or did not answer; the message ends with its log."""


class RabbitmqNode:
    """One private node; see the rules of this file.

    Args:
        script: The `rabbitmq-server` script, with `rabbitmqctl` beside it.
        advanced_config: Erlang terms for `advanced.config`, "" for none.
    """

    def __init__(self, script: Path, advanced_config: str = "") -> None:
        self._script = script
        self._folder = Path(tempfile.mkdtemp(prefix="fedmq-rabbitmq-"))
        self.port, self._dist_port, self._epmd_port = free_ports(3)
        self._vm: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._fresh_vhosts: list[str] = []
        self._used_vhosts: list[str] = []
        self._vhosts_made = 0
        self._shared_vhost = ""
        (self._folder / "rabbitmq.conf").write_text(_CONF)
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

    def url(self, vhost: str = "/") -> str:
        """The URL of a vhost for its default user."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost.replace('/', '%2F')}"

    def start(self) -> None:
        """Start the node, on the data it left if it ran before; it answers on return.

        Raises:
            NodeError: It ended, or did not answer in time.
        """
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
        self._wait_until_it_answers(time.monotonic() + START_LIMIT_S)

    def stop(self) -> None:
        """Stop the node if it runs, and the port mapper, and remove the data."""
        if self._vm is not None:
            self.resume()
            self._vm.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._vm.wait(STOP_LIMIT_S)
            self.kill(settle=False)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self, *, settle: bool = True) -> None:
        """End the virtual machine at once (kill -9), as a power cut would; the data stays.

        Args:
            settle: Do as `settle` does, first.
        """
        if self._vm is None:
            return
        if settle and not self._paused and self._vm.poll() is None:
            self.settle()
        self._dismiss_guard()
        if self._vm.poll() is None:
            self._signal(signal.SIGKILL)
            self._vm.wait()
        self._vm = None
        self._paused = False

    def settle(self) -> None:
        """Flush where each quorum queue and stream is stored (0.7 s).

        RabbitMQ 3.10 does so half a second after the declare, and a queue killed before that never
        finds a leader again: its clients wait for ever, and a stream can be neither declared nor
        deleted. A test that declares and kills at once would meet that instead of what it is about.
        """
        self.ctl("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

    def restart(self) -> None:
        """Kill the node if it runs (`kill`) and start it again on the same ports and data."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze the node (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a frozen node go on (SIGCONT)."""
        self._signal(signal.SIGCONT)
        self._paused = False

    def mend(self) -> None:
        """Bring the node back to life if a test left it dead or frozen."""
        if self._vm is not None:
            self.resume()
        if not self.answers():
            self.kill(settle=False)
            self.start()

    def answers(self) -> bool:
        """Whether the node greets an AMQP client within a second."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as client:
                client.sendall(_PROTOCOL_HEADER)
                return client.recv(1) == b"\x01"  # the frame of Connection.Start
        except OSError:
            return False

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

    def fresh_vhost(self) -> str:
        """A vhost that nobody used; the used ones are removed from time to time."""
        if not self._fresh_vhosts:
            self._fresh_vhosts = self._renew_vhosts()
        vhost = self._fresh_vhosts.pop(0)
        self._used_vhosts.append(vhost)
        return vhost

    def shared_vhost(self) -> str:
        """A vhost for tests that clean up after themselves; it stays as long as the node."""
        if not self._shared_vhost:
            self._shared_vhost = self.fresh_vhost()
            self._used_vhosts.remove(self._shared_vhost)
        return self._shared_vhost

    def _renew_vhosts(self) -> list[str]:
        first = self._vhosts_made + 1
        self._vhosts_made += VHOST_BATCH
        made = [f"test-{number}" for number in range(first, first + VHOST_BATCH)]
        self.ctl("eval", _vhosts_expression(made, self._used_vhosts))
        self._used_vhosts.clear()
        return made

    def _signal(self, number: signal.Signals) -> None:
        assert self._vm is not None, "the node does not run"
        # The group: the start script may stay as the parent of the virtual machine.
        os.killpg(self._vm.pid, number)

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _wait_until_it_answers(self, until: float) -> None:
        assert self._vm is not None
        while not self.answers():
            ended = self._vm.poll() is not None
            if ended or time.monotonic() > until:
                log = self.log
                self.kill(settle=False)
                what = "ended at once" if ended else "did not answer in time"
                raise NodeError(f"the private RabbitMQ node {what}; its log:\n{log}")
            time.sleep(0.05)

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
            "RABBITMQ_DIST_PORT": self._dist_port,
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


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, below those given to outgoing connections.

    A port from above could be taken by a client while the node is down, even by one that tries
    to connect to that very port and meets itself.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def _vhosts_expression(make: list[str], remove: list[str]) -> str:
    """Erlang that makes and removes vhosts, the same in RabbitMQ 3.10 and 4."""
    user, acting, everything = '<<"guest">>', '<<"tests">>', '<<".*">>'
    steps = [f'rabbit_vhost:delete(<<"{name}">>, {acting})' for name in remove]
    for name in make:
        vhost = f'<<"{name}">>'
        rights = ", ".join((user, vhost, everything, everything, everything, acting))
        steps += [
            f"rabbit_vhost:add({vhost}, {acting})",
            f"rabbit_auth_backend_internal:set_permissions({rights})",
        ]
    return ", ".join([*steps, "ok."])


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
