"""The floor: a round of bare pika that moves the bytes of a federation's round.

    python -m benchmarks.roles.floor server --url … --name … --clients 5 --rounds 30 --params 10000
    python -m benchmarks.roles.floor clients …      the same; they share a process, each a thread

In a round the server publishes the model once to a stream and a small task to each client's quorum
queue; each client reads both and answers with an update to one quorum queue, which the server adds
up. All is persistent and confirmed, each message waited for. What is larger than a part goes in
parts. pika reads as much at once as we let it read. The server prints
`version <number> <seconds, monotonic> <time of day>`.
"""

from __future__ import annotations

import argparse
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils import io_services_utils

TASK = b"t" * 400  # about what a task's frame has
QUORUM = {"x-queue-type": "quorum"}
READ_BYTES = 256 * 1024

Came = tuple[pika.spec.Basic.Deliver, pika.BasicProperties, bytes]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the rounds: the same for both sides."""

    url: str
    name: str
    clients: int
    rounds: int
    params: int
    part_bytes: int

    @property
    def parts(self) -> list[slice]:
        """Of the model's bytes, and of an update's."""
        num_bytes, size = 4 * self.params, self.part_bytes
        return [slice(at, min(at + size, num_bytes)) for at in range(0, num_bytes, size)]

    def tasks(self, number: int) -> str:
        """The queue of a client's tasks."""
        return f"{self.name}.tasks.{number}"


def read_much() -> None:
    """Let pika read more than 4 KiB at a time, where it has the attributes for it."""
    transport = io_services_utils._AsyncTransportBase
    for attribute, value in (("_MAX_RECV_BYTES", READ_BYTES), ("_MAX_CONSUME_BYTES", 1 << 20)):
        if hasattr(transport, attribute):
            setattr(transport, attribute, value)


def connect(url: str) -> pika.BlockingConnection:
    """A connection to the broker."""
    return pika.BlockingConnection(pika.URLParameters(url))


def publisher(connection: pika.BlockingConnection) -> BlockingChannel:
    """A channel whose publishes are confirmed."""
    channel = connection.channel()
    channel.confirm_delivery()
    return channel


def send(channel: BlockingChannel, queue: str, body: bytes | memoryview, part: int = 0) -> None:
    """Publish a message to a queue and wait until it is confirmed."""
    durable = pika.BasicProperties(delivery_mode=2, message_id=str(part))
    channel.basic_publish("", queue, bytes(body), durable, mandatory=True)


def serve(shape: Shape) -> None:
    """The server: it declares everything, and begins when the clients are there."""
    connection = connect(shape.url)
    out, inward = publisher(connection), connection.channel()
    declare(shape, out)
    print("declared", flush=True)
    updates_in = await_clients(shape, inward)
    total = np.zeros(shape.params, "<f4")
    for version in range(shape.rounds):
        say_version(version)
        _round(shape, out, inward, updates_in, total)
    say_version(shape.rounds)
    connection.close()


def declare(shape: Shape, channel: BlockingChannel) -> None:
    """Declare the queues of both sides."""
    stream = {"x-queue-type": "stream"}
    channel.queue_declare(f"{shape.name}.updates", durable=True, arguments=QUORUM)
    channel.queue_declare(f"{shape.name}.model", durable=True, arguments=stream)
    channel.queue_declare(f"{shape.name}.ready", durable=True)
    for number in range(shape.clients):
        channel.queue_declare(shape.tasks(number), durable=True, arguments=QUORUM)


def await_clients(shape: Shape, inward: BlockingChannel) -> Iterator[Came]:
    """Wait until all clients are there; the updates that come from now on."""
    inward.basic_qos(prefetch_count=max(16, 2 * shape.clients))
    here = inward.consume(f"{shape.name}.ready", auto_ack=True)
    for _ in range(shape.clients):
        next(here)
    inward.cancel()
    updates_in: Iterator[Came] = inward.consume(f"{shape.name}.updates")
    return updates_in


def say_version(number: int) -> None:
    """As the coordinator's process says it."""
    print(f"version {number} {time.monotonic()} {time.time()}", flush=True)


def _round(
    shape: Shape,
    out: BlockingChannel,
    inward: BlockingChannel,
    updates_in: Iterator[Came],
    total: np.ndarray,
) -> None:
    model = memoryview(total.tobytes())
    for part in shape.parts:
        send(out, f"{shape.name}.model", model[part])
    for number in range(shape.clients):
        send(out, shape.tasks(number), TASK)
    for _ in range(shape.clients * len(shape.parts)):
        method, properties, body = next(updates_in)
        start = int(properties.message_id) * shape.part_bytes // 4
        total[start : start + len(body) // 4] += np.frombuffer(body, "<f4")
        inward.basic_ack(method.delivery_tag)


class Client:
    """A client's connection, with its consumers; the server knows that it is there.

    Attributes:
        out: A channel whose publishes are confirmed.
        model: What was read last.
    """

    def __init__(self, shape: Shape, number: int) -> None:
        self.connection = connect(shape.url)
        self._parts = shape.parts
        self._models, self._tasks = self.connection.channel(), self.connection.channel()
        self.out = publisher(self.connection)
        self._models.basic_qos(prefetch_count=2 * len(self._parts) + 1)
        self._tasks.basic_qos(prefetch_count=1)
        self._models_in = self._models.consume(
            f"{shape.name}.model", arguments={"x-stream-offset": "first"}, inactivity_timeout=None
        )
        self._tasks_in = self._tasks.consume(shape.tasks(number))
        self.model = bytearray(4 * shape.params)
        send(self.out, f"{shape.name}.ready", b"")

    def take(self) -> tuple[int, bytes]:
        """The next task's tag and body, once the model is read."""
        method, _, task = next(self._tasks_in)
        for part in self._parts:
            came, _, self.model[part] = next(self._models_in)
            self._models.basic_ack(came.delivery_tag)
        return method.delivery_tag, task

    def done(self, tag: int) -> None:
        """A task is answered."""
        self._tasks.basic_ack(tag)


def _client(shape: Shape, number: int) -> None:
    client = Client(shape, number)
    for _ in range(shape.rounds):
        tag, _ = client.take()
        for index, part in enumerate(shape.parts):
            send(client.out, f"{shape.name}.updates", memoryview(client.model)[part], index)
        client.done(tag)
    client.connection.close()


def run_all(jobs: Iterable[Callable[[], object]]) -> None:
    """Run each in a thread of its own, to the last; the first that fails, or Ctrl-C, ends all."""
    ends = queue.SimpleQueue[BaseException | None]()

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            ends.put(error)
        else:
            ends.put(None)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for _ in threads:
        error = ends.get()
        if error is not None:
            raise error


def given_shape(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Shape]:
    """What the command line says, and the shape of the rounds that it says."""
    parser.add_argument("role", choices=("server", "clients"))
    parser.add_argument("--url", required=True)
    parser.add_argument("--name", required=True)
    for number in ("clients", "rounds", "params", "part-bytes"):
        parser.add_argument(f"--{number}", type=int, required=True)
    given = parser.parse_args()
    return given, Shape(**{field.name: getattr(given, field.name) for field in fields(Shape)})


def main() -> None:
    """Be the server, or the clients."""
    given, shape = given_shape(argparse.ArgumentParser())
    read_much()
    if given.role == "server":
        serve(shape)
        return
    run_all(partial(_client, shape, number) for number in range(shape.clients))


if __name__ == "__main__":
    main()
