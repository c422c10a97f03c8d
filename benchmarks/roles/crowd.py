"""Scripted workers that share a process and a connection: they speak the protocol, and train not.

    python -m benchmarks.roles.crowd --config federation.toml --workers 200 --params 100000

Each says once that it is there, takes a task, says so, and is told what to train on. When all of
them are, they send their updates, `--window` at a time, in parts if they are large. Each update
asks what became of it, as those of workers do, and nobody takes another task before all of the
round are answered: then all tasks are acked. Prints `fired <seconds, monotonic>` when the first
update of a round is sent.
"""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.examples import layout
from broker.connect import open_transport
from broker.topology import Names
from broker.transport import (
    Answered,
    Confirmed,
    Connected,
    ConsumerLost,
    Delivered,
    Event,
    Outgoing,
)
from coordinator.allocation import keep_memory_of_messages
from schemas.buffer import Buffer
from schemas.digest import digest_of, update_id_of
from schemas.layout import Layout
from schemas.messages import (
    Presence,
    Start,
    Taken,
    Task,
    Update,
    decode,
    encode,
    part_count,
    part_of,
    part_span,
)
from settings import Settings, load


@dataclass(eq=False, slots=True)
class Worker:
    """One of them, and the task it has in hand."""

    worker_id: str
    tag: int
    task: Task


class Crowd:
    """All of them."""

    def __init__(self, settings: Settings, workers: int, made: Layout, window: int) -> None:
        self._layout = made
        self._payload = np.full(made.num_floats, 0.01, "<f4").tobytes()
        self._digest = digest_of(self._payload)
        self._part_bytes = settings.rounds.part_bytes
        self._names = Names(settings.federation.name)
        self._window = window
        self._workers = workers
        self._free = deque(f"w{number}" for number in range(workers))
        self._asked: dict[int, Worker] = {}
        self._told: dict[str, tuple[Worker, Start]] = {}
        self._unsent: deque[tuple[Worker, Start]] = deque()
        self._closing: set[int] = set()  # closing messages that are not confirmed
        self._unheard: set[int] = set()  # updates of the round that are not answered
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._transport = open_transport(settings.broker.url, self.events.put, "crowd")

    def serve(self) -> None:
        """Work until None is among the events."""
        self._transport.start()
        while (event := self.events.get()) is not None:
            match event:
                case Connected() | ConsumerLost():  # the coordinator has not declared it yet
                    time.sleep(0.1)
                    self._say_hello()
                    self._transport.consume(self._names.task_queue, self._workers)
                case Delivered():
                    self._take(event)
                case Answered() if event.token in self._unheard:
                    self._hear_verdict(event.token)
                case Answered() if event.token in self._asked:
                    self._hear(self._asked[event.token], event.body)
                case Confirmed() if event.token in self._closing:
                    self._closing.discard(event.token)
                    self._pump()
                case _:
                    pass
        self._transport.stop()

    def _say_hello(self) -> None:
        for worker_id in self._free:
            presence = Presence(worker_id, "", -1, 0, busy=False, leaving=False, open_updates=())
            key = self._names.control_key("presence", worker_id)
            exchange = self._names.control_exchange
            self._transport.publish(Outgoing(exchange, key, encode(presence), answerable=True))

    def _take(self, delivery: Delivered) -> None:
        task, _ = decode(delivery.body)
        assert isinstance(task, Task)
        worker = Worker(self._free.popleft(), delivery.tag, task)
        taken = Taken(task.run_id, task.task_id, worker.worker_id, task.incarnation)
        key = self._names.control_key("taken", worker.worker_id)
        message = Outgoing(self._names.control_exchange, key, encode(taken), answerable=True)
        self._asked[self._transport.publish(message)] = worker

    def _hear(self, worker: Worker, body: Buffer) -> None:
        start, _ = decode(body)
        if not isinstance(start, Start) or worker.worker_id in self._told:
            return
        if not start.wanted:
            self._let_go(worker)
            return
        self._told[worker.worker_id] = (worker, start)
        if len(self._told) == self._workers:
            print(f"fired {time.monotonic()}", flush=True)
            self._unsent.extend(self._told.values())
            self._pump()

    def _pump(self) -> None:
        while self._unsent and len(self._closing) < self._window:
            worker, start = self._unsent.popleft()
            token = self._send(worker, start)
            self._closing.add(token)
            self._unheard.add(token)

    def _hear_verdict(self, token: int) -> None:
        self._unheard.discard(token)
        if self._unheard or self._unsent:
            return
        self._closing.clear()  # an answer may come before its confirm
        for worker, _ in self._told.values():
            self._let_go(worker)
        self._told.clear()

    def _let_go(self, worker: Worker) -> None:
        self._transport.ack(worker.tag)
        self._free.append(worker.worker_id)
        self._asked = {token: each for token, each in self._asked.items() if each is not worker}

    def _send(self, worker: Worker, start: Start) -> int:
        update, size = self._update(worker, start), len(self._payload)
        if size <= self._part_bytes:
            return self._publish(update, encode(update, self._payload))
        update = replace(update, parts=part_count(size, self._part_bytes))
        for index in range(update.parts):
            first, last = part_span(index, size, self._part_bytes)
            part = part_of(update, self._part_bytes, index)
            self._publish(update, encode(part, memoryview(self._payload)[first:last]), asks=False)
        return self._publish(update, encode(update))

    def _publish(self, update: Update, body: bytes, *, asks: bool = True) -> int:
        key = self._names.update_key(update.run_id, 0, update.worker_id)
        exchange = self._names.update_exchange
        message = Outgoing(exchange, key, body, update.update_id, answerable=asks)
        return self._transport.publish(message)

    def _update(self, worker: Worker, start: Start) -> Update:
        task = worker.task
        assert start.model_digest is not None, "a task of an open round is wanted"
        return Update(
            update_id=update_id_of(task.incarnation, task.task_id, worker.worker_id),
            run_id=task.run_id,
            task_id=task.task_id,
            worker_id=worker.worker_id,
            incarnation=task.incarnation,
            kind="train",
            base_version=start.base_version,
            base_digest=start.model_digest,
            layout_digest=self._layout.digest,
            codec="fp32",
            num_examples=10,
            metrics={},
            train_s=0.1,
            payload_digest=self._digest,
            payload_bytes=len(self._payload),
            parts=0,
        )


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--params", type=int, required=True)
    parser.add_argument("--window", type=int, default=64, help="updates unconfirmed at a time")
    given = parser.parse_args()
    keep_memory_of_messages()
    settings = load(given.config, {}, {})
    crowd = Crowd(settings, given.workers, layout(given.params), given.window)

    def stop() -> None:
        sys.stdin.read()
        crowd.events.put(None)

    threading.Thread(target=stop, daemon=True).start()
    crowd.serve()


if __name__ == "__main__":
    main()
