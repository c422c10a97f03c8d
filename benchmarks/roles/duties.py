"""The floor that also has on disk what must be there in a round that loses nothing: one plain way.

    python -m benchmarks.roles.duties server --folder … --url … --name … --clients 5 …
    python -m benchmarks.roles.duties clients …                  as in `benchmarks.roles.floor`

What it does besides the floor, in order:

- The server writes each version to a file, syncs it, and commits a row that names it.
- A client makes the model's digest, writes it to a file and commits its task; a training process
  reads the model, and commits the update, a large one in a file of its own that it syncs; the
  client sends that, and deletes its row once it is confirmed.
- The server makes an update's digest, sees that its numbers are finite, writes it to a log, syncs
  that, and commits a row of the ledger, for all that have come at once; then it acks them, and
  tells their clients, which wait for that.

It has no rules: nothing is judged, comes twice, is late or recovered, and nobody leaves. So it is
no federation, and no bound either: it says what a round costs somebody who keeps the promises
without a thought of speed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import sqlite3
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pika
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.roles.floor import (
    TASK,
    Came,
    Client,
    Shape,
    await_clients,
    connect,
    declare,
    given_shape,
    publisher,
    read_much,
    run_all,
    say_version,
    send,
)
from schemas.digest import digest_of

PROCESSES = 2  # that train, as the workers' of a benchmark
INLINE_BYTES = 64 * 1024  # what is larger is no row of a database
ROW = b"r" * 400  # about what a row of the ledger has, besides its digest


def told(shape: Shape, number: int) -> str:
    """The queue in which a client is told that its update is in the ledger."""
    return f"{shape.name}.told.{number}"


class Table:
    """A database of one table that commits to the disk."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, 60.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS rows (name TEXT PRIMARY KEY, body BLOB)")

    def put(self, *rows: tuple[str, bytes]) -> None:
        """Commit rows, in place of others of their names."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", rows)
        self._db.execute("COMMIT")

    def get(self, name: str) -> bytes:
        """A row's body."""
        query = "SELECT body FROM rows WHERE name = ?"
        body: bytes = self._db.execute(query, (name,)).fetchone()[0]
        return body

    def delete(self, name: str) -> None:
        """Delete a row, and do not wait for the disk."""
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("DELETE FROM rows WHERE name = ?", (name,))
        self._db.execute("PRAGMA synchronous = FULL")


class Server:
    """The server's disk and sum."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self._folder = folder
        folder.mkdir()
        self._ledger = Table(folder / "ledger.sqlite")
        self._log = (folder / "log").open("wb", buffering=0)
        self._clients = shape.clients
        self._sum = np.zeros(shape.params, "<f4")

    def keep_version(self, version: int) -> memoryview:
        """Have the mean of the last round on disk; its bytes."""
        model = memoryview((self._sum / np.float32(self._clients)).tobytes())
        self._sum[:] = 0
        self._log.seek(0)  # the updates of the last round are in this version
        digest = digest_of(model)
        unnamed = self._folder / "partial"
        with unnamed.open("wb") as file:
            file.write(model)
            file.flush()
            os.fdatasync(file.fileno())
        unnamed.rename(self._folder / f"{version % 64}.model")
        descriptor = os.open(self._folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        self._ledger.put((f"version {version}", digest.encode()))
        return model

    def keep_updates(self, version: int, came: list[Came], part_bytes: int) -> None:
        """Have what came on disk, and add it up."""
        rows = []
        for method, properties, body in came:
            digest = digest_of(body)
            numbers, start = np.frombuffer(body, "<f4"), int(properties.message_id) * part_bytes
            assert np.isfinite(numbers @ numbers), "an update is not finite"
            self._sum[start // 4 : start // 4 + len(numbers)] += numbers
            self._log.write(body)
            rows.append((f"update {version} {method.delivery_tag} {digest}", ROW))
        os.fdatasync(self._log.fileno())
        self._ledger.put(*rows)


def serve(shape: Shape, folder: Path) -> None:
    """The server: it declares everything, and begins when the clients are there."""
    connection = connect(shape.url)
    out, answers, inward = publisher(connection), connection.channel(), connection.channel()
    declare(shape, out)
    for number in range(shape.clients):
        out.queue_declare(told(shape, number), durable=True)
    server = Server(folder / "server", shape)
    print("declared", flush=True)
    updates_in = await_clients(shape, inward)
    for version in range(shape.rounds):
        say_version(version)
        model = server.keep_version(version)
        for part in shape.parts:
            send(out, f"{shape.name}.model", model[part])
        for number in range(shape.clients):
            send(out, shape.tasks(number), TASK)
        left = shape.clients * len(shape.parts)
        while left:
            came = _what_came(inward, updates_in, left)
            left -= len(came)
            server.keep_updates(version, came, shape.part_bytes)
            for method, _, _ in came:
                inward.basic_ack(method.delivery_tag)
            for _, properties, _ in came:
                answers.basic_publish("", str(properties.reply_to), ROW)
    say_version(shape.rounds)
    connection.close()


def _what_came(inward: BlockingChannel, updates_in: Iterator[Came], most: int) -> list[Came]:
    came = [next(updates_in)]
    while len(came) < most and inward.get_waiting_message_count():
        came.append(next(updates_in))
    return came


def write_over(path: Path, body: bytes) -> None:
    """Have bytes on disk in place of others of their length."""
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        file.write(body)
        os.fdatasync(file.fileno())


def train(pipe: Connection, folders: list[Path]) -> None:
    """A training process: it is told whose model it is to read, and says that it has trained."""
    outboxes = [Table(folder / "client.sqlite") for folder in folders]
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        trained = np.fromfile(folders[number] / "model", "<f4") + np.float32(1)
        body = trained.tobytes()
        digest = ("digest", digest_of(body).encode())
        if len(body) > INLINE_BYTES:
            write_over(folders[number] / "update", body)
            outboxes[number].put(digest)
        else:
            outboxes[number].put(digest, ("update", body))
        pipe.send(number)


class Trainers:
    """Training processes, each of which trains for one client at a time."""

    def __init__(self, folders: list[Path]) -> None:
        self._idle = queue.SimpleQueue[Connection]()
        context = multiprocessing.get_context("spawn")
        for _ in range(PROCESSES):
            ours, theirs = context.Pipe()
            context.Process(target=train, args=(theirs, folders), daemon=True).start()
            self._idle.put(ours)

    def train(self, number: int) -> None:
        """Have one train for a client."""
        pipe = self._idle.get()
        pipe.send(number)
        pipe.recv()
        self._idle.put(pipe)


def _client(shape: Shape, number: int, folder: Path, trainers: Trainers) -> None:
    client, table = Client(shape, number), Table(folder / "client.sqlite")
    answers_in = client.connection.channel().consume(told(shape, number), auto_ack=True)
    for _ in range(shape.rounds):
        tag, task = client.take()
        digest_of(client.model)  # to compare it costs nothing more
        (folder / "partial").write_bytes(client.model)
        (folder / "partial").rename(folder / "model")
        table.put(("task", task))
        trainers.train(number)
        is_large = 4 * shape.params > INLINE_BYTES
        body = (folder / "update").read_bytes() if is_large else table.get("update")
        update = memoryview(body)
        for index, part in enumerate(shape.parts):
            durable = pika.BasicProperties(
                delivery_mode=2, message_id=str(index), reply_to=told(shape, number)
            )
            client.out.basic_publish(
                "", f"{shape.name}.updates", bytes(update[part]), durable, mandatory=True
            )
        table.delete("update")
        client.done(tag)
        for _ in shape.parts:
            next(answers_in)
    client.connection.close()


def be_clients(shape: Shape, folder: Path) -> None:
    """The clients, each a thread, and what trains for them."""
    folders = [folder / f"client{number}" for number in range(shape.clients)]
    for each in folders:
        each.mkdir()
    trainers = Trainers(folders)
    run_all(
        partial(_client, shape, number, folder, trainers) for number, folder in enumerate(folders)
    )


def main() -> None:
    """Be the server, or the clients."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    given, shape = given_shape(parser)
    read_much()
    (serve if given.role == "server" else be_clients)(shape, given.folder)


if __name__ == "__main__":
    main()
