"""What the wire costs: a message encoded and decoded, and read off RabbitMQ.

    python -m benchmarks.wire [--times 15] [--megabytes 400] [--keep]

Encoding beside a copy of the same bytes into as fresh memory; decoding, whatever the size; what a
frame adds to its payload. Then messages that wait in a quorum queue are consumed by fedmq's
transport, and by pika as it comes; each acked, both with the same prefetch, in processes of their
own that take turns.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pika

from benchmarks.examples import layout, payloads, update
from benchmarks.node import Broker, broker
from benchmarks.processes import Measured
from benchmarks.record import Record, parser_of
from benchmarks.timing import medians_s
from schemas.messages import decode, encode

SIZES = (10_000, 1_000_000, 10_000_000)
LARGE_BYTES = 1_000_000  # from here on a header is nothing beside its payload
BODIES = (1_000_000, 4 * 1024 * 1024)


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--megabytes", type=int, default=400, help="consumed at a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    names = ("times", "megabytes", "turns")
    record = Record("wire", {name: getattr(given, name) for name in names})
    for params in SIZES:
        _codec(record, params, given.times)
    _overhead(record)
    with broker(given.url) as where:
        for body_bytes in BODIES:
            _consume(record, where, body_bytes, given.megabytes, given.turns)
    record.end(keep=given.keep)


def _codec(record: Record, params: int, times: int) -> None:
    (payload,) = payloads(params, 1)
    header = update(layout(params), len(payload))
    view = memoryview(payload)
    frame = encode(header, view)
    encode_s, copy_s, decode_s = medians_s(
        times, lambda: encode(header, view), lambda: view.tobytes(), lambda: decode(frame)
    )
    what = f"{params:,} parameters"
    record.figure(
        f"a frame of {what}",
        params=params,
        encode_ms=1e3 * encode_s,
        copy_ms=1e3 * copy_s,
        decode_ms=1e3 * decode_s,
    )
    if len(payload) >= LARGE_BYTES:
        record.at_most(f"encode {what}, over a copy", encode_s / copy_s, 1.2, " times")
    record.at_most(f"decode {what}", 1e3 * decode_s, 1.0, " ms")


def _overhead(record: Record) -> None:
    for tensors in (1, 100):
        made = layout(10_000, tensors)
        (payload,) = payloads(10_000, 1)
        added = len(encode(update(made, len(payload)), payload)) - len(payload)
        bound = 1024 + 100 * tensors
        record.at_most(f"what a frame adds, {tensors} tensors", added, bound, " bytes")


def _consume(record: Record, where: Broker, body_bytes: int, megabytes: int, turns: int) -> None:
    count = max(1, megabytes * 1_000_000 // body_bytes)
    ours, stock = [], []
    for _ in range(turns):
        ours.append(_drained(where, "fedmq", body_bytes, count))
        stock.append(_drained(where, "pika", body_bytes, count))
    whole = body_bytes * count / 1e6
    ours_s, stock_s = (statistics.median(s for s, _ in each) for each in (ours, stock))
    ours_cpu, stock_cpu = (statistics.median(cpu for _, cpu in each) for each in (ours, stock))
    what = f"messages of {body_bytes / 1e6:.1f} MB"
    record.figure(
        f"consume {what}",
        fedmq_mb_s=whole / ours_s,
        pika_mb_s=whole / stock_s,
        fedmq_cpu_ms_a_mb=1e3 * ours_cpu / whole,
        pika_cpu_ms_a_mb=1e3 * stock_cpu / whole,
    )
    record.at_least(f"consume {what}, over pika's MB/s", stock_s / ours_s, 1.5, " times")


def _drained(where: Broker, role: str, body_bytes: int, count: int) -> tuple[float, float]:
    """Seconds, and seconds of CPU, that a process takes to read what waits."""
    queue = f"bench.wire.{os.getpid()}"
    with _filled(where.url, queue, body_bytes, count):
        words = (role, "--url", where.url, "--queue", queue, "--count", str(count))
        with Measured("benchmarks.roles.consumer", *words) as process:
            _, seconds, cpu_s = process.line("read")
    return float(seconds), float(cpu_s)


@contextmanager
def _filled(url: str, queue: str, body_bytes: int, count: int) -> Iterator[None]:
    """A quorum queue with messages, gone afterwards."""
    parameters = pika.URLParameters(url)
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    body, durable = os.urandom(body_bytes), pika.BasicProperties(delivery_mode=2)
    for _ in range(count):
        channel.basic_publish("", queue, body, durable, mandatory=True)
    connection.close()
    yield
    connection = pika.BlockingConnection(parameters)
    connection.channel().queue_delete(queue)
    connection.close()


if __name__ == "__main__":
    main()
