"""How long a coordinator that was killed takes until it counts again.

    python -m benchmarks.recovery [--updates 10000] [--params 1000] [--times 5] [--keep]

A state folder is filled by the real service over the in-process broker. Then `fedmq coordinator` is
started on it, over a private RabbitMQ where an update waits, and killed (kill -9) as soon as it is
in the ledger: the median of the seconds from the start of the process. For three folders: nothing
counted yet; all updates in closed rounds of 100, and half a round open; all updates in the open
round, whose sum is made again from the spool. Beside them, what Python takes to start and import
the same modules.
"""

from __future__ import annotations

import queue
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.record import Record, parser_of
from broker.connect import open_transport
from broker.transport import Confirmed, Connected, Declared, Event, Outgoing
from schemas.messages import encode
from tests.coordinator.feeder import Feeder
from tests.coordinator.steps import Steps
from tests.coordinator.world import World
from tests.support.rabbitmq_choice import node_here
from tests.support.rabbitmq_install import NoBrokerError

LIMIT_S = 120.0
BOUND_S = 3.0
TASKS_AT_ONCE = 50  # in a step of the service
IMPORTS = "import coordinator.cli, coordinator.service, broker.rabbitmq"
FEDMQ = "import sys; from fedmq.cli import main; sys.exit(main())"


class Filled:
    """A state folder with counted updates, and further updates that wait to be counted.

    Args:
        folder: An empty one.
        counted: Updates to count first.
        goal: Of a round.
        waiting: Further updates to make.
    """

    def __init__(self, folder: Path, counted: int, goal: int, params: int, waiting: int) -> None:
        folder.mkdir()
        self.folder = folder
        world = World(
            folder,
            Steps(),
            size=params // 2,
            rounds__goal=goal,
            rounds__concurrency=goal,
            rounds__deadline="1d",
            rounds__lease="1d",
            run__rounds=10_000,
        )
        people = (world.worker(f"w{number}") for number in range(counted + waiting))
        for begin in range(0, counted, TASKS_AT_ONCE):
            some = min(TASKS_AT_ONCE, counted - begin)
            self._answer(world, [next(people) for _ in range(some)])
        self.names = world.names
        self.messages = [self._message(world, worker) for worker in people]
        self.goal = goal
        world.close()

    def _answer(self, world: World, workers: list[Feeder]) -> None:
        """Several workers answer at once; all of them were told what the first was told."""
        layout, (first, start) = world.layout, world.begin_task(workers[0])
        for worker in workers:
            task, tag = (first, None) if worker is workers[0] else worker.take()
            if tag is not None:
                worker.transport.ack(tag)
            worker.send(worker.update(task, start, layout, 0.1), worker.payload(layout, 0.1))
            worker.transport.stop()
        world.step()

    def _message(self, world: World, worker: Feeder) -> Outgoing:
        """What a worker that has a task publishes."""
        task, start = world.begin_task(worker)
        update = worker.update(task, start, world.layout, 0.1)
        worker.transport.stop()
        key = world.names.update_key(update.run_id, 0, worker.worker_id)
        body = encode(update, worker.payload(world.layout, 0.1))
        return Outgoing(world.names.update_exchange, key, body, update.update_id)

    def configure(self, url: str) -> Path:
        """The settings of this folder, for a real broker."""
        config = self.folder / "federation.toml"
        config.write_text(
            f'[federation]\nname = "demo"\n[broker]\nurl = "{url}"\n'
            f'[learner]\npath = "learner.py"\n[run]\nrounds = 10000\nevaluate = false\n'
            f'[rounds]\ngoal = {self.goal}\nconcurrency = {self.goal}\ndeadline = "1d"\n'
            'lease = "1d"\npart_bytes = "64KiB"\n[coordinator]\nstate_dir = "state"\n'
        )
        return config

    def arrivals(self) -> int:
        """The number of the last update in the ledger."""
        with closing(sqlite3.connect(self.folder / "state" / "coordinator.db")) as store:
            (last,) = store.execute("SELECT coalesce(max(arrival), 0) FROM ledger").fetchone()
        return int(last)


def recoveries(filled: Filled, url: str) -> Iterator[float]:
    """Seconds from the start of a coordinator until the next update is counted."""
    config = filled.configure(url)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    transport = open_transport(url, events.put, "feeder")
    transport.start()
    _await(events, Connected)
    transport.declare(filled.names.topology)
    _await(events, Declared)
    for message in filled.messages:
        transport.publish(message)
        _await(events, Confirmed)
        yield recovery(filled, config)
    transport.stop()


def recovery(filled: Filled, config: Path) -> float:
    """Start a coordinator where an update waits, and kill it when that is counted."""
    before = filled.arrivals()
    began = time.perf_counter()
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            FEDMQ,
            "coordinator",
            "--config",
            str(config),
            "--log-level",
            "error",
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        while filled.arrivals() == before:
            if process.poll() is not None or time.perf_counter() > began + LIMIT_S:
                sys.exit("the coordinator does not count the update")
            time.sleep(0.005)
        return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def imports() -> float:
    """Seconds that Python takes to start and import what a coordinator imports."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-c", IMPORTS], check=True)
    return time.perf_counter() - began


def _await(events: queue.SimpleQueue[Event], kind: type[Event]) -> None:
    while not isinstance(events.get(timeout=LIMIT_S), kind):
        pass


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--params", type=int, default=1000)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    updates, times = given.updates, given.times
    try:
        node = node_here(install=False)
    except NoBrokerError as error:
        sys.exit(str(error))
    names = ("updates", "params", "times")
    record = Record("recovery", {name: getattr(given, name) for name in names})
    _tell(record, "Python and its imports", [imports() for _ in range(times)])
    shapes = {
        "nothing counted yet": (0, 100),
        f"{updates:,} counted in rounds of 100": (updates + 50, 100),
        f"{updates:,} counted in the open round": (updates, updates + times + 1),
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            node.start()
            for number, (what, (counted, goal)) in enumerate(shapes.items()):
                place = Path(folder) / str(number)
                filled = Filled(place, counted, goal, given.params, times)
                seconds = list(recoveries(filled, node.url(node.fresh_vhost())))
                _tell(record, what, seconds)
                claim = f"counts again after a restart, {what}"
                record.at_most(claim, statistics.median(seconds), BOUND_S, " s")
        finally:
            node.stop()
    record.end(keep=given.keep)


def _tell(record: Record, what: str, seconds: list[float]) -> None:
    median = statistics.median(seconds)
    record.figure(what, median_s=median, least_s=min(seconds), most_s=max(seconds))


if __name__ == "__main__":
    main()
