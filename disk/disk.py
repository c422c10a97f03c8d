"""What a service asks of its disk.

Rules of the file:

- These are the steps that a power cut can come between. Bytes are durable after `File.sync`, an
  entry (a file's or folder's name, its removal, its new place) after `sync_folder` of the folder it
  is in. Nothing else makes anything durable.
- Whoever wants more (a file that is there whole or not at all) builds it of these steps
  (`disk.durable`), so that a simulated disk sees the same steps as the real one.
- A database is SQLite's, which keeps its own promise: what it committed with full synchronisation
  is durable. Its file's name is an entry like any other.
- Everything raises `OSError` when the disk refuses, and nothing else; a database `sqlite3.Error`.
- `tests/contracts/disk_contract.py` says the rest: what is refused, and how.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Protocol

from schemas.buffer import Buffer


class File(Protocol):
    """An open file that is being written."""

    def write(self, data: Buffer) -> object:
        """Write behind what was written: read from `sync` or `close` on, durable after `sync`.

        Raises:
            ValueError: If the file is closed.
        """
        ...

    def flush(self) -> None:
        """Hand what was written to the system, as `close` does, but for what it says to that.

        Raises:
            OSError: If it does not take it.
            ValueError: If the file is closed.
        """
        ...

    def sync(self) -> None:
        """Make all that was written durable. If it fails, any of it may be lost.

        Raises:
            ValueError: If the file is closed.
        """
        ...

    def tell(self) -> int:
        """Bytes from the start of the file to where the next write goes."""
        ...

    def cut(self) -> None:
        """End the file where the next write goes, if it was written over; durable after `sync`.

        Raises:
            ValueError: If the file is closed.
        """
        ...

    def close(self) -> None:
        """Let go of the file; what was not synced may be lost. Safe to call twice."""
        ...


class Pages(Protocol):
    """An open file that is written in place, anywhere and again."""

    def read(self, start: int, length: int) -> memoryview:
        """Bytes of the file, fewer if it ends before; they may change with the next `write`."""
        ...

    def write(self, start: int, data: Buffer) -> None:
        """Write at a place; read from then on, durable after `sync`. A gap before it is zeros.

        Raises:
            OSError: If the disk has no room; some of it may be written.
            ValueError: If the file is closed.
        """
        ...

    def sync(self) -> None:
        """Make all that was written durable. If it fails, any of it may be lost.

        What was lost is written again, not synced again.

        Raises:
            ValueError: If the file is closed.
        """
        ...

    def close(self) -> None:
        """Let go of the file; what was not synced may be lost. Safe to call twice."""
        ...


class Lock(Protocol):
    """The right to be the one process of a folder; the system frees it however the process ends."""

    def close(self) -> None:
        """Let another process have it. Safe to call twice."""
        ...


class Disk(Protocol):
    """The steps that files are made of. See the rules at the top of the file."""

    def create(self, path: Path, *, lasting: bool = True, over: Path | None = None) -> File:
        """Open a file to write it anew; what was there is gone.

        Args:
            path: Of the file.
            lasting: It is to be synced, so the system may begin to write it out at once.
            over: A file of the same file system that nobody needs any more, if there is one: it is
                given the name, and written over from its start, which costs a fraction of a new
                file and a removal. Until `File.cut` what it had lies behind what was written. One
                that somebody reads, or that has another name, is left alone. No other file may
                ever have its name.
        """
        ...

    def append(self, path: Path, *, lasting: bool = True) -> File:
        """Open a file to write behind what is there; it is made if there is none.

        Args:
            path: Of the file.
            lasting: As of `create`.
        """
        ...

    def pages(self, path: Path, over: Path | None = None) -> Pages:
        """Open a file to read and write anywhere in it; it is made if there is none.

        Args:
            path: Of the file.
            over: As of `create`, where there is no file yet.
        """
        ...

    def read(self, path: Path, start: int = 0, length: int = -1) -> bytes:
        """Bytes of a file, fewer if it ends before; all from `start` on if `length` is below 0."""
        ...

    def map(self, path: Path, start: int = 0, length: int = -1) -> memoryview:
        """Bytes of a file in place, as many as `read` gives; they are read when they are looked at.

        For bytes that nobody changes or cuts any more. They stay as long as the view does, whatever
        becomes of the file's name (see `create`); `disk.let_go` gives their memory back meanwhile.
        Each view keeps the file open.
        """
        ...

    def map_private(self, path: Path) -> memoryview:
        """All bytes of a file in place, to be written to; what is written stays with the view."""
        ...

    def size(self, path: Path) -> int | None:
        """Bytes of a file, None if there is no such file."""
        ...

    def is_folder(self, path: Path) -> bool:
        """Whether there is a folder of that name."""
        ...

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, in their order; empty if there is no such folder."""
        ...

    def make_folder(self, folder: Path) -> None:
        """Make one folder that only its owner reads; nothing happens if it is there."""
        ...

    def move(self, path: Path, to: Path) -> None:
        """Give a file another name; what had that name is gone."""
        ...

    def link(self, path: Path, to: Path) -> None:
        """Give a file another name as well; nothing may have that name.

        The file is there as long as one of its names is.

        Raises:
            OSError: Also if the file system gives a file one name only.
        """
        ...

    def truncate(self, path: Path, length: int) -> None:
        """Cut what a file has behind a length; nothing happens if it is not longer, or not there.

        Close it first: what is written to it and still held back would come behind the cut. Not
        durable by itself: after a power cut the file may be as long as it was.
        """
        ...

    def remove(self, path: Path) -> None:
        """Remove a file; nothing happens if there is none."""
        ...

    def remove_folder(self, folder: Path) -> None:
        """Remove an empty folder; nothing happens if there is none."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Make the entries of a folder durable."""
        ...

    def touched_ns(self, path: Path) -> int:
        """When a file or folder was changed or touched last, in nanoseconds of the disk's clock."""
        ...

    def age_s(self, path: Path) -> float:
        """How long ago that was, in seconds of the disk's clock; below 0 if that was set back."""
        ...

    def touch(self, path: Path) -> None:
        """Count a file as changed now."""
        ...

    def lock(self, path: Path) -> Lock:
        """Take a lock file.

        Raises:
            BlockingIOError: If another process has it.
        """
        ...

    def database(self, path: Path, busy_s: float, read_only: bool = False) -> sqlite3.Connection:
        """Open a SQLite database, made if there is none; transactions begin with `BEGIN` only.

        Args:
            path: Its file.
            busy_s: How long a statement waits for another process's transaction.
            read_only: Only to look: there must be one, and nothing beside it is changed.

        Raises:
            sqlite3.Error: If it cannot be opened.
        """
        ...
