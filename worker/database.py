"""A worker's database file: transactions that are on disk when they end, or never were.

The agent and its training process use the same file at the same time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from disk import Disk
from worker.errors import StoreError

FILE = "worker.sqlite"
_WAITS = "PRAGMA synchronous = FULL"
_DOES_NOT_WAIT = "PRAGMA synchronous = NORMAL"
_BUSY_S = 60.0  # a payload's row waits for the other process's commit


class Database:
    """The database in a worker's folder. Used by one thread at a time.

    Args:
        folder: The worker's own.
        disk: Where it is.
        durable: Called when something was written, and it and all before it are on disk.

    Raises:
        StoreError: From any method: the disk is full, or worse.
    """

    def __init__(self, folder: Path, disk: Disk, durable: Callable[[], None]) -> None:
        self._durable = durable
        self._unusable = f"{folder / FILE} cannot be used (if it is damaged, move its folder away)"
        with failures(self._unusable):
            self.connection = disk.database(folder / FILE, _BUSY_S)
            self.connection.execute(_WAITS)
            # Debian's SQLite writes zeros over what is deleted: ten pages for each small update.
            self.connection.execute("PRAGMA secure_delete = FAST")

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def make(self, schema: str) -> None:
        """Make the tables, where they are not there yet."""
        with failures(self._unusable):
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.executescript(schema)

    def execute(self, statement: str, values: Sequence[object] = ()) -> int:
        """Change something, within a transaction; how many rows."""
        with failures():
            return self.connection.execute(statement, values).rowcount

    def row(self, query: str, *values: object) -> tuple[Any, ...] | None:
        """The first row of an answer, None if it has none."""
        return next(iter(self.rows(query, *values)), None)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of an answer."""
        with failures():
            return self.connection.execute(query, values).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read within is of one moment, whatever another process writes meanwhile."""
        with failures():
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("COMMIT")

    @contextmanager
    def transaction(self, waits: bool = True) -> Iterator[None]:
        """What is done within is done as a whole, or not at all.

        Args:
            waits: For the disk; else a power cut may undo it.
        """
        db = self.connection
        with failures():
            try:
                if not waits:
                    db.execute(_DOES_NOT_WAIT)
                before = db.total_changes
                db.execute("BEGIN IMMEDIATE")
                yield
                db.execute("COMMIT")
                if waits and db.total_changes > before:  # else there was nothing to wait for
                    self._durable()
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            finally:
                if not waits:
                    db.execute(_WAITS)


@contextmanager
def failures(what: str = "the state folder does not take it") -> Iterator[None]:
    """Whatever the disk or the database does not do within is a `StoreError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{what}: {error}") from error
