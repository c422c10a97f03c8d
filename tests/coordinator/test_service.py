"""The coordinator's service over the memory transport, against a scripted worker, in virtual time."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from broker.memory import MemoryBroker, MemoryTransport
from broker.transport import Post, Transport
from coordinator.records import LedgerRow
from coordinator.service import CoordinatorService
from coordinator.store import Store
from schemas.layout import Layout
from schemas.tensors import unflatten
from settings import Settings, load
from tests.coordinator.feeder import Feeder

LEARNER = """
import numpy as np

class Ones:
    def initial_parameters(self):
        return {"w": np.ones((3, 2), np.float32), "b": np.zeros(2, np.float64)}

    def train(self, parameters, request):
        raise NotImplementedError

learner = Ones()
"""


class World:
    """A coordinator and its broker, stepped by hand."""

    def __init__(self, folder: Path, **overrides: object) -> None:
        (folder / "learner.py").write_text(LEARNER)
        self.now = 1_000_000.0
        self.folder = folder
        self.overrides: dict[str, object] = {
            "learner.path": str(folder / "learner.py"),
            "coordinator.state_dir": str(folder / "state"),
            "run.rounds": 3,
            "rounds.goal": 2,
            "rounds.quorum": 1,
            "rounds.concurrency": 2,
            "rounds.deadline": "60s",
            "rounds.lease": "30s",
            **{name.replace("__", "."): value for name, value in overrides.items()},
        }
        self.broker = MemoryBroker(self.clock)
        self.service = self.begin()

    def clock(self) -> float:
        return self.now

    def settings(self) -> Settings:
        return load(None, {}, self.overrides)

    def begin(self, **options: bool) -> CoordinatorService:
        service = CoordinatorService(
            self.settings(), self._transport, clock=self.clock, **options
        )
        service.handle([])
        service._transport.start()
        self.service = service
        self.step()
        return service

    def _transport(self, post: Post) -> Transport:
        return MemoryTransport(self.broker, post, "coordinator")

    def step(self) -> None:
        """Let the coordinator take all that has happened."""
        mailbox = self.service._mailbox
        while True:
            events = []
            try:
                while True:
                    events.append(mailbox.get_nowait())
            except queue.Empty:
                pass
            self.service.handle(events)
            if mailbox.empty():
                return

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.step()

    def kill(self) -> None:
        """End the coordinator as kill -9 would: nothing is said, the lock is let go of."""
        self.service._transport.disconnect()
        self.service.close()

    def worker(self, name: str) -> Feeder:
        return Feeder(self.broker, "demo", name)

    @property
    def layout(self) -> Layout:
        return self.service._layout

    def answer(self, worker: Feeder, value: float) -> str:
        """A worker takes a task, trains and answers; its update id."""
        task, tag = worker.take()
        token = worker.say_taken(task)
        worker.transport.ack(tag)
        self.step()
        start = worker.start_of(token)
        assert start.wanted, start.reason
        update = worker.update(task, start, self.layout, value)
        worker.send(update, worker.payload(self.layout, value))
        self.step()
        return update.update_id

    def ledger(self, update_id: str) -> LedgerRow:
        store = Store.open_to_read(self.folder / "state" / "coordinator.db")
        with store.reading() as work:
            row = work.ledger_row(update_id)
        store.close()
        assert row is not None
        return row

    def weights(self) -> float:
        """The value of w[0, 0] in the newest version."""
        view = unflatten(self.service._base, self.layout)["w"]
        assert np.all(view == view[0, 0])
        return float(view[0, 0])


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**overrides: object) -> World:
        world = World(tmp_path, **overrides)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.service.close()


def test_two_answers_make_the_next_version(make_world: Callable[..., World]) -> None:
    world = make_world()
    a, b = world.worker("a"), world.worker("b")
    first = world.answer(a, 1.0)
    second = world.answer(b, 3.0)
    assert world.ledger(first).verdict == world.ledger(second).verdict == "counted"
    assert world.service.look().version == 1
    assert world.weights() == 1.0 + 2.0
