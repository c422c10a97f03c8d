"""What a round costs when training costs nothing, beside what the broker itself costs.

    python benchmarks/rounds.py [--params 10000] [--workers 2,5] [--rounds 30] [--url amqp://…]

For each number of workers: seconds a round (median) of a federation over RabbitMQ — workers in
threads of this process, two training processes, everything durable and confirmed — and of the
floor: bare pika that moves the same bytes over the same kinds of queue, durable and confirmed, one
task, one model and one update a worker, summed in place. Both in this run, on this machine.

Without --url a private RabbitMQ node is started from an installed rabbitmq-server.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pika

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the private node is among the tests

from broker.connect import open_transport  # noqa: E402
from coordinator.progress import Progress  # noqa: E402
from coordinator.service import CoordinatorService  # noqa: E402
from settings import load  # noqa: E402
from tests.support.rabbitmq_install import find_server  # noqa: E402
from tests.support.rabbitmq_node import RabbitmqNode  # noqa: E402
from worker.config import worker_config  # noqa: E402
from worker.service import WorkerService  # noqa: E402
from worker.trainer import ProcessTrainer  # noqa: E402

WARM_UP = 5  # rounds not measured: processes start, connections open


def federation(url: str, workers: int, rounds: int, name: str) -> list[float]:
    """Seconds between one version and the next."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load(
            None,
            {},
            {
                "federation.name": name,
                "broker.url": url,
                "learner.path": str(HERE / "learners" / "idle.py"),
                "run.rounds": rounds + WARM_UP,
                "run.evaluate": False,
                "rounds.goal": workers,
                "rounds.concurrency": workers,
                "rounds.drain": "1ms",
                "coordinator.state_dir": f"{folder}/coordinator",
                "worker.state_dir": f"{folder}/workers",
            },
        )
        times: dict[int, float] = {}

        def look(progress: Progress) -> None:
            times.setdefault(progress.version, time.perf_counter())

        coordinator = CoordinatorService(
            settings, lambda post: open_transport(url, post, "coordinator"), look
        )
        trainer = ProcessTrainer(2)
        crowd = []
        for number in range(workers):
            config = worker_config(settings, f"w{number}")
            config = replace(config, folder=config.folder / f"w{number}")
            crowd.append(
                WorkerService(config, lambda post: open_transport(url, post, "w"), trainer)
            )
        for worker in crowd:
            worker.start()
        coordinator.run()
        for worker in crowd:
            worker.kill()
        trainer.close()
    stamps = [times[version] for version in sorted(times)][WARM_UP:]
    return [after - before for before, after in pairwise(stamps)]


def floor(url: str, workers: int, rounds: int, params: int, name: str) -> list[float]:
    """Seconds a round of bare pika: task out, model read by each, update in, all confirmed."""
    updates, quorum = f"{name}.updates", {"x-queue-type": "quorum"}
    server = _channel(url)
    server.queue_declare(updates, durable=True, arguments=quorum)
    for number in range(workers):
        server.queue_declare(f"{name}.tasks.{number}", durable=True, arguments=quorum)
        server.queue_declare(f"{name}.model.{number}", durable=True)
    server.exchange_declare(f"{name}.model", "fanout", durable=True)
    for number in range(workers):
        server.queue_bind(f"{name}.model.{number}", f"{name}.model")
    clients = [
        threading.Thread(target=_client, args=(url, name, number, rounds + WARM_UP), daemon=True)
        for number in range(workers)
    ]
    for client in clients:
        client.start()
    total, model = np.zeros(params, "<f4"), np.zeros(params, "<f4").tobytes()
    seconds = []
    updates_in = server.consume(updates)
    for _ in range(rounds + WARM_UP):
        began = time.perf_counter()
        _publish(server, f"{name}.model", "", model)
        for number in range(workers):
            _publish(server, "", f"{name}.tasks.{number}", b"task" * 50)
        for _ in range(workers):
            method, _, body = next(updates_in)
            total += np.frombuffer(body, "<f4")
            server.basic_ack(method.delivery_tag)
        seconds.append(time.perf_counter() - began)
    for client in clients:
        client.join()
    server.connection.close()
    return seconds[WARM_UP:]


def _client(url: str, name: str, number: int, rounds: int) -> None:
    inward, outward = _channel(url), _channel(url)
    inward.basic_qos(prefetch_count=1)
    models = _channel(url)
    tasks_in = inward.consume(f"{name}.tasks.{number}")
    models_in = models.consume(f"{name}.model.{number}")
    for _ in range(rounds):
        model_method, _, model = next(models_in)
        models.basic_ack(model_method.delivery_tag)
        task_method, _, _ = next(tasks_in)
        _publish(outward, "", f"{name}.updates", model)
        inward.basic_ack(task_method.delivery_tag)
    for channel in (inward, outward, models):
        channel.connection.close()


def _channel(url: str) -> pika.adapters.blocking_connection.BlockingChannel:
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.confirm_delivery()
    return channel


def _publish(
    channel: pika.adapters.blocking_connection.BlockingChannel, exchange: str, key: str, body: bytes
) -> None:
    durable = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish(exchange, key, body, durable, mandatory=True)


@contextmanager
def _broker(url: str) -> Iterator[str]:
    if url:
        yield url
        return
    script = find_server()
    if script is None:
        sys.exit("no rabbitmq-server is installed: apt-get install rabbitmq-server, or pass --url")
    node = RabbitmqNode(script)
    node.start()
    try:
        yield node.url()
    finally:
        node.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--params", type=int, default=10_000)
    parser.add_argument("--workers", default="2,5")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--url", default="")
    arguments = parser.parse_args()
    os.environ["BENCH_PARAMS"] = str(arguments.params)
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{arguments.params} float32 parameters, median of {arguments.rounds} rounds")
    with _broker(arguments.url) as url:
        for workers in map(int, arguments.workers.split(",")):
            name = f"bench{os.getpid()}-{workers}"
            bare = statistics.median(
                floor(url, workers, arguments.rounds, arguments.params, f"{name}-floor")
            )
            ours = statistics.median(federation(url, workers, arguments.rounds, name))
            print(
                f"N={workers}: floor {bare * 1e3:.1f} ms, fedmq {ours * 1e3:.1f} ms a round: "
                f"{ours / bare:.1f} times the floor",
                flush=True,
            )


if __name__ == "__main__":
    main()
