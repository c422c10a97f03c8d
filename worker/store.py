"""The worker's memory on disk: inbox, outbox, and marks of what is done.

    inbox    the task in hand, with what the coordinator said to start from
    outbox   updates that are finished and not yet in safe hands; large payloads are files beside it
             (`worker.payloads`)
    marks    the tasks that were done and what became of them, longer than the outbox needs
    residuals   what updates left out, if their codec does that (`worker.residuals`)

Rules of the file:

- A method that returns has its effect on disk (WAL, synchronous=FULL); one that raises or dies had
  none. The agent and its training process use the same store at the same time.
- Only `release` and `settle` do not wait for the disk, where no file is to be removed: a power cut
  may undo them. Then an update is sent once more, or a verdict asked for, as anything in doubt is.
- A task leaves the inbox for the outbox in one transaction, after its payload is durable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from disk import OS_DISK, Disk, chunks_of
from schemas.buffer import Buffer
from schemas.digest import digest_of, digest_of_stream
from schemas.messages import Update, encode
from worker import database, residuals
from worker.database import Database, failures
from worker.disk import make_folder
from worker.errors import PayloadLostError, StoreError, TaskGoneError, WrongStateError
from worker.inbox import Inbox
from worker.owed import Left
from worker.parcel import Parcel, Trained
from worker.payloads import Payloads, described, file_of
from worker.residuals import COUNTED, Feedback, Files, Residual, Residuals
from worker.rows import SCHEMA, OpenRow, decoded, parcel_of

FORMAT = 7
MARKS_KEPT = 10_000
INLINE_BYTES_MAX = 512 * 1024
"""A payload of up to so many bytes lies in its row: one sync instead of three."""

Known = Literal["new", "held", "open", "done"]


class Store:
    """Inbox, outbox and marks in a folder. Used by one thread at a time.

    Args:
        folder: The worker's own.
        disk: Where it is.

    Attributes:
        inbox: The task in hand.
        residuals: What updates left out.

    Raises:
        StoreError: From any method: the disk is full, or worse.
    """

    def __init__(self, folder: Path, disk: Disk = OS_DISK) -> None:
        self._begin(folder, disk)
        make_folder(disk, make_folder(disk, folder) / "outbox")
        with failures():
            self._connect()
            self._db.make(SCHEMA + residuals.SCHEMA)
            disk.sync_folder(folder)

    @classmethod
    def join(cls, folder: Path, disk: Disk = OS_DISK) -> Store:
        """The store that another process keeps in a folder.

        Raises:
            StoreError: There is none.
        """
        store = cls.__new__(cls)
        store._begin(folder, disk)
        with failures():
            if disk.size(folder / database.FILE) is None:
                raise StoreError(f"{folder} is no state folder: there is no {database.FILE}")
            store._connect()
        return store

    def _begin(self, folder: Path, disk: Disk) -> None:
        self.path = folder
        self._disk = disk
        self._payloads = Payloads(folder, disk)

    def _connect(self) -> None:
        self._db = Database(self.path, self._disk, self._payloads.remove_lingering)
        self.inbox = Inbox(self._db)
        self.residuals = Residuals(self.path, self._disk, self._db.connection)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def snapshot(self) -> AbstractContextManager[None]:
        """What is read within is of one moment, whatever another process writes meanwhile."""
        return self._db.snapshot()

    @property
    def life(self) -> str:
        """An id of the database, made with it: another one in its place has another."""
        row = self._db.row("SELECT value FROM facts WHERE name = 'life'")
        return "" if row is None else str(row[0])

    def claim(self, worker_id: str, federation: str) -> None:
        """Make the folder this worker's in a federation, or check that it is.

        Raises:
            WrongStateError: It is another worker's (its update ids would be wrong), of another
                federation, or of a newer version.
        """
        facts = ("worker_id", worker_id), ("federation", federation), ("format", str(FORMAT))
        for name, value in facts:
            with self._db.transaction():
                self._db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
            found = self._db.rows("SELECT value FROM facts WHERE name = ?", name)[0][0]
            if found != value:
                raise WrongStateError(
                    f"{self.path}: expected the state of {name} {value}, came that of {found}; "
                    "give each worker a folder of its own with --state-dir"
                )

    # What is known of tasks.

    def known(self, task_id: str) -> Known:
        """What is known of a task: nothing, in hand, finished and in the outbox, or done."""
        return self.outcome(task_id)[0]

    def outcome(self, task_id: str) -> tuple[Known, Parcel | None]:
        """What is known of a task, and its update if that is in the outbox."""
        row = self._db.row(
            "SELECT EXISTS (SELECT 1 FROM inbox WHERE task_id = ?1), marks.update_id, header, sent "
            "FROM (SELECT 1) LEFT JOIN marks ON marks.task_id = ?1 "
            "LEFT JOIN outbox ON outbox.update_id = marks.update_id",
            task_id,
        )
        assert row is not None, "a row of nulls at least"
        held, update_id, header, sent = row
        parcel = None if header is None else parcel_of(decoded(Update, header), bool(sent))
        if held:
            return "held", parcel
        if update_id is None:
            return "new", None
        return ("done" if header is None else "open"), parcel

    # From inbox to outbox: called in the training process.

    def finish(
        self,
        update: Update,
        part_bytes: int,
        payload: Buffer,
        feedback: Feedback | None = None,
        inline_bytes: int = 0,
    ) -> Parcel:
        """Put a finished update into the outbox and its task out of the inbox.

        Args:
            update: Its header; what it says of the payload and its parts is filled in here.
            part_bytes: The largest payload of one message.
            payload: What the update carries.
            feedback: What it leaves for later updates, if its codec leaves something out.
            inline_bytes: The largest payload that lies in its row.

        Returns:
            What is in the outbox, or was: an update that was put there before stays as it is. So
            this may be tried again after a commit of which nobody knows whether it was made.

        Raises:
            TaskGoneError: The task was given up meanwhile.
        """
        inline = memoryview(payload).nbytes <= min(inline_bytes, part_bytes)
        if inline:
            update = described(update, part_bytes, payload)
            if feedback is None:
                return self._move(update, part_bytes, "", payload)
        files = None
        if self._finished_before(update) is None:
            unfinished = self._name_of_attempt(update)
            with failures():
                if not inline:
                    chunks = chunks_of(payload)
                    update = self._payloads.write(unfinished, update, part_bytes, chunks)
                files = None if feedback is None else self.residuals.write(update, feedback)
        leaves = None if feedback is None or files is None else (feedback, files)
        name = "" if inline else file_of(update)
        return self._move(update, part_bytes, name, payload if inline else None, leaves)

    def finish_large(
        self, update: Update, part_bytes: int, chunks: Callable[[], Iterable[Buffer]]
    ) -> Parcel:
        """Likewise, of an update whose payload is made as it is written.

        Args:
            update: See `finish`.
            part_bytes: See `finish`.
            chunks: Begins to make the payload, each chunk to be used before the next.

        Raises:
            TaskGoneError: The task was given up meanwhile.
        """
        before = self._finished_before(update)
        if before is not None:
            self.inbox.drop_task(update.task_id)
            return before
        name = self._name_of_attempt(update)
        with failures():
            update = self._payloads.write(name, update, part_bytes, chunks())
        return self._move(update, part_bytes, file_of(update), None)

    def _name_of_attempt(self, update: Update) -> str:
        """What the file of a payload is called until it is whole.

        A process that outlives its agent for a moment, and the next one's, are of two attempts.
        """
        held = self._db.row("SELECT attempts FROM inbox WHERE task_id = ?", update.task_id)
        if held is None:
            raise TaskGoneError(f"task {update.task_id} is not in the inbox any more")
        return f"{update.update_id}.{held[0]}"

    def make_room(self) -> None:
        """Give back what the disk need not have; to be tried when it takes something no more."""
        self._payloads.make_room()

    def _move(
        self,
        update: Update,
        part_bytes: int,
        file: str,
        payload: Buffer | None,
        leaves: tuple[Feedback, Files] | None = None,
    ) -> Parcel:
        """From inbox to outbox in one transaction; what was moved before stays as it is."""
        left_over: list[str] = []
        with self._db.transaction():
            gone = self._db.execute("DELETE FROM inbox WHERE task_id = ?", (update.task_id,))
            before = self._finished_before(update)
            if before is not None:
                return before
            swept = bool(file) and not self._payloads.has(file)
            if gone != 1 or swept:
                raise TaskGoneError(f"task {update.task_id} is not in the inbox any more")
            self._db.execute(
                "INSERT INTO outbox (update_id, header, file, payload, part_bytes) "
                "VALUES (?, ?, ?, ?, ?)",
                (update.update_id, encode(update), file, payload, part_bytes),
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
            if leaves is not None:
                left_over = self.residuals.keep(update, *leaves)
        if left_over:
            self._remove_residuals(left_over)
        return parcel_of(update, sent=False)

    def earlier(self, update: Update) -> Iterator[tuple[Residual, bytes | None]]:
        """What earlier updates left for one, and its numbers; None if they are damaged."""
        with failures():
            for residual in self.residuals.of(update):
                yield residual, self.residuals.read(residual)

    def _finished_before(self, update: Update) -> Parcel | None:
        mark = self._db.row(
            "SELECT update_id FROM marks WHERE update_id = ? OR task_id = ?",
            update.update_id,
            update.task_id,
        )
        if mark is None:
            return None
        return self.parcel(mark[0]) or parcel_of(replace(update, update_id=mark[0]), sent=True)

    # The outbox.

    def parcels(self) -> tuple[Parcel, ...]:
        """What is in the outbox, the oldest first."""
        rows = self._db.rows("SELECT header, sent FROM outbox ORDER BY number")
        return tuple(parcel_of(decoded(Update, header), bool(sent)) for header, sent in rows)

    def parcel(self, update_id: str) -> Parcel | None:
        """One update of the outbox."""
        found = self._db.row("SELECT header, sent FROM outbox WHERE update_id = ?", update_id)
        return None if found is None else parcel_of(decoded(Update, found[0]), bool(found[1]))

    def update(self, update_id: str) -> tuple[Update, int]:
        """The header of an update in the outbox, and the size of its parts.

        Raises:
            PayloadLostError: It is not there.
        """
        row = self._open_row(update_id)
        return row.update, row.part_bytes

    def payload(self, update_id: str, start: int, end: int) -> Buffer:
        """Bytes of an update's payload.

        Raises:
            PayloadLostError: It is missing or shorter.
            StoreError: It cannot be read now (too many open files, say): it may be later.
        """
        return self._read(self._open_row(update_id), start, end)

    def view_payload(self, update_id: str) -> Buffer:
        """A large update's payload in place, as long as the view is used.

        Raises:
            PayloadLostError: It is missing or shorter.
            StoreError: As of `payload`.
        """
        row = self._open_row(update_id)
        return self._read(row, 0, row.update.payload_bytes)

    def to_send(self, update_id: str, *, look: bool = True) -> tuple[Update, Buffer]:
        """An update with what its own message carries: nothing if it goes in parts.

        Args:
            update_id: Which.
            look: Whether the payload is what was written is looked at.

        Raises:
            PayloadLostError: It is missing, or not what was written any more.
            StoreError: As of `payload`.
        """
        row = self._open_row(update_id)
        if row.update.parts:
            return row.update, b""
        payload = self._read(row, 0, row.update.payload_bytes)
        if look:
            _require_digest(row.update, digest_of(payload))
        return row.update, payload

    def payload_age_s(self, update_id: str) -> float:
        """How long ago a payload's file was written, in seconds; infinite if it has none.

        Raises:
            PayloadLostError: It is missing.
            StoreError: As of `payload`.
        """
        found = self._db.row("SELECT file FROM outbox WHERE update_id = ?", update_id)
        if found is None:
            raise PayloadLostError(f"update {update_id} is not in the outbox")
        (file,) = found
        if not file:
            return math.inf
        with failures():
            return self._payloads.age_s(file)

    def check_payload(self, update_id: str) -> None:
        """Look whether a payload of any size is still what was written.

        Raises:
            PayloadLostError: It is missing or damaged.
            StoreError: As of `payload`.
        """
        row = self._open_row(update_id)
        payload = self._read(row, 0, row.update.payload_bytes)
        _require_digest(row.update, digest_of_stream(chunks_of(payload)))

    def _read(self, row: OpenRow, start: int, end: int) -> Buffer:
        found: Buffer | None = row.payload
        if found is not None:
            found = found[start:end]
        else:
            with failures():
                found = self._payloads.read(row.file, start, end)
        if len(found) != end - start:
            raise PayloadLostError(
                f"payload of update {row.update.update_id}: expected {end - start} bytes at "
                f"{start}, came {len(found)}"
            )
        return found

    def mark_sent(self, update_id: str, sent: bool) -> None:
        """Remember that all parts of an upload were confirmed, or that some are wanted again."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE outbox SET sent = ? WHERE update_id = ?", (int(sent), update_id)
            )

    def release(self, update_id: str) -> None:
        """Take an update that is in safe hands out of the outbox; its mark stays."""
        may_linger = self._may_linger(update_id)
        with self._db.transaction(waits=not may_linger):
            self._db.execute("DELETE FROM outbox WHERE update_id = ?", (update_id,))
        self._remove_payload(update_id, at_once=not may_linger)

    def settle(self, update_id: str, verdict: str) -> bool:
        """Note an update's verdict and take it out of the outbox; False if that was known."""
        waits = not self._may_linger(update_id) or verdict != COUNTED
        with self._db.transaction(waits=waits):
            noted = self._db.execute(
                "UPDATE marks SET verdict = ? WHERE update_id = ? AND verdict IS NULL",
                (verdict, update_id),
            )
            self._db.execute("DELETE FROM outbox WHERE update_id = ?", (update_id,))
            left_over = self.residuals.settle(update_id, verdict)
        self._remove_payload(update_id, at_once=waits)
        self._remove_residuals(left_over)
        return noted == 1

    def _may_linger(self, update_id: str) -> bool:
        """Whether an update's file, if it has one, need not be removed at once.

        It is removed only after the row that names it is gone for good. That need not be waited
        for: what waits for the disk next does so for the row as well.
        """
        row = self._db.row("SELECT file FROM outbox WHERE update_id = ?", update_id)
        if row is not None and row[0]:
            self._payloads.expect_removal(update_id)
            with failures():
                return self._payloads.may_linger(row[0])
        return not self._payloads.may_have(update_id) or self._payloads.lingers(update_id)

    def forget(self, update_id: str) -> None:
        """Give up an update whose payload is lost, mark and all: its task may be trained again.

        What is left of the payload is put aside, for people.
        """
        with self._db.transaction():
            self._db.execute("DELETE FROM marks WHERE update_id = ?", (update_id,))
            self._db.execute("DELETE FROM outbox WHERE update_id = ?", (update_id,))
            left_over = self.residuals.forget(update_id)
        self._payloads.expect_removal(update_id)  # if it cannot be put aside now
        self._remove_residuals(left_over)
        with failures():
            self._payloads.put_aside(update_id)

    # The marks.

    def last_trained(self, but: str = "") -> Trained:
        """The run last worked for, and the newest version trained on in it.

        Args:
            but: An update that is left out, as if it had never been.
        """
        found = self._db.row(
            "WITH trained AS (SELECT * FROM marks WHERE update_id != ?1 AND kind = 'train') "
            "SELECT run_id, max(base_version), incarnation FROM trained WHERE "
            "(run_id, incarnation) = (SELECT run_id, incarnation FROM trained "
            "ORDER BY number DESC LIMIT 1) GROUP BY run_id",
            but,
        )
        return Trained() if found is None else Trained(*found)

    def unheard(self, limit: int) -> tuple[str, ...]:
        """The newest updates, out of the outbox, whose verdict nobody has told us."""
        rows = self._db.rows(
            "SELECT update_id FROM marks WHERE verdict IS NULL "
            "AND update_id NOT IN (SELECT update_id FROM outbox) ORDER BY number DESC LIMIT ?",
            limit,
        )
        return tuple(update_id for (update_id,) in rows)

    def owed(self) -> tuple[Left, ...]:
        """Updates that left numbers, and have no verdict, the oldest first."""
        with failures():
            return self.residuals.open()

    def trim_marks(self) -> None:
        """Remove the oldest marks, as far as nothing in the outbox needs them."""
        with self._db.transaction():
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
        with self._db.transaction():
            self._payloads.sweep({file for (file,) in self._db.rows("SELECT file FROM outbox")})
            self.residuals.sweep()

    def _remove_residuals(self, names: list[str]) -> None:
        with failures():
            self.residuals.remove(names)

    def _remove_payload(self, update_id: str, *, at_once: bool) -> None:
        with failures():
            if at_once:
                self._payloads.remove(update_id)
            else:
                self._payloads.let_linger(update_id)

    def _open_row(self, update_id: str) -> OpenRow:
        found = self._db.row(
            "SELECT header, file, payload, part_bytes FROM outbox WHERE update_id = ?", update_id
        )
        if found is None:
            raise PayloadLostError(f"update {update_id} is not in the outbox")
        header, *rest = found
        try:
            return OpenRow(decoded(Update, header), *rest)
        except StoreError as error:  # bytes on disk do not mend themselves
            raise PayloadLostError(f"the header of update {update_id} is damaged") from error


def _require_digest(update: Update, digest: str) -> None:
    if digest != update.payload_digest:
        raise PayloadLostError(f"the payload of update {update.update_id} is not what was written")
