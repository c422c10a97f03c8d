"""The spool: received updates on disk, the truth that every sum can be made from again.

    spool/00000001.seg   messages one after another; the ledger says where each lies
    spool/parts/<update id>/<payload digest>/<index>   parts of uploads that are not complete

Rules: `append` gives the place, and only after `sync` may the ledger name it. What no ledger row
names (a crash between the two) is dead space: harmless, and gone with its segment. After a write
that failed nothing is appended or synced until the spool was closed: what was appended may be lost,
and an fsync that is tried again may claim otherwise.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from coordinator.errors import StoreError
from coordinator.records import Place
from schemas.buffer import Buffer

SEGMENT_BYTES = 64 * 1024 * 1024  # small enough to free disk soon, large enough to be few


class Spool:
    """An open spool; one process at a time."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._parts = folder / "parts"
        self._parts.mkdir(parents=True, exist_ok=True)
        segments = self._segments()
        self._number = segments[-1] if segments else 1
        self._file: BinaryIO | None = None
        self._end = 0
        self._dirty = False
        self._failed = False

    def append(self, message: Buffer) -> Place:
        """Write a message at the end; it is durable after `sync`.

        Raises:
            OSError: If it cannot be written; `close` the spool, and it can be used again.
        """
        with self._writing():
            if self._file is None or self._end >= self._segment_bytes:
                self._roll()
            assert self._file is not None
            length = memoryview(message).nbytes
            place = Place(self._number, self._end, length)
            self._file.write(message)
            self._end += length
            self._dirty = True
        return place

    def sync(self) -> None:
        """Make everything that was appended durable.

        Raises:
            OSError: If it is not, any of it; `close` the spool, and it can be used again.
        """
        with self._writing():
            self._flush()

    def read(self, where: Place) -> bytes:
        """A message that was appended and synced.

        Raises:
            StoreError: If the segment does not hold it (any more).
        """
        path = self._path(where.segment)
        try:
            with path.open("rb") as file:
                file.seek(where.place)
                message = file.read(where.length)
        except FileNotFoundError as error:
            raise StoreError(f"{path} is gone: its updates cannot be read again") from error
        if len(message) != where.length:
            raise StoreError(f"{path}: expected {where.length} bytes at {where.place}, it is cut")
        return message

    def forget(self, before_segment: int) -> None:
        """Delete the segments below a number; never the one in use."""
        for number in self._segments():
            if number < min(before_segment, self._number):
                self._path(number).unlink()

    def close(self) -> None:
        """Close the segment in use, also after an error; what was not synced is not durable."""
        file, self._file, self._dirty, self._failed = self._file, None, False, False
        if file is not None:
            with contextlib.suppress(OSError):  # a full disk refuses what is still buffered
                file.close()

    def store_part(self, update_id: str, digest: str, index: int, data: Buffer) -> None:
        """Keep one part of an upload, durable on return; keeping it again changes nothing."""
        folder = self._parts / update_id / digest
        path = folder / str(index)
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_durably(path, data)
        # Also where it is here already: a crash may have come between the file and its folders.
        for entry in (folder, folder.parent, self._parts):
            sync_folder(entry)

    def parts(self, update_id: str, digest: str) -> dict[int, Path]:
        """The parts of an upload that are here, by index."""
        folder = self._parts / update_id / digest
        if not folder.exists():
            return {}
        return {int(path.name): path for path in folder.iterdir() if path.name.isdigit()}

    def uploads(self, update_id: str) -> list[str]:
        """The payload digests of an update's uploads that are not complete, the newest first.

        A task that two stores of one worker trained may be uploaded with other bytes.
        """
        folder = self._parts / update_id
        if not folder.exists():
            return []
        entries = sorted(folder.iterdir(), key=lambda entry: -entry.stat().st_mtime_ns)
        return [entry.name for entry in entries]

    def forget_parts(self, update_id: str) -> None:
        """Delete the parts of an upload that has its verdict, or is given up."""
        shutil.rmtree(self._parts / update_id, ignore_errors=True)

    def forget_upload(self, update_id: str, digest: str) -> None:
        """Delete the parts of one upload, which is given up; its worker sends it again."""
        shutil.rmtree(self._parts / update_id / digest, ignore_errors=True)
        with contextlib.suppress(OSError):  # other payloads of the update are there
            (self._parts / update_id).rmdir()

    def incomplete(self) -> list[tuple[tuple[str, str], float]]:
        """The uploads that are not complete, and when a part was last added, in UTC seconds."""
        return [
            ((folder.parent.name, folder.name), folder.stat().st_mtime)
            for folder in self._parts.glob("*/*")
        ]

    def part_bytes(self) -> int:
        """Bytes that unfinished uploads take on disk."""
        return sum(path.stat().st_size for path in self._parts.rglob("*") if path.is_file())

    def forget_all_parts(self) -> None:
        """Delete the parts of all uploads: none of them can be answered any more."""
        for folder in self._parts.iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def _segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("*.seg"))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.seg"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if self._failed:
            raise StoreError("an earlier write to the spool failed: close it first")
        try:
            yield
        except OSError:
            self._failed = True
            raise

    def _flush(self) -> None:
        if self._file is not None and self._dirty:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._dirty = False

    def _roll(self) -> None:
        """Open the segment to append to: the last one, or a new one if that is full."""
        if self._file is not None:
            self._flush()
            self._file.close()
            self._number += 1
        path = self._path(self._number)
        if path.exists() and path.stat().st_size >= self._segment_bytes:
            self._number += 1
            path = self._path(self._number)
        # Its own offsets are counted from where the file ends, so it is never opened to append
        # behind another writer: the state folder's lock keeps it the only one.
        self._file = path.open("ab")
        self._end = self._file.tell()
        sync_folder(self._folder)


def write_durably(path: Path, *chunks: Buffer) -> None:
    """Write a file so that after a crash it is there whole, or not at all.

    Raises:
        OSError: If it cannot be written; what was at the path is still there.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # on a full disk it would keep the room that is wanted
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
