"""The spool: received updates on disk, the truth that every sum can be made from again.

    spool/00000001.seg   messages one after another, or one that came in parts; the ledger says
                         where each lies
    spool/parts/         uploads that are not complete (`coordinator.uploadfiles`)

Rules: `append` and `adopt` give the place, and only after `sync` may the ledger name it. What no
ledger row names (a crash between the two) is dead space: harmless, and gone with its segment. After
a write that failed nothing is written or synced until the spool was closed: what was written may be
lost, and an fsync that is tried again may claim otherwise. `close` cuts the segment to where the
last sync ended, or each try on a full disk would take some of the room that is left. A process
appends to segments that it made itself: an earlier one may be an upload's. Some segments that are
forgotten are kept, and the next ones are written over them: behind the end of one lies what it had
before, dead space like any other.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from coordinator.errors import Damaged, NotKept, StoreError
from coordinator.records import Place
from coordinator.uploadfiles import Shape, UploadFiles
from coordinator.uploads import Upload
from disk import OS_DISK, Disk, File, Spares, make_folders, write_durably
from schemas.buffer import Buffer

PROOF = "proof"  # a file that is there for a moment
_CHUNK = os.urandom(64 * 1024)  # what cannot be compressed takes the room that it seems to take
SEGMENT_BYTES = 16 * 1024 * 1024
"""Small enough to be written over soon, for new blocks take longer; large enough to be few."""

SPARE_SEGMENTS = 8  # what rounds of 128 MiB forget with each version


class Spool:
    """An open spool; one process at a time writes. Who only looks at it makes nothing.

    Attributes:
        parts: The uploads that are not complete.
    """

    def __init__(
        self, folder: Path, disk: Disk = OS_DISK, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._segment_bytes = segment_bytes
        self.parts = UploadFiles(folder, disk)
        # A full one is longer than that, by most of a message.
        self._spares = Spares(folder, disk, SPARE_SEGMENTS * segment_bytes * 5 // 4, SPARE_SEGMENTS)
        numbers = self._segments()
        self._number = max(numbers, default=0)
        self._oldest = min(numbers, default=1)  # there is none below it
        self._has_folder = False
        self._appendable = -1  # the segment that this process appends to
        self._file: File | None = None
        self._end = self._synced = 0
        self._dirty = self._has_new_name = False
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
            place = Place(self._appendable, self._end, length)
            self._file.write(message)
            self._end += length
            self._dirty = True
        return place

    def put(self, upload: Upload, shape: Shape, index: int, data: Buffer) -> None:
        """Write a part of an upload; it is here, and durable, after `sync`.

        Raises:
            OSError: If it cannot be written; `close` the spool, and it can be used again.
        """
        with self._writing():
            self.parts.put(upload, shape, index, data)

    def adopt(self, upload: Upload, shape: Shape, head: Buffer) -> Place:
        """Let a complete upload be a message, as a segment of its own; durable after `sync`.

        Args:
            upload: The upload, whose parts are all here.
            shape: How it is cut.
            head: The message up to its payload.

        Raises:
            OSError: If it cannot be written; `close` the spool, and it can be used again.
        """
        with self._writing():
            self._finish_segment()
            number = self._number + 1
            start = self.parts.adopt(upload, shape, head, self._path(number))
            self._number, self._has_new_name = number, True
        return Place(number, start, memoryview(head).nbytes + shape.payload_bytes)

    def sync(self) -> None:
        """Make durable all that was appended, adopted or put among the parts.

        Raises:
            OSError: If it is not, any of it; `close` the spool, and it can be used again.
        """
        with self._writing():
            self.parts.sync()
            self._flush()
            if self._has_new_name:
                self._disk.sync_folder(self._folder)
                self._has_new_name = False

    def read(self, where: Place) -> bytes:
        """A message that was appended and synced.

        Raises:
            NotKept: If the segment is gone.
            Damaged: If the segment does not hold it.
        """
        return bytes(self._look(where, self._disk.read))

    def view(self, where: Place) -> memoryview:
        """The same in place, without a copy.

        Raises:
            NotKept: If the segment is gone.
            Damaged: If the segment does not hold it.
        """
        return memoryview(self._look(where, self._disk.map))

    def prove(self, num_bytes: int) -> None:
        """Write so many bytes and remove them again; what is kept to be written over is given back.

        Raises:
            OSError: If the disk does not take them.
        """
        path = self._folder / PROOF
        self._spares.clear()
        self.parts.make_room()
        make_folders(self._disk, self._folder)
        try:
            chunks = -(-num_bytes // len(_CHUNK))
            write_durably(self._disk, path, *[_CHUNK] * chunks)
        finally:
            self._disk.remove(path)

    @property
    def has_older(self) -> bool:
        """Whether there are segments that `forget` could delete."""
        return self._oldest < self._number

    def forget(self, before_segment: int) -> None:
        """Delete the segments below a number, or keep them for the next; never the one in use."""
        first_kept = min(before_segment, self._number)
        if self._oldest >= first_kept:
            return
        forgotten = []
        for number in self._segments():
            path = self._path(number)
            if number < first_kept and not self.parts.retire(path):
                forgotten.append(path)
        self._spares.retire(*forgotten)
        self._oldest = first_kept

    def close(self) -> None:
        """Close what is open, also after an error; what was not synced is gone."""
        self.parts.close()
        file, self._file = self._file, None
        if file is not None:
            file.close()
            with contextlib.suppress(OSError):  # then it is dead space
                self._disk.truncate(self._path(self._appendable), self._synced)
        self._dirty = self._failed = self._has_new_name = self._has_folder = False

    def _segments(self) -> list[int]:
        names = map(Path, self._disk.names(self._folder))
        return sorted(
            int(name.stem) for name in names if name.suffix == ".seg" and name.stem.isdigit()
        )

    def _look(
        self, where: Place, look: Callable[[Path, int, int], bytes | memoryview]
    ) -> bytes | memoryview:
        path = self._path(where.segment)
        try:
            message = look(path, where.place, where.length)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotKept(f"{path} is gone: its updates cannot be read again") from error
        if len(message) != where.length:
            raise Damaged(f"{path}: expected {where.length} bytes at {where.place}, it is cut")
        return message

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
        """Open the segment to append to: the last one, or a new one if that is full or not ours."""
        full = self._file is not None
        self._finish_segment()
        new = full or self._appendable != self._number or self._is_full(self._number)
        number = self._number + new
        path = self._path(number)
        if not self._has_folder:
            make_folders(self._disk, self._folder)
            self._has_folder = True
        # Its own offsets are counted from where the file ends, so it is never opened to append
        # behind another writer: the state folder's lock keeps it the only one.
        if self._disk.size(path) is None:
            self._file = self._disk.create(path, over=self._spares.find())
        else:
            self._file = self._disk.append(path)
        # Not before: a number that no file has is the next process's, if all others are forgotten.
        self._number = self._appendable = number
        # The name is durable before a byte changes, or a power cut might give back the old one.
        self._end = self._synced = self._file.tell()
        self._disk.sync_folder(self._folder)

    def _is_full(self, number: int) -> bool:
        return (self._disk.size(self._path(number)) or 0) >= self._segment_bytes

    def _finish_segment(self) -> None:
        """Close the segment in use; what comes goes into another."""
        if self._file is not None:
            self._flush()
            self._file.cut()
            self._file.close()
            self._file = None
