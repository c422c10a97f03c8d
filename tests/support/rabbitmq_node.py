"""A RabbitMQ node of our own: a private port, private data, gone when we are.

node = node_here()    # of tests.support.rabbitmq_choice: an installed one, or a container
node.start()          # answers AMQP when this returns
node.url(node.fresh_vhost())
node.kill()           # kill -9 of the virtual machine; the data stays
node.restart()        # on the same port, with the same data
node.stop()           # and the data is removed
"""

from __future__ import annotations

import random
import socket
import time
from abc import ABC, abstractmethod
from pathlib import Path

START_LIMIT_S = 120.0  # a cold start takes 4 to 9 s, several times that on a loaded machine
CTL_LIMIT_S = 120.0
STILL_LIMIT_S = 10.0  # threads stop one by one; a loaded machine takes its time
PORTS_TRIED = 3
VHOST_BATCH = 16  # one call of rabbitmqctl costs 0.7 s, whatever it does

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
CONF = """\
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 32000000
"""


class NodeError(Exception):
    """The node did not start or did not answer; the message ends with its log."""


class RabbitmqNode(ABC):
    """One private node, however it runs.

    Attributes:
        port: Of 127.0.0.1, where it answers AMQP.
    """

    def __init__(self) -> None:
        self.port, *self._other_ports = free_ports(3)  # at once, or two might be the same
        self._was_up = False
        self._fresh_vhosts: list[str] = []
        self._used_vhosts: list[str] = []
        self._vhosts_made = 0
        self._shared_vhost = ""

    # How it runs.

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process of the virtual machine, which runs, as this machine counts processes."""

    @property
    @abstractmethod
    def log(self) -> str:
        """The last lines that the node wrote."""

    @property
    @abstractmethod
    def runs(self) -> bool:
        """Whether the virtual machine is there, frozen or not."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the node if it runs, and remove the data."""

    @abstractmethod
    def _freeze(self) -> None:
        """Send SIGSTOP."""

    @abstractmethod
    def resume(self) -> None:
        """Let a frozen node go on (SIGCONT)."""

    @abstractmethod
    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints.

        Raises:
            NodeError: It failed.
        """

    @abstractmethod
    def _launch(self) -> None:
        """Start the virtual machine."""

    @abstractmethod
    def _end(self) -> None:
        """End the virtual machine at once, if it runs; its data stay."""

    @property
    @abstractmethod
    def _paused(self) -> bool:
        """Whether it is frozen."""

    # What can be done with it.

    def url(self, vhost: str = "/") -> str:
        """The URL of a vhost for its default user."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost.replace('/', '%2F')}"

    def start(self) -> None:
        """Start the node, on the data it left if it ran before; it answers on return.

        Raises:
            NodeError: It ended, or did not answer in time.
        """
        for _ in range(PORTS_TRIED):
            try:
                self._start()
                self._was_up = True
                return
            except NodeError as error:
                # Somebody took a port in the seconds since it was found free; later it is ours.
                if self._was_up or "eaddrinuse" not in str(error):
                    raise
                self.port, *self._other_ports = free_ports(3)
        raise NodeError(f"{PORTS_TRIED} times a port was taken before the node was up")

    def _start(self) -> None:
        self._launch()
        until = time.monotonic() + START_LIMIT_S
        while not self.answers():
            ended = not self.runs
            if ended or time.monotonic() > until:
                log = self.log
                self._end()
                what = "ended at once" if ended else "did not answer in time"
                raise NodeError(f"the private RabbitMQ node {what}; its log:\n{log}")
            time.sleep(0.05)

    def kill(self, *, settle: bool = True) -> None:
        """End the virtual machine at once (kill -9), as a power cut would; the data stays.

        Args:
            settle: Do as `settle` does, first.
        """
        if settle and self.runs and not self._paused:
            self.settle()
        self._end()

    def settle(self) -> None:
        """Flush where each quorum queue and stream is stored (0.7 s).

        RabbitMQ 3.10 does so half a second after the declare, and a queue killed before that never
        finds a leader again: its clients wait for ever, and a stream can be neither declared nor
        deleted. A test that declares and kills at once would meet that instead of what it is about.
        """
        self.ctl("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

    def restart(self) -> None:
        """Kill the node if it runs (`kill`) and start it again on the same port and data."""
        self.kill()
        self.start()

    def mend(self) -> None:
        """Bring the node back to life if a test left it dead or frozen."""
        if self._paused:
            self.resume()
        if not self.answers():
            self._end()
            self.start()

    def pause(self) -> None:
        """Freeze the node (SIGSTOP): connections stay open and nothing answers."""
        self._freeze()
        # The signal is sent, not yet taken: until then the other threads go on answering.
        until = time.monotonic() + STILL_LIMIT_S
        while not stands_still(self.pid):
            if time.monotonic() > until:
                self.resume()
                raise NodeError(f"the node was not frozen within {STILL_LIMIT_S:.0f} s")
            time.sleep(0.001)

    def answers(self) -> bool:
        """Whether the node greets an AMQP client within a second."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as client:
                client.sendall(_PROTOCOL_HEADER)
                return client.recv(1) == b"\x01"  # the frame of Connection.Start
        except OSError:
            return False

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


def stands_still(pid: int) -> bool:
    """Whether a stop signal has reached every thread of a process; True where nobody can tell."""
    if not Path("/proc/self/task").exists():
        return True
    try:
        stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):  # a thread ended meanwhile: some still run
        return False
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


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
