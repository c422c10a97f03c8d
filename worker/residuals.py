"""What the updates of a run left out, on disk, until a verdict says whether that counts.

    update 7: trained d, sent s ──▶ d - s, open ──(counted)──▶ counted ─╮
                                        │                               ├──▶ one file: their sum
                                        ╰──(any other verdict)──▶ gone  │
    the sum of the counted before ──────────────────────────────────────╯

Rules of the file:

- What was sent of the counted updates, and what is kept here of them, is together what was trained
  in them: nothing is lost, and nothing is twice. That holds in whatever order verdicts come, since
  what an update left is kept beside what others left, and not added to it before its verdict.
- A row is written in the transaction that puts its update into the outbox; a verdict changes it in
  the one that notes the verdict. So a crash at any step finds all of it, or nothing.
- The next training adds all that is here, also what is open: most updates are counted, and who
  waited for the verdict would send the same numbers twice and take them back (decisions/0039).
- No more than `OPEN_MAX` are open. The session takes no task before there is room (`worker.owed`);
  if it waited in vain, of the oldest update nothing is kept.
- Without arrays: the agent notes verdicts here. Training adds up (`worker.feedback`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from disk import Disk, write_durably
from schemas.buffer import Buffer
from schemas.digest import digest_of
from schemas.messages import Update
from worker.disk import make_folder
from worker.errors import TaskGoneError
from worker.owed import OPEN_MAX, Left

SCHEMA = """
CREATE TABLE IF NOT EXISTS residuals (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    update_id TEXT UNIQUE,
    run_id TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    layout_digest TEXT NOT NULL,
    file TEXT NOT NULL,
    digest TEXT NOT NULL,
    counted INTEGER NOT NULL DEFAULT 0
) STRICT;
"""

COUNTED = "counted"


@dataclass(frozen=True, slots=True)
class Residual:
    """One file of numbers: what an update left, or what several that were counted did."""

    number: int
    file: str
    digest: str
    counted: bool


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a training leaves, to be kept with its update.

    Attributes:
        left: What its update does not say of what was trained.
        summed: The sum of those that were counted; None if they are not put together.
        parts: The numbers of those that it was made of.
        damaged: The numbers of those that are of no use.
    """

    left: Buffer
    summed: Buffer | None = None
    parts: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a feedback, durable, and their digests; no row names them yet."""

    left: tuple[str, str]
    summed: tuple[str, str] | None


class Residuals:
    """What is left of updates, in a worker's state folder.

    What changes rows is to be called in a transaction of the caller, and gives the names of files
    that are to be removed once it is committed.

    Args:
        folder: The worker's own.
        disk: Where it is.
        db: The store's.
    """

    def __init__(self, folder: Path, disk: Disk, db: sqlite3.Connection) -> None:
        self._folder = folder / "residuals"
        self._disk = disk
        self._db = db

    def of(self, update: Update) -> list[Residual]:
        """What is here of the run and the layout that an update is of, the oldest first."""
        rows = self._db.execute(
            "SELECT number, file, digest, counted FROM residuals "
            "WHERE (run_id, incarnation, layout_digest) = (?, ?, ?) ORDER BY number",
            (update.run_id, update.incarnation, update.layout_digest),
        )
        return [Residual(number, file, digest, bool(by)) for number, file, digest, by in rows]

    def open(self) -> tuple[Left, ...]:
        """Of which updates it is not known whether they count, the oldest first."""
        rows = self._db.execute(
            "SELECT update_id, run_id, incarnation FROM residuals WHERE counted = 0 ORDER BY number"
        )
        return tuple(Left(*row) for row in rows)

    def read(self, residual: Residual) -> bytes | None:
        """Its numbers; None if the disk has lost or damaged them.

        Raises:
            OSError: They cannot be read now.
        """
        try:
            found = self._disk.read(self._folder / residual.file)
        except FileNotFoundError:
            return None
        return found if digest_of(found) == residual.digest else None

    def write(self, update: Update, feedback: Feedback) -> Files:
        """Write the files of a feedback, durable on return.

        Raises:
            OSError: They cannot be written.
        """
        make_folder(self._disk, self._folder)
        left = self._file(update.update_id, feedback.left)
        summed = None
        if feedback.summed is not None:
            summed = self._file(f"{update.update_id}-sum", feedback.summed)
        return Files(left, summed)

    def keep(self, update: Update, feedback: Feedback, files: Files) -> list[str]:
        """Let rows name the files of a feedback in place of what it was made of.

        What is of another run goes, and what waits for a verdict for too long.

        Raises:
            TaskGoneError: Another process has been here meanwhile.
        """
        named = [file for file in (files.left, files.summed) if file is not None]
        if any(self._disk.size(self._folder / file) is None for file, _ in named):
            raise TaskGoneError(f"what is left of task {update.task_id} was swept away")
        key = (update.run_id, update.incarnation, update.layout_digest)
        gone: list[str] = []
        for number in feedback.parts:
            gone += self._delete("number = ?", number)
        if len(gone) != len(feedback.parts):
            raise TaskGoneError(f"another training than that of task {update.task_id} was faster")
        for number in feedback.damaged:
            gone += self._delete("number = ?", number)
        gone += self._delete("(run_id, incarnation, layout_digest) != (?, ?, ?)", *key)
        if files.summed is not None:
            self._insert(None, key, files.summed, counted=True)
        self._insert(update.update_id, key, files.left, counted=False)
        gone += self._delete(
            "counted = 0 AND number NOT IN "
            "(SELECT number FROM residuals WHERE counted = 0 ORDER BY number DESC LIMIT ?)",
            OPEN_MAX,
        )
        return gone

    def settle(self, update_id: str, verdict: str) -> list[str]:
        """An update has its verdict."""
        if verdict != COUNTED:
            return self.forget(update_id)
        self._db.execute("UPDATE residuals SET counted = 1 WHERE update_id = ?", (update_id,))
        return []

    def forget(self, update_id: str) -> list[str]:
        """An update is given up."""
        return self._delete("update_id = ?", update_id)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that no row names any more.

        Raises:
            OSError: One of them cannot be removed; `sweep` does it at the next start.
        """
        for name in names:
            self._disk.remove(self._folder / name)

    def sweep(self) -> None:
        """Remove what a crash left: files that no row names. Called under the lock of a writer."""
        named = {file for (file,) in self._db.execute("SELECT file FROM residuals")}
        self.remove(name for name in self._disk.names(self._folder) if name not in named)

    def _file(self, name: str, data: Buffer) -> tuple[str, str]:
        digest = digest_of(data)
        # By its content too: what a process that outlives its agent writes is another file.
        file = f"{name}-{digest[:16]}"
        write_durably(self._disk, self._folder / file, data)
        return file, digest

    def _insert(
        self,
        update_id: str | None,
        key: tuple[str, int, str],
        file: tuple[str, str],
        counted: bool,
    ) -> None:
        self._db.execute(
            "INSERT INTO residuals "
            "(update_id, run_id, incarnation, layout_digest, file, digest, counted) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (update_id, *key, *file, int(counted)),
        )

    def _delete(self, condition: str, *values: object) -> list[str]:
        # Not by RETURNING: SQLite has it since 3.35 only.
        found = self._db.execute(f"SELECT file FROM residuals WHERE {condition}", values).fetchall()
        if found:
            self._db.execute(f"DELETE FROM residuals WHERE {condition}", values)
        return [file for (file,) in found]
