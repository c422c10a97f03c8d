"""The worker's memory on disk: inbox, outbox, and marks of what is done.

    inbox    the task in hand, with what the coordinator said to start from
    outbox   updates that are finished and not yet in safe hands; the payload is a file beside it
    marks    the tasks that were done and what became of them, longer than the outbox needs
    residuals   what updates left out, if their codec does that (`worker.residuals`)

Rules of the file:

- A method that returns has its effect on disk (WAL, synchronous=FULL); one that raises or dies had
  none. The agent and its training process use the same store at the same time.
- A task leaves the inbox for the outbox in one transaction, after its payload is durable. Files
  that no row names are leftovers, removed by `sweep` under the write lock that a row needs too.
- A payload's file is named by update *and* content, so a process that outlives its agent for a
  moment cannot change what another one's row stands for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from disk import OS_DISK, Disk, write_durably
from schemas.buffer import Buffer
from schemas.digest import digest_of, digest_of_stream
from schemas.errors import DecodeError
from schemas.messages import Start, Task, Update, decode, encode, part_count
from worker import residuals
from worker.disk import make_folder
from worker.errors import PayloadLostError, StoreError, TaskGoneError, WrongStateError
from worker.parcel import Parcel, Trained
from worker.residuals import Feedback, Residual, Residuals

FORMAT = 5
MARKS_KEPT = 10_000
DAMAGED_KEPT = 8
_CHECKED_AT_ONCE = 2**20  # bytes
_BUSY_S = 60.0  # a payload's row waits for the other process's commit

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS inbox (
    task_id TEXT PRIMARY KEY,
    task BLOB NOT NULL,
    start BLOB,
    attempts INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    update_id TEXT NOT NULL UNIQUE,
    header BLOB NOT NULL,
    file TEXT NOT NULL,
    part_bytes INTEGER NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS marks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL UNIQUE,
    update_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    base_version INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    kind TEXT NOT NULL,
    verdict TEXT
) STRICT;
"""

Known = Literal["new", "held", "open", "done"]

_MessageT = TypeVar("_MessageT", Task, Start, Update)


@dataclass(frozen=True, slots=True)
class HeldTask:
    """The inbox's row.

    Attributes:
        start: What to train on, None until the coordinator has said so.
        attempts: Trainings begun; each that did not end is a crash.
    """

    task: Task
    start: Start | None
    attempts: int


class Store:
    """Inbox, outbox and marks in a folder. Used by one thread at a time.

    Args:
        folder: The worker's own.
        disk: Where it is.

    Raises:
        StoreError: From any method: the disk is full, or worse.
    """

    def __init__(self, folder: Path, disk: Disk = OS_DISK) -> None:
        self.path = folder
        self._disk = disk
        self._payloads = make_folder(disk, make_folder(disk, folder) / "outbox")
        with _failures():
            self._db = disk.database(folder / "worker.sqlite", _BUSY_S)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA + residuals.SCHEMA)
            self.residuals = Residuals(folder, disk, self._db)
            disk.sync_folder(folder)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read within is of one moment, whatever another process writes meanwhile."""
        with _failures():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("COMMIT")

    def claim(self, worker_id: str, federation: str) -> None:
        """Make the folder this worker's in a federation, or check that it is.

        Raises:
            WrongStateError: It is another worker's (its update ids would be wrong), of another
                federation, or of a newer version.
        """
        facts = ("worker_id", worker_id), ("federation", federation), ("format", str(FORMAT))
        for name, value in facts:
            with self._transaction():
                self._db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
            found = self._rows("SELECT value FROM facts WHERE name = ?", name)[0][0]
            if found != value:
                raise WrongStateError(
                    f"{self.path}: expected the state of {name} {value}, came that of {found}; "
                    "give each worker a folder of its own with --state-dir"
                )

    # The inbox.

    def keep_task(self, task: Task) -> None:
        """Put a task into the inbox, as the only one; nothing changes if it is there."""
        with self._transaction():
            # A task whose removal failed must not come back in place of this one.
            self._db.execute("DELETE FROM inbox WHERE task_id != ?", (task.task_id,))
            self._db.execute(
                "INSERT OR IGNORE INTO inbox (task_id, task) VALUES (?, ?)",
                (task.task_id, encode(task)),
            )

    def keep_start(self, start: Start) -> None:
        """Remember what a task is to be trained on."""
        with self._transaction():
            self._db.execute(
                "UPDATE inbox SET start = ? WHERE task_id = ?", (encode(start), start.task_id)
            )

    def count_attempt(self, task_id: str) -> None:
        """Count a training before it begins."""
        with self._transaction():
            self._db.execute(
                "UPDATE inbox SET attempts = attempts + 1 WHERE task_id = ?", (task_id,)
            )

    def forgive_attempt(self, task_id: str) -> None:
        """Take back an attempt that was stopped on purpose."""
        with self._transaction():
            self._db.execute(
                "UPDATE inbox SET attempts = max(attempts - 1, 0) WHERE task_id = ?", (task_id,)
            )

    def drop_task(self, task_id: str) -> None:
        """Give a task up."""
        with self._transaction():
            self._db.execute("DELETE FROM inbox WHERE task_id = ?", (task_id,))

    def held(self) -> HeldTask | None:
        """The task in hand."""
        found = self._row("SELECT task, start, attempts FROM inbox ORDER BY rowid LIMIT 1")
        if found is None:
            return None
        task, start, attempts = found
        message = None if start is None else _decoded(Start, start)
        return HeldTask(_decoded(Task, task), message, attempts)

    def known(self, task_id: str) -> Known:
        """What is known of a task: nothing, in hand, finished and in the outbox, or done."""
        if self._row("SELECT 1 FROM inbox WHERE task_id = ?", task_id):
            return "held"
        mark = self._row("SELECT update_id FROM marks WHERE task_id = ?", task_id)
        if mark is None:
            return "new"
        open_row = self._row("SELECT 1 FROM outbox WHERE update_id = ?", mark[0])
        return "open" if open_row else "done"

    # From inbox to outbox: called in the training process.

    def finish(
        self,
        update: Update,
        part_bytes: int,
        payload: Buffer,
        feedback: Feedback | None = None,
    ) -> Parcel:
        """Put a finished update into the outbox and its task out of the inbox.

        Args:
            update: Its header; what it says of the payload and its parts is filled in here.
            part_bytes: The largest payload of one message.
            payload: What the update carries.
            feedback: What it leaves for later updates, if its codec leaves something out.

        Returns:
            What is in the outbox, or was: an update that was put there before stays as it is. So
            this may be tried again after a commit of which nobody knows whether it was made.

        Raises:
            TaskGoneError: The task was given up meanwhile.
        """
        update = _described(update, part_bytes, payload)
        file = self._payloads / f"{update.update_id}-{update.payload_digest[:16]}"
        before = self._finished_before(update)
        files, left_over = None, list[str]()
        if before is None:
            if self.known(update.task_id) != "held":
                raise TaskGoneError(f"task {update.task_id} is not in the inbox any more")
            with _failures():
                write_durably(self._disk, file, payload)
                files = None if feedback is None else self.residuals.write(update, feedback)
        with self._transaction():
            gone = self._db.execute("DELETE FROM inbox WHERE task_id = ?", (update.task_id,))
            before = before or self._finished_before(update)
            if before is not None:
                return before
            if gone.rowcount != 1 or self._disk.size(file) is None:
                raise TaskGoneError(f"task {update.task_id} is not in the inbox any more")
            self._db.execute(
                "INSERT INTO outbox (update_id, header, file, part_bytes) VALUES (?, ?, ?, ?)",
                (update.update_id, encode(update), file.name, part_bytes),
            )
            self._db.execute(
                "INSERT INTO marks (task_id, update_id, run_id, base_version, incarnation, kind) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    update.task_id,
                    update.update_id,
                    update.run_id,
                    update.base_version,
                    update.incarnation,
                    update.kind,
                ),
            )
            if feedback is not None and files is not None:
                left_over = self.residuals.keep(update, feedback, files)
        if left_over:
            self._remove_residuals(left_over)
        return _parcel(update, sent=False)

    def earlier(self, update: Update) -> Iterator[tuple[Residual, bytes | None]]:
        """What earlier updates left for one, and its numbers; None if they are damaged."""
        with _failures():
            for residual in self.residuals.of(update):
                yield residual, self.residuals.read(residual)

    def _finished_before(self, update: Update) -> Parcel | None:
        mark = self._row(
            "SELECT update_id FROM marks WHERE update_id = ? OR task_id = ?",
            update.update_id,
            update.task_id,
        )
        if mark is None:
            return None
        return self.parcel(mark[0]) or _parcel(replace(update, update_id=mark[0]), sent=True)

    # The outbox.

    def parcels(self) -> tuple[Parcel, ...]:
        """What is in the outbox, the oldest first."""
        rows = self._rows("SELECT header, sent FROM outbox ORDER BY number")
        return tuple(_parcel(_decoded(Update, header), bool(sent)) for header, sent in rows)

    def parcel(self, update_id: str) -> Parcel | None:
        """One update of the outbox."""
        found = self._row("SELECT header, sent FROM outbox WHERE update_id = ?", update_id)
        return None if found is None else _parcel(_decoded(Update, found[0]), bool(found[1]))

    def parcel_of(self, task_id: str) -> Parcel | None:
        """The update of a task, if it is in the outbox."""
        mark = self._row("SELECT update_id FROM marks WHERE task_id = ?", task_id)
        return None if mark is None else self.parcel(mark[0])

    def update(self, update_id: str) -> tuple[Update, int]:
        """The header of an update in the outbox, and the size of its parts.

        Raises:
            PayloadLostError: It is not there.
        """
        header, _, part_bytes = self._open_row(update_id)
        return header, part_bytes

    def payload(self, update_id: str, start: int, end: int) -> bytes:
        """Bytes of an update's payload.

        Raises:
            PayloadLostError: The file is missing or shorter.
            StoreError: It cannot be read now (too many open files, say): it may be later.
        """
        file = self._payloads / self._open_row(update_id)[1]
        with _failures():
            try:
                found = self._disk.read(file, start, end - start)
            except FileNotFoundError as error:
                raise PayloadLostError(f"{file} is missing") from error
        if len(found) != end - start:
            raise PayloadLostError(
                f"{file}: expected {end - start} bytes at {start}, came {len(found)}"
            )
        return found

    def view_payload(self, update_id: str) -> memoryview:
        """An update's payload in place, as long as the view is used, whatever becomes of the file.

        Raises:
            PayloadLostError: The file is missing or shorter.
            StoreError: As of `payload`.
        """
        update, _ = self.update(update_id)
        file = self._payloads / self._open_row(update_id)[1]
        with _failures():
            try:
                found = self._disk.map(file, 0, update.payload_bytes)
            except FileNotFoundError as error:
                raise PayloadLostError(f"{file} is missing") from error
        if found.nbytes != update.payload_bytes:
            raise PayloadLostError(f"{file} is shorter than {update.payload_bytes} bytes")
        return found

    def whole_payload(self, update_id: str) -> bytes:
        """A payload that goes in one message, if it is still what was written.

        Raises:
            PayloadLostError: It is missing or damaged.
            StoreError: As of `payload`.
        """
        update, _ = self.update(update_id)
        payload = self.payload(update_id, 0, update.payload_bytes)
        _require_digest(update, digest_of(payload))
        return payload

    def check_payload(self, update_id: str) -> None:
        """Look whether a payload of any size is still what was written.

        Raises:
            PayloadLostError: It is missing or damaged.
            StoreError: As of `payload`.
        """
        update, _ = self.update(update_id)
        size = update.payload_bytes
        starts = range(0, size, _CHECKED_AT_ONCE)
        chunks = (self.payload(update_id, at, min(at + _CHECKED_AT_ONCE, size)) for at in starts)
        _require_digest(update, digest_of_stream(chunks))

    def mark_sent(self, update_id: str, sent: bool) -> None:
        """Remember that all parts of an upload were confirmed, or that some are wanted again."""
        with self._transaction():
            self._db.execute(
                "UPDATE outbox SET sent = ? WHERE update_id = ?", (int(sent), update_id)
            )

    def release(self, update_id: str) -> None:
        """Take an update that is in safe hands out of the outbox; its mark stays."""
        with self._transaction():
            self._db.execute("DELETE FROM outbox WHERE update_id = ?", (update_id,))
        self._remove_payload(update_id)

    def settle(self, update_id: str, verdict: str) -> bool:
        """Note an update's verdict and take it out of the outbox; False if that was known."""
        with self._transaction():
            noted = self._db.execute(
                "UPDATE marks SET verdict = ? WHERE update_id = ? AND verdict IS NULL",
                (verdict, update_id),
            )
            self._db.execute("DELETE FROM outbox WHERE update_id = ?", (update_id,))
            left_over = self.residuals.settle(update_id, verdict)
        self._remove_payload(update_id)
        self._remove_residuals(left_over)
        return noted.rowcount == 1

    def forget(self, update_id: str) -> None:
        """Give up an update whose payload is lost, mark and all: its task may be trained again.

        What is left of the payload is put aside, for people.
        """
        with self._transaction():
            self._db.execute("DELETE FROM marks WHERE update_id = ?", (update_id,))
            self._db.execute("DELETE FROM outbox WHERE update_id = ?", (update_id,))
            left_over = self.residuals.forget(update_id)
        self._remove_residuals(left_over)
        aside = make_folder(self._disk, self.path / "damaged")
        with _failures():
            for file in self._payloads_of(update_id):
                self._disk.move(file, aside / file.name)
                self._disk.touch(aside / file.name)
            put = [aside / name for name in self._disk.names(aside)]
            for file in sorted(put, key=self._disk.touched_ns, reverse=True)[DAMAGED_KEPT:]:
                self._disk.remove(file)

    # The marks.

    def last_trained(self, but: str = "") -> Trained:
        """The run last worked for, and the newest version trained on in it.

        Args:
            but: An update that is left out, as if it had never been.
        """
        found = self._row(
            "WITH trained AS (SELECT * FROM marks WHERE update_id != ?1 AND kind = 'train') "
            "SELECT run_id, max(base_version), incarnation FROM trained WHERE "
            "(run_id, incarnation) = (SELECT run_id, incarnation FROM trained "
            "ORDER BY number DESC LIMIT 1) GROUP BY run_id",
            but,
        )
        return Trained() if found is None else Trained(*found)

    def unheard(self, limit: int) -> tuple[str, ...]:
        """The newest updates, out of the outbox, whose verdict nobody has told us."""
        rows = self._rows(
            "SELECT update_id FROM marks WHERE verdict IS NULL "
            "AND update_id NOT IN (SELECT update_id FROM outbox) ORDER BY number DESC LIMIT ?",
            limit,
        )
        return tuple(update_id for (update_id,) in rows)

    def trim_marks(self) -> None:
        """Remove the oldest marks, as far as nothing in the outbox needs them."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM marks WHERE number <= (SELECT max(number) FROM marks) - ? "
                "AND update_id NOT IN (SELECT update_id FROM outbox) "
                "AND update_id NOT IN (SELECT update_id FROM residuals WHERE counted = 0)",
                (MARKS_KEPT,),
            )

    def sweep(self) -> None:
        """Remove leftovers of a crash, and the oldest marks. Called at start.

        Not later: what a training process is about to give a row would go too.
        """
        self.trim_marks()
        with self._transaction():
            named = {file for (file,) in self._rows("SELECT file FROM outbox")}
            for name in self._disk.names(self._payloads):
                if name not in named:
                    self._disk.remove(self._payloads / name)
            self.residuals.sweep()

    def _remove_residuals(self, names: list[str]) -> None:
        with _failures():
            self.residuals.remove(names)

    def _remove_payload(self, update_id: str) -> None:
        with _failures():
            for file in self._payloads_of(update_id):
                self._disk.remove(file)

    def _payloads_of(self, update_id: str) -> list[Path]:
        names = self._disk.names(self._payloads)
        return [self._payloads / name for name in names if name.startswith(f"{update_id}-")]

    def _open_row(self, update_id: str) -> tuple[Update, str, int]:
        found = self._row(
            "SELECT header, file, part_bytes FROM outbox WHERE update_id = ?", update_id
        )
        if found is None:
            raise PayloadLostError(f"update {update_id} is not in the outbox")
        header, file, part_bytes = found
        try:
            return _decoded(Update, header), file, part_bytes
        except StoreError as error:  # bytes on disk do not mend themselves
            raise PayloadLostError(f"the header of update {update_id} is damaged") from error

    def _row(self, query: str, *values: object) -> tuple[Any, ...] | None:
        return next(iter(self._rows(query, *values)), None)

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with _failures():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _failures():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the state folder does not take it: {error}") from error


def _described(update: Update, part_bytes: int, payload: Buffer) -> Update:
    payload_bytes = memoryview(payload).nbytes
    return replace(
        update,
        payload_digest=digest_of(payload),
        payload_bytes=payload_bytes,
        parts=0 if payload_bytes <= part_bytes else part_count(payload_bytes, part_bytes),
    )


def _require_digest(update: Update, digest: str) -> None:
    if digest != update.payload_digest:
        raise PayloadLostError(f"the payload of update {update.update_id} is not what was written")


def _parcel(update: Update, sent: bool) -> Parcel:
    return Parcel(
        update_id=update.update_id,
        task_id=update.task_id,
        run_id=update.run_id,
        base_version=update.base_version,
        payload_bytes=update.payload_bytes,
        parts=update.parts,
        sent=sent,
        incarnation=update.incarnation,
        kind=update.kind,
    )


def _decoded(kind: type[_MessageT], body: bytes) -> _MessageT:
    try:
        message, _ = decode(body)
    except DecodeError as error:
        raise StoreError(f"the state folder holds a damaged {kind.__name__}: {error}") from error
    assert isinstance(message, kind), "the store holds what it was given"
    return message
