"""SQLite databases of a simulated disk: in memory, with a commit that can go wrong.

SQLite keeps its promise: what was committed is there, what was not is rolled back. What remains to
go wrong is that the process ends before or after a commit, that the disk refuses it, and that it
says no though the commit was made.
"""

from __future__ import annotations

import itertools
import sqlite3
from typing import Any

from simulation.mishaps import Mishaps

_numbers = itertools.count()


class SimulatedConnection(sqlite3.Connection):
    """A process's connection; transactions end with `COMMIT` or `commit()`."""

    mishaps: Mishaps
    name = ""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """As in SQLite, with mishaps at a commit."""
        if sql == "COMMIT":
            self.commit()
            return self.cursor()
        return super().execute(sql, parameters)

    def commit(self) -> None:
        """As in SQLite, with mishaps before and after."""
        if not self.in_transaction:
            return
        self.mishaps.at(f"commit {self.name}")
        if self.mishaps.full and not self.mishaps.rows_fit:
            self.mishaps.counts["disk full"] += 1
            raise sqlite3.OperationalError("database or disk is full")
        failed = self.mishaps.sync_fails(f"commit {self.name}")
        if failed and self.mishaps.steps % 2:  # told before anything was written
            raise sqlite3.OperationalError("disk I/O error")
        super().commit()
        if failed:  # it is there all the same, and nobody knows
            raise sqlite3.OperationalError("disk I/O error")


class Database:
    """A database's content, which lives as long as this object."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._uri = f"file:simulated-{next(_numbers)}?mode=memory&cache=shared"
        self._open: list[SimulatedConnection] = []
        self.anchor = sqlite3.connect(
            self._uri, uri=True, isolation_level=None, check_same_thread=False
        )
        self.anchor.execute("PRAGMA read_uncommitted = FALSE")

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        (pages,), (page_bytes,) = (
            self.anchor.execute(f"PRAGMA {fact}").fetchone() for fact in ("page_count", "page_size")
        )
        return int(pages * page_bytes)

    def copy(self) -> Database:
        """Another database with what is committed in this one."""
        made = Database(self._name)
        self.anchor.backup(made.anchor)
        return made

    def connect(self, mishaps: Mishaps, read_only: bool) -> SimulatedConnection:
        """A connection of a process."""
        connection = sqlite3.connect(
            self._uri,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            factory=SimulatedConnection,
        )
        connection.mishaps, connection.name = mishaps, self._name
        if read_only:
            connection.execute("PRAGMA query_only = TRUE")
        self._open.append(connection)
        return connection

    def end_process(self, mishaps: Mishaps) -> None:
        """A process is no more: what it had not committed is rolled back."""
        for connection in [one for one in self._open if one.mishaps is mishaps]:
            self._open.remove(connection)
            connection.close()
