"""Reads a number of messages from a queue, by fedmq's transport or by pika as it comes.

    python -m benchmarks.roles.consumer fedmq|pika --url … --queue … --count 100

Prints `read <seconds> <seconds of CPU>`, from the first message to the last.
"""

from __future__ import annotations

import argparse
import queue
import time

import pika
from pika.adapters.blocking_connection import BlockingChannel

from broker.connect import open_transport
from broker.topology import Queue
from broker.transport import Connected, Delivered, Event

PREFETCH = 16


def by_fedmq(url: str, name: str, count: int) -> None:
    """As the coordinator reads."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    transport = open_transport(url, events.put, "bench")
    transport.start()
    while not isinstance(events.get(), Connected):
        pass
    transport.consume(Queue(name, "quorum"), PREFETCH)
    watch = Watch(count)
    while watch.left:
        event = events.get()
        if isinstance(event, Delivered):
            watch.tick()
            transport.ack(event.tag)
    watch.tell()
    transport.stop()


def by_pika(url: str, name: str, count: int) -> None:
    """As pika's own examples read."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    watch = Watch(count)

    def take(
        channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        watch.tick()
        channel.basic_ack(method.delivery_tag)
        if not watch.left:
            channel.stop_consuming()

    channel.basic_consume(name, take)
    channel.start_consuming()
    watch.tell()
    connection.close()


class Watch:
    """Counts down, from the first to the last."""

    def __init__(self, count: int) -> None:
        self.left = count

    def tick(self) -> None:
        """One more has come."""
        if self.left and not hasattr(self, "_began"):
            self._began, self._cpu = time.perf_counter(), time.process_time()
        self.left -= 1

    def tell(self) -> None:
        """Print how long it took."""
        seconds = time.perf_counter() - self._began
        print(f"read {seconds} {time.process_time() - self._cpu}", flush=True)


def main() -> None:
    """Read."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("fedmq", "pika"))
    parser.add_argument("--url", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--count", type=int, required=True)
    given = parser.parse_args()
    read = by_fedmq if given.role == "fedmq" else by_pika
    read(given.url, given.queue, given.count)


if __name__ == "__main__":
    main()
