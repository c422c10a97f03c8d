"""Every step of a coordinator that is seen outside of its memory, so that a test can end it there.

A seam, not a mock: each step is carried out as it is, with a name before and after.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from broker.topology import Binding, Queue, Topology
from broker.transport import AnswerTo, Outgoing, Transport
from coordinator.models import ModelFolder
from coordinator.spool import Spool
from coordinator.store import Store
from coordinator.uploadfiles import UploadFiles
from coordinator.work import Work
from simulation.mishaps import Crash


class Steps:
    """What has been done, and where it ends.

    Attributes:
        names: Every step since the start, by name: "before commit", "after ack", …
        kill_at: The number of the step to end at, None for none.
        trouble: What to raise at the steps of a name, as long as it is there.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.kill_at: int | None = None
        self.killed = ""
        self._kill_name = ""
        self.trouble: dict[str, Exception] = {}

    def at(self, name: str) -> None:
        """A step is reached."""
        self.names.append(name)
        if self.kill_at is not None and len(self.names) > self.kill_at:
            self.kill_at, self.killed = None, name
            raise Crash(name)
        if name == self._kill_name:
            self._kill_name, self.killed = "", name
            raise Crash(name)
        if name in self.trouble:
            raise self.trouble[name]

    def begin_again(self, kill_at: int | None = None) -> None:
        """Forget what was, and end it there in what comes."""
        self.names.clear()
        self.kill_at, self.killed = kill_at, ""

    def kill_at_name(self, name: str) -> None:
        """End it at the next step of that name."""
        self._kill_name, self.killed = name, ""

    def count(self, name: str) -> int:
        """How often a step was reached."""
        return self.names.count(name)

    @contextlib.contextmanager
    def around(self, what: str) -> Iterator[None]:
        """The steps before and after something."""
        self.at(f"before {what}")
        yield
        self.at(f"after {what}")

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Name what every store, spool and model folder does."""
        monkeypatch.setattr(Store, "transaction", self._watched_transaction())
        for owner, method in (
            (Spool, "append"),
            (Spool, "sync"),
            (Spool, "prove"),
            (Spool, "put"),
            (Spool, "adopt"),
            (UploadFiles, "forget"),
            (UploadFiles, "forget_one"),
            (ModelFolder, "write"),
        ):
            monkeypatch.setattr(owner, method, self._watched(getattr(owner, method), method))

    def _watched(self, method: Callable[..., Any], what: str) -> Callable[..., Any]:
        def watched(*arguments: Any) -> Any:
            with self.around(what):
                return method(*arguments)

        return watched

    def _watched_transaction(self) -> Callable[[Store], Any]:
        transaction = Store.transaction

        @contextlib.contextmanager
        def watched(store: Store) -> Iterator[Work]:
            with transaction(store) as work:
                yield work
                self.at("before commit")
            self.at("after commit")

        return watched


class SteppedTransport:
    """A transport whose calls are steps."""

    def __init__(self, inner: Transport, steps: Steps) -> None:
        self._inner = inner
        self._steps = steps
        self.published: list[Outgoing] = []
        self.consumed: list[str] = []
        self.started = 0

    def start(self) -> None:
        self.started += 1
        self._inner.start()

    def disconnect(self) -> None:
        self._inner.disconnect()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._inner.stop(timeout_s)

    def declare(self, topology: Topology) -> None:
        with self._steps.around("declare"):
            self._inner.declare(topology)

    def provide(self, queue: Queue, binding: Binding) -> None:
        with self._steps.around("provide"):
            self._inner.provide(queue, binding)

    def publish(self, message: Outgoing) -> int:
        with self._steps.around(f"publish to {message.exchange or message.routing_key}"):
            self.published.append(message)
            return self._inner.publish(message)

    def answer(self, to: AnswerTo, body: bytes) -> None:
        with self._steps.around("answer"):
            self._inner.answer(to, body)

    def consume(self, queue: Queue, prefetch: int, offset: int | None = None) -> int:
        with self._steps.around("consume"):
            self.consumed.append(queue.name)
            return self._inner.consume(queue, prefetch, offset)

    def cancel(self, consumer: int) -> None:
        with self._steps.around("cancel"):
            self._inner.cancel(consumer)

    def ack(self, tag: int) -> None:
        with self._steps.around("ack"):
            self._inner.ack(tag)

    def reject(self, tag: int, requeue: bool) -> None:
        with self._steps.around("reject"):
            self._inner.reject(tag, requeue)

    def count(self, queue: Queue) -> None:
        with self._steps.around("count"):
            self._inner.count(queue)

    def purge(self, queue: Queue) -> None:
        with self._steps.around("purge"):
            self._inner.purge(queue)

    def delete(self, queue: Queue) -> None:
        with self._steps.around("delete"):
            self._inner.delete(queue)
