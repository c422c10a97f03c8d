"""A federation of real processes, each behind a wire of its own, on a private RabbitMQ."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pika

from broker.topology import Names
from tests.broker.tcp_proxy import TcpProxy
from tests.chaos.oracle import Records
from tests.chaos.reading import (
    Standing,
    read_device,
    read_ledger,
    read_models,
    read_standing,
    read_trainings,
)
from tests.e2e.services import Federation
from tests.support.rabbitmq_node import RabbitmqNode

LEARNERS = Path(__file__).with_name("unit_vectors.py")
STOP_LIMIT_S = 60.0
NEVER = 1_000_000  # rounds: the run ends when we say so

Start = Callable[[Mapping[str, str]], "subprocess.Popen[str]"]


@dataclass(frozen=True, slots=True)
class Act:
    """A federation to be broken, and for how long.

    Attributes:
        workers: Processes, each with a training process of its own.
        rounds_min: Rounds to make at least.
        seconds: How long faults are drawn at random.
        gap_s: Mean time between the beginnings of two faults.
        late: As `rounds.late`.
        learner: A name in `unit_vectors.py`.
        heartbeat_s: As `broker.heartbeat`.
    """

    name: str
    workers: int
    rounds_min: int
    seconds: float
    gap_s: float
    goal: int
    late: str = "weigh"
    learner: str = "learner"
    heartbeat_s: int = 2


class Actor:
    """A process, started again by the same command when it was killed.

    Attributes:
        busy: Held by whoever does something to it.
        wanted: It was not asked to end.
    """

    def __init__(self, name: str, start: Start, proxy: TcpProxy, environ: dict[str, str]) -> None:
        self.name = name
        self.proxy = proxy
        self.busy = threading.Lock()
        self.environ = environ
        self._start = start
        self.process = start(environ)
        self.wanted = True

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def start(self) -> None:
        """Start it again."""
        self.wanted = True
        self.process = self._start(self.environ)

    def kill(self) -> bool:
        """Kill -9; whether that is what ended it."""
        self.process.kill()
        return self._ended() == -signal.SIGKILL

    def stop(self) -> int:
        """Ask it to end (SIGTERM), and wait; its exit code."""
        self.wanted = False
        self.process.terminate()
        return self._ended()

    def _ended(self) -> int:
        code = self.process.wait(STOP_LIMIT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


class Stage:
    """The processes of an act."""

    def __init__(self, folder: Path, node: RabbitmqNode, act: Act) -> None:
        self.folder = folder
        self.node = node
        self.act = act
        self.broker = threading.Lock()  # as an actor's `busy`
        self.state = folder / "coordinator"
        self.name = f"chaos-{folder.name.replace('_', '-')}"[:40].lower()
        self.vhost = node.fresh_vhost()
        self.notes = folder / "notes"
        self.notes.mkdir()
        self._proxies: list[TcpProxy] = []
        self._federation = Federation(
            folder,
            node.url(self.vhost),
            self.name,
            f"{LEARNERS}:{act.learner}",
            rounds=NEVER,
            goal=act.goal,
            quorum=max(act.goal - 1, 1),
            concurrency=min(act.goal + 3, act.workers),
            deadline="5s",
            lease="2500ms",
            late=act.late,
            drain="2s",
            part_bytes="64KiB",
        )
        self.coordinator = self._actor("coordinator", self._start_coordinator)
        self.workers = [
            self._actor(f"w{number}", partial(self._start_worker, f"w{number}"))
            for number in range(act.workers)
        ]

    def _start_coordinator(self, environ: Mapping[str, str]) -> subprocess.Popen[str]:
        return self._federation.coordinator(environ=environ)

    def _start_worker(self, name: str, environ: Mapping[str, str]) -> subprocess.Popen[str]:
        return self._federation.worker(name, environ=environ)

    def _actor(self, name: str, start: Start) -> Actor:
        proxy = TcpProxy(("127.0.0.1", self.node.port))
        self._proxies.append(proxy)
        port, own = f":{self.node.port}/", f":{proxy.port}/"
        environ = {
            "FEDMQ_BROKER_URL": self.node.url(self.vhost).replace(port, own),
            "FEDMQ_BROKER_HEARTBEAT": f"{self.act.heartbeat_s}s",
            "FEDMQ_COORDINATOR_KEEP_VERSIONS": str(NEVER),
            "FEDMQ_LEARNER_DATA": str(self.notes),
            "FEDMQ_WORKER_PRESENCE": "1s",
        }
        return Actor(name, start, proxy, environ)

    def actors(self) -> list[Actor]:
        """Coordinator and workers."""
        return [self.coordinator, *self.workers]

    def training_mark(self, worker: Actor) -> Path:
        """The file that is there while a worker's training process trains."""
        return self.notes / f"training-{worker.name}"

    def standing(self) -> Standing:
        """How the run stands."""
        return read_standing(self.state)

    def died(self) -> str:
        """A process that has ended though nobody killed it; "" if there is none."""
        for actor in self.actors():
            if actor.busy.acquire(blocking=False):
                try:
                    code = actor.process.poll()
                finally:
                    actor.busy.release()
                if actor.wanted and code is not None:
                    return f"{actor.name} has ended by itself with code {code}"
        return ""

    def end_after(self, rounds: int) -> None:
        """Start the coordinator again with an end in sight."""
        self.coordinator.stop()
        self.coordinator.environ["FEDMQ_RUN_ROUNDS"] = str(rounds)
        self.coordinator.start()

    def unsettled(self) -> str:
        """What keeps the workers from having nothing left; "" if nothing does."""
        verdicts = {row.update_id for row in read_ledger(self.state)[0]}
        for worker in self.workers:
            device = read_device(self.folder / "workers" / worker.name)
            if device.waiting or device.held:
                return f"{worker.name} holds {device.held} tasks and {device.waiting} updates"
            open_ids = [mark.update_id for mark in device.marks if mark.update_id not in verdicts]
            if open_ids:
                return f"{worker.name} finished {len(open_ids)} updates that have no verdict"
        return ""

    def waiting_updates(self) -> int:
        """Messages in the updates queue and among what the broker gave up on."""
        names = Names(self.name)
        queues = (names.update_queue().name, names.parked_queue.name)
        connection = pika.BlockingConnection(pika.URLParameters(self.node.url(self.vhost)))
        try:
            channel = connection.channel()
            found = [channel.queue_declare(queue, passive=True).method for queue in queues]
        finally:
            connection.close()
        return sum(method.message_count for method in found)

    def records(self, seen: set[str]) -> Records:
        """What the oracle judges."""
        ledger, strays = read_ledger(self.state)
        devices = {w.name: read_device(self.folder / "workers" / w.name) for w in self.workers}
        return Records(
            trainings=read_trainings(self.notes / "trainings"),
            ledger=ledger,
            marks=[mark for device in devices.values() for mark in device.marks],
            models=read_models(self.state),
            outboxes={name: device.waiting for name, device in devices.items()},
            seen=seen,
            strays=strays,
            told=self._told(),
        )

    def _told(self) -> Mapping[str, int]:
        done = self._federation.run("status", "--config", str(self._federation.config), "--json")
        assert done.returncode == 0, done.stderr
        told: Mapping[str, int] = json.loads(done.stdout)["updates"]
        return told

    def logs(self) -> str:
        """What all processes wrote to stderr."""
        return self._federation.logs()

    def errors(self) -> list[str]:
        """Lines of the logs that no fault from outside excuses."""
        found = []
        for file in sorted(self.folder.glob("stderr-*.txt")):
            for line in file.read_text(errors="replace").splitlines():
                if "Traceback" in line or "internal error" in line or " ERROR " in line:
                    found.append(f"{file.name}: {line[:600]}")
        return found

    def close(self) -> None:
        """End every process."""
        self._federation.close()
        for proxy in self._proxies:
            proxy.close()
