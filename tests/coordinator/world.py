"""A coordinator over the memory broker, stepped by hand in virtual time."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names
from broker.transport import Delivered, Post, Transport
from coordinator import evaluation
from coordinator.cohort import Cohort
from coordinator.evaluation import Initial
from coordinator.models import ModelFolder
from coordinator.progress import Observer, Progress
from coordinator.records import LedgerRow, RunRow, TaskRow, VersionRow
from coordinator.service import CoordinatorService
from coordinator.spool import SEGMENT_BYTES
from coordinator.startup import Surroundings
from coordinator.store import Store
from coordinator.work import Work
from disk import OS_DISK, Disk
from schemas.layout import Layout
from schemas.messages import Start, Task
from schemas.tensors import unflatten
from settings import Settings, load
from simulation.mishaps import Crash
from tests.coordinator.feeder import Feeder
from tests.coordinator.steps import SteppedTransport, Steps

LEARNER = """
import numpy as np

class Ones:
    def initial_parameters(self):
        return {"w": np.ones((SIZE, 2), np.float32), "b": np.zeros(2, np.float64)}

    def train(self, parameters, request):
        raise NotImplementedError

learner = Ones()
"""
STEPS_MAX = 1000  # handing in events this often without coming to rest is a busy loop


class World:
    """A coordinator and its broker.

    Args:
        folder: Of everything.
        steps: Where the coordinator may be ended.
        size: Rows of the model: 3 for a small one, 30,000 for one in four parts.
        around: Disk and learner; None: the learner is asked once for all worlds, which saves time.
        segment_bytes: From how many on a segment of its spool is full, unless `around` says it.
        overrides: Settings, with "__" for the dot.
    """

    def __init__(
        self,
        folder: Path,
        steps: Steps,
        size: int = 3,
        begin: bool = True,
        around: Surroundings | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        **overrides: object,
    ) -> None:
        self.now = 1_000_000.0
        self.folder = folder
        self.steps = steps
        self.learner(LEARNER.replace("SIZE", str(size)))
        self.overrides: dict[str, object] = {
            "learner.path": str(folder / "learner.py"),
            "coordinator.state_dir": str(folder / "state"),
            "run.rounds": 3,
            "run.evaluate": False,
            "rounds.goal": 2,
            "rounds.quorum": 1,
            "rounds.concurrency": 2,
            "rounds.deadline": "60s",
            "rounds.lease": "30s",
            "rounds.part_bytes": 64 * 1024,
            **{name.replace("__", "."): value for name, value in overrides.items()},
        }
        ordinary = Surroundings(initial_of=_initial_of, segment_bytes=segment_bytes)
        self.around = around or ordinary
        self.names = Names("demo")
        self.broker = MemoryBroker(self.clock)
        self.seen: list[Progress] = []
        self.observer: Observer = self.seen.append
        self.transports: list[SteppedTransport] = []
        self.lives: list[CoordinatorService] = []
        self._people = 0
        self._store: Store | None = None
        if begin:
            self.begin()

    # time

    def clock(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.broker.expire()
        self.step()

    def pass_to_wake(self) -> float:
        """Go on to when the coordinator wants to be woken; how long that took."""
        wake = self.service.wake_at()
        assert wake is not None, "nothing but an event wakes it"
        seconds = max(0.0, wake - self.now)
        self.pass_time(seconds)
        return seconds

    # the coordinator

    @property
    def service(self) -> CoordinatorService:
        return self.lives[-1]

    @property
    def transport(self) -> SteppedTransport:
        return self.transports[-1]

    def learner(self, text: str) -> None:
        (self.folder / "learner.py").write_text(text)

    def settings(self) -> Settings:
        return load(None, {}, self.overrides)

    def change(self, **overrides: object) -> None:
        self.overrides.update({name.replace("__", "."): v for name, v in overrides.items()})

    def make(self, **options: Any) -> CoordinatorService:
        """A coordinator that has not begun."""
        return CoordinatorService(
            self.settings(),
            self._transport,
            self.observer,
            clock=self.clock,
            around=self.around,
            **options,
        )

    def begin(self, **options: bool) -> CoordinatorService:
        """Start the coordinator; if it is killed in its first steps, start it again."""
        try:
            self.lives.append(self.make(**options))
            self.service.begin()
            self._step()
        except Crash:
            self.kill()
            return self.begin()
        return self.service

    def _transport(self, post: Post) -> Transport:
        inner = MemoryTransport(self.broker, post, f"coordinator {len(self.transports)}")
        self.transports.append(SteppedTransport(inner, self.steps))
        return self.transport

    def step(self) -> None:
        """Let the coordinator take all that has happened; start it again if it is killed."""
        try:
            self._step()
        except Crash:
            self.kill()
            self.begin()

    def _step(self) -> None:
        mailbox = self.service._mailbox
        for _ in range(STEPS_MAX):
            events = []
            try:
                while True:
                    events.append(mailbox.get_nowait())
            except queue.Empty:
                pass
            self.service.handle(events)
            if mailbox.empty():
                return
        raise AssertionError("the coordinator is busy with itself")

    def kill(self) -> None:
        """End the coordinator as kill -9 would: nothing is said, the lock is let go of."""
        if self.transports:
            self.transport.disconnect()
        if self.lives:
            self.service.close()

    def restart(self, **options: bool) -> None:
        self.kill()
        self.begin(**options)

    def cut(self) -> None:
        """Cut the coordinator's connection; it is made again at once."""
        inner = self.transport._inner
        assert isinstance(inner, MemoryTransport)
        self.broker.drop(inner)
        self.step()

    # workers

    def worker(self, name: str) -> Feeder:
        return Feeder(self.broker, "demo", name)

    def somebody(self) -> Feeder:
        """A worker nobody has heard of, and that may train."""
        settings = self.settings()
        cohort = Cohort(settings.run.seed, settings.evaluation.cohort)
        self._people += 1
        while f"w{self._people}" in cohort:
            self._people += 1
        return self.worker(f"w{self._people}")

    @property
    def layout(self) -> Layout:
        return Layout.from_rows(self.run_row().layout)

    def begin_task(self, worker: Feeder) -> tuple[Task, Start]:
        """A worker takes a task and is told what to train on; another if that is not wanted."""
        while True:
            task, tag = worker.take()
            start = self.ask_start(worker, task)
            worker.transport.ack(tag)
            self.step()
            if start.wanted:
                return task, start

    def ask_start(self, worker: Feeder, task: Task) -> Start:
        """A worker says that it took a task, again until it is answered."""
        for _ in range(5):
            token = worker.say_taken(task)
            self.step()
            if worker.answers_of(token):
                return worker.start_of(token)
        raise AssertionError("no answer came to taken")

    def answer(self, worker: Feeder, value: float = 1.0) -> str:
        """A worker takes a task, trains and answers; its update id."""
        return self.finish_task(worker, *self.begin_task(worker), value)

    def finish_task(self, worker: Feeder, task: Task, start: Start, value: float = 1.0) -> str:
        update = worker.update(task, start, self.layout, value)
        payload = worker.payload(self.layout, value)
        worker.send_encoded(update, payload, task.codec, self.layout)
        self.step()
        return update.update_id

    def round(self, *values: float) -> list[str]:
        """As many new workers as values answer, one after another."""
        return [self.answer(self.somebody(), value) for value in values]

    # what is stored

    def disk_to_look_at(self) -> Disk:
        """A way to the state folder that is not the coordinator's own."""
        return OS_DISK

    def read(self, question: Callable[[Work], Any]) -> Any:
        if self._store is None:
            path = self.folder / "state" / "coordinator.db"
            self._store = Store.open_to_read(path, self.disk_to_look_at())
        with self._store.reading() as work:
            return question(work)

    def close(self) -> None:
        """Let go of everything."""
        if self._store is not None:
            self._store.close()
        for service in self.lives:
            service.close()

    def ledger(self, update_id: str) -> LedgerRow:
        row = self.read(lambda work: work.ledger_row(update_id))
        assert isinstance(row, LedgerRow), "the update has no verdict"
        return row

    def has_verdict(self, update_id: str) -> bool:
        return self.read(lambda work: work.ledger_row(update_id)) is not None

    def verdict(self, update_id: str) -> str:
        return self.ledger(update_id).verdict

    def strays(self) -> dict[str, int]:
        strays: dict[str, int] = self.read(Work.count_strays)
        return strays

    def run_row(self) -> RunRow:
        row = self.read(Work.last_run)
        assert isinstance(row, RunRow)
        return row

    def task_row(self, task_id: str) -> TaskRow:
        row = self.read(lambda work: work.task(task_id))
        assert isinstance(row, TaskRow)
        return row

    def open_tasks(self) -> list[TaskRow]:
        run_id = self.run_row().run_id
        rows: list[TaskRow] = self.read(lambda work: work.open_tasks(run_id))
        return rows

    def tasks_made(self) -> int:
        run_id = self.run_row().run_id
        made: int = self.read(lambda work: work.next_number(run_id, "train"))
        return made

    def version_row(self, version: int) -> VersionRow:
        run_id = self.run_row().run_id
        row = self.read(lambda work: work.version(run_id, version))
        assert isinstance(row, VersionRow), f"there is no version {version}"
        return row

    def model(self, version: int | None = None) -> bytes:
        """The flat buffer of a version, the newest by default."""
        row = self.version_row(self.version if version is None else version)
        folder = ModelFolder(self.folder / "state" / "models", self.disk_to_look_at())
        return bytes(folder.read(row.file, self.layout, row.digest))

    def weight(self, version: int | None = None) -> float:
        """The value of every w in a version."""
        view = unflatten(self.model(version), self.layout)["w"]
        assert np.all(view == view[0, 0])
        return float(view[0, 0])

    @property
    def version(self) -> int:
        return self.run_row().version

    @property
    def state(self) -> str:
        return self.service.look().state

    # what is in the broker

    def ready(self, name: str) -> int:
        """Messages that wait in the queue of that name in `Names`, or in the model's stream."""
        if name == "model":
            return self.broker.ready(self.model_queue())
        if name == "update":
            return self.broker.ready(self.names.update_queue())
        return self.broker.ready(getattr(self.names, f"{name}_queue"))

    def model_queue(self) -> Any:
        return self.names.model_queue(self.run_row().run_id, self.layout.num_bytes)

    def refused(self) -> list[bytes]:
        """The copies in the refused queue, which it takes out."""
        bodies = []
        events: list[Any] = []
        transport = MemoryTransport(self.broker, events.append, "people")
        transport.start()
        transport.consume(self.names.refused_queue, 1000)
        for event in events:
            if isinstance(event, Delivered):
                bodies.append(bytes(event.body))
                transport.ack(event.tag)
        transport.stop()
        return bodies


MakeWorld = Callable[..., World]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """The steps of every coordinator of the test."""
    steps = Steps()
    steps.watch(monkeypatch)
    return steps


@pytest.fixture
def make_world(tmp_path: Path, steps: Steps) -> Iterator[MakeWorld]:
    """Makes worlds, each in a folder of its own."""
    worlds: list[World] = []

    def make(**options: Any) -> World:
        folder = tmp_path / str(len(worlds))
        folder.mkdir()
        worlds.append(World(folder, steps, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


_asked: dict[tuple[str, int], Initial] = {}


def _initial_of(settings: Settings) -> Initial:
    """What the learner's process says, which takes a while: each learner is asked once."""
    key = (Path(settings.learner.path.partition(":")[0]).read_text(), settings.run.seed)
    if key not in _asked:
        _asked[key] = evaluation.initial_of(settings)
    return _asked[key]
