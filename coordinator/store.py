"""The coordinator's store: one SQLite database, written in transactions that check the epoch.

Rules: nothing is acked, published or added to a sum before the transaction that says so has
committed; a commit whose outcome is unknown is followed by loading the state again; a process whose
epoch is no longer the store's writes nothing more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError

from coordinator import schema
from coordinator.errors import Fenced, StoreError, in_short
from coordinator.prepared import Prepared, execute
from coordinator.work import Work
from disk import OS_DISK, Disk

BUSY_S = 10.0  # a reader or a fenced process may hold the file for a moment

_EPOCH = Prepared(select(schema.store.c.epoch))


class Store:
    """An open store. `create_or_open`, then `take_epoch` before the first write."""

    def __init__(self, engine: Engine, epoch: int | None, looks_at: Path | None = None) -> None:
        self._engine = engine
        self._looks_at = looks_at  # the file, of one that is only read
        self._writer: Connection | None = None
        self.epoch = epoch

    @classmethod
    def create_or_open(cls, path: Path, federation: str, now: float, disk: Disk = OS_DISK) -> Store:
        """Open the store of a state folder, or make it.

        Args:
            path: The database file.
            federation: Its name; a store serves one federation.
            now: The coordinator's time; a new store's incarnation is its milliseconds, so that a
                later store is always above an earlier one.
            disk: Where the file is.

        Raises:
            StoreError: If the file is not a store, of a newer version, or another federation's.
        """
        store = cls(_engine(path, disk), None)
        with store._or_closed(path):
            with store._engine.begin() as connection:
                if not inspect(connection).get_table_names():
                    _make(connection, federation, now)
                _check(connection, path, federation)
            store._write_ahead()
            disk.sync_folder(path.parent)  # or the file may be gone with all that it holds
        return store

    @classmethod
    def open_to_read(cls, path: Path, disk: Disk = OS_DISK) -> Store:
        """Open an existing store to look at it; nothing in the folder is changed.

        Raises:
            StoreError: If there is none, or the file is not a store of this version.
        """
        if path.name not in disk.names(path.parent):
            raise StoreError(f"there is no store at {path}: has the coordinator ever run here?")
        # Where there is a log, a writer that opens last and leaves would write it into the file.
        # Where there is none, only a writer takes away what SQLite makes to read.
        read_only = f"{path.name}-wal" in disk.names(path.parent)
        store = cls(_engine(path, disk, read_only), None, path)
        with store._or_closed(path), store._engine.connect() as connection:
            _check(connection.execution_options(reading=True), path, None)
        return store

    def close(self) -> None:
        """Let go of the file."""
        self._forget_writer()
        self._engine.dispose()

    @contextlib.contextmanager
    def _or_closed(self, path: Path) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            self.close()
            raise StoreError(f"{path} cannot be opened as a store: {error.orig}") from error
        except StoreError:
            self.close()
            raise

    def _write_ahead(self) -> None:
        """From here on readers and the writer do not wait for each other; the file remembers."""
        connection = self._engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()

    def take_epoch(self) -> int:
        """Become the one who writes: every earlier process is fenced from here on."""
        with self._engine.begin() as connection:
            connection.execute(update(schema.store).values(epoch=schema.store.c.epoch + 1))
            self.epoch = connection.execute(select(schema.store.c.epoch)).scalar_one()
        return self.epoch

    def see_incarnation(self, incarnation: int) -> None:
        """Note that a message of a newer life came, for `take_incarnation`."""
        with self.transaction() as work:
            work.see_incarnation(incarnation)

    def take_incarnation(self, above: int, now: float) -> int:
        """Begin a new life after a restore: an incarnation above all that were seen.

        Tasks of the old life end: what answers them is of another timeline.
        """
        with self.transaction() as work:
            incarnation = max(above + 1, int(now * 1000), work.newest_incarnation() + 1)
            work.set_incarnation(incarnation)
            work.end_open_tasks("the store was restored", now)
        return incarnation

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Work]:
        """One transaction: all of it is on disk when the block ends, or nothing.

        Raises:
            Fenced: If another process has taken the store over.
        """
        if self._writer is None:
            self._writer = self._engine.connect()
        try:
            with self._writer.begin():
                self._require_epoch(self._writer)
                yield Work(self._writer)
        except BaseException:
            self._forget_writer()
            raise

    def _forget_writer(self) -> None:
        """The connection that writes is another next time."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.invalidate()  # closed, and not kept for another use
            writer.close()

    @contextlib.contextmanager
    def leading(self) -> Iterator[Work]:
        """Look at the store, and whether this process may still write, before it does beside it.

        Raises:
            Fenced: If another process has taken the store over.
        """
        with self._reading() as connection:
            self._require_epoch(connection)
            yield Work(connection)

    def _require_epoch(self, connection: Connection) -> None:
        epoch = _EPOCH.run(connection, {})[0][0]
        if epoch != self.epoch:
            raise Fenced(
                f"another coordinator has taken this store over (epoch {epoch}, ours "
                f"{self.epoch}): this one stops"
            )

    @contextlib.contextmanager
    def reading(self) -> Iterator[Work]:
        """Look at the store without the right to write.

        Raises:
            StoreError: If it is open to be read only, and cannot be.
        """
        try:
            with self._reading() as connection:
                yield Work(connection)
        except DatabaseError as error:
            if self._looks_at is None:
                raise
            raise StoreError(f"{self._looks_at} cannot be read: {in_short(error)}") from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A transaction that does not write: all that is read in it is of one moment."""
        with self._engine.connect() as connection:
            connection = connection.execution_options(reading=True)
            connection.begin()  # what is prepared would not begin it
            yield connection


def _engine(path: Path, disk: Disk, read_only: bool = False) -> Engine:
    url = URL.create("sqlite", database=str(path))  # as text, a "?" in the path would end it
    engine = create_engine(url, creator=lambda: disk.database(path, BUSY_S, read_only))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock at once, or two could read, decide, and collide at the commit.
        reading = connection.get_execution_options().get("reading")
        execute(connection, "BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _make(connection: Connection, federation: str, now: float) -> None:
    schema.metadata.create_all(connection)
    first = {
        "schema_version": schema.SCHEMA_VERSION,
        "incarnation": int(now * 1000),
        "seen_incarnation": 0,
        "epoch": 0,
        "federation": federation,
    }
    connection.execute(schema.store.insert().values(first))


def _check(connection: Connection, path: Path, federation: str | None) -> None:
    """Refuse a database that is not this program's, before anything in it is changed."""
    if schema.store.name not in inspect(connection).get_table_names():
        raise StoreError(f"{path} is no store of a coordinator: use another coordinator.state_dir")
    version = connection.execute(select(schema.store.c.schema_version)).scalar_one()
    if version != schema.SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version}, this program knows {schema.SCHEMA_VERSION}: "
            "use the program that wrote it, or another state_dir"
        )
    named = connection.execute(select(schema.store.c.federation)).scalar_one()
    if federation is not None and named != federation:
        raise StoreError(
            f"{path} belongs to federation {named!r}, not {federation!r}: "
            "use another coordinator.state_dir"
        )
