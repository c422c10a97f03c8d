"""The spool: received updates on disk, the truth that every sum can be made from again.

    spool/00000001.seg   messages one after another; the ledger says where each lies
    spool/parts/<update id>/<payload digest>/<index>   parts of uploads that are not complete

Rules: `append` gives the place, and only after `sync` may the ledger name it. What no ledger row
names (a crash between the two) is dead space: harmless, and gone with its segment. After a write
that failed nothing is appended or synced until the spool was closed: what was appended may be lost,
and an fsync that is tried again may claim otherwise. `close` cuts the segment to where the last
sync ended, or each try on a full disk would take some of the room that is left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from coordinator.errors import NotKept, StoreError
from coordinator.records import Place
from disk import OS_DISK, Disk, File, make_folders, remove_tree, write_durably
from schemas.buffer import Buffer

PROOF = "proof"  # a file that is there for a moment
_CHUNK = os.urandom(64 * 1024)  # what cannot be compressed takes the room that it seems to take
SEGMENT_BYTES = 64 * 1024 * 1024  # small enough to free disk soon, large enough to be few


class Spool:
    """An open spool; one process at a time writes. Who only looks at it makes nothing."""

    def __init__(
        self, folder: Path, disk: Disk = OS_DISK, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._parts = folder / "parts"
        segments = self._segments()
        self._number = segments[-1] if segments else 1
        self._file: File | None = None
        self._end = self._synced = 0
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
            NotKept: If the segment is gone.
            StoreError: If the segment does not hold it.
        """
        path = self._path(where.segment)
        try:
            message = self._disk.read(path, where.place, where.length)
        except FileNotFoundError as error:
            raise NotKept(f"{path} is gone: its updates cannot be read again") from error
        if len(message) != where.length:
            raise StoreError(f"{path}: expected {where.length} bytes at {where.place}, it is cut")
        return message

    def prove(self, num_bytes: int) -> None:
        """Write so many bytes and remove them again.

        Raises:
            OSError: If the disk does not take them.
        """
        path = self._folder / PROOF
        make_folders(self._disk, self._folder)
        try:
            chunks = -(-num_bytes // len(_CHUNK))
            write_durably(self._disk, path, *[_CHUNK] * chunks)
        finally:
            self._disk.remove(path)

    def forget(self, before_segment: int) -> None:
        """Delete the segments below a number; never the one in use."""
        for number in self._segments():
            if number < min(before_segment, self._number):
                self._disk.remove(self._path(number))

    def close(self) -> None:
        """Close the segment in use, also after an error; what was not synced is gone."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
            if self._dirty or self._failed:
                with contextlib.suppress(OSError):  # then it is dead space
                    self._disk.truncate(self._path(self._number), self._synced)
        self._dirty = self._failed = False

    def store_part(self, update_id: str, digest: str, index: int, data: Buffer) -> None:
        """Keep one part of an upload, durable on return; keeping it again changes nothing."""
        folder = self._parts / update_id / digest
        path = folder / str(index)
        make_folders(self._disk, folder.parent)
        make_folders(self._disk, folder)
        if self._disk.size(path) is None:
            write_durably(self._disk, path, data)
        else:  # a crash may have come between the file and its folder
            self._disk.sync_folder(folder)

    def parts(self, update_id: str, digest: str) -> set[int]:
        """Which parts of an upload are here."""
        names = self._disk.names(self._parts / update_id / digest)
        return {int(name) for name in names if name.isdigit()}

    def read_part(self, update_id: str, digest: str, index: int) -> bytes:
        """A part of an upload that is here."""
        return self._disk.read(self._parts / update_id / digest / str(index))

    def uploads(self, update_id: str) -> list[str]:
        """The payload digests of an update's uploads that are not complete, the newest first.

        A task that two stores of one worker trained may be uploaded with other bytes.
        """
        folder = self._parts / update_id
        digests = self._disk.names(folder)
        return sorted(digests, key=lambda digest: -self._disk.touched_ns(folder / digest))

    def forget_parts(self, update_id: str) -> None:
        """Delete the parts of an upload that has its verdict, or is given up."""
        remove_tree(self._disk, self._parts / update_id)

    def forget_upload(self, update_id: str, digest: str) -> None:
        """Delete the parts of one upload, which is given up; its worker sends it again."""
        remove_tree(self._disk, self._parts / update_id / digest)
        with contextlib.suppress(OSError):  # other payloads of the update are there
            self._disk.remove_folder(self._parts / update_id)

    def incomplete(self) -> list[tuple[tuple[str, str], float]]:
        """The uploads that are not complete, and when a part was last added, in UTC seconds."""
        return [
            ((update_id, digest), self._disk.touched_ns(self._parts / update_id / digest) / 1e9)
            for update_id in self._disk.names(self._parts)
            for digest in self._disk.names(self._parts / update_id)
        ]

    def forget_all_parts(self) -> None:
        """Delete the parts of all uploads: none of them can be answered any more."""
        for update_id in self._disk.names(self._parts):
            self.forget_parts(update_id)

    def _segments(self) -> list[int]:
        names = map(Path, self._disk.names(self._folder))
        return sorted(int(name.stem) for name in names if name.suffix == ".seg")

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
            self._file.sync()
            self._synced, self._dirty = self._end, False

    def _roll(self) -> None:
        """Open the segment to append to: the last one, or a new one if that is full."""
        if self._file is not None:
            self._flush()
            self._file.close()
            self._file = None
            self._number += 1
        path = self._path(self._number)
        if (self._disk.size(path) or 0) >= self._segment_bytes:
            self._number += 1
            path = self._path(self._number)
        make_folders(self._disk, self._folder)
        # Its own offsets are counted from where the file ends, so it is never opened to append
        # behind another writer: the state folder's lock keeps it the only one.
        self._file = self._disk.append(path)
        self._end = self._synced = self._file.tell()
        self._disk.sync_folder(self._folder)
