"""The files of uploads in parts: each part lies where it is to lie in the update that they become.

    parts/<update id>/<payload digest>
    spares/

    offset    size
    0         16      magic "fmqu", size of a part (4 bytes), size of the payload (8), little-endian
    16                which parts are here: a bit each, the lowest first
    ..80 KiB          of a complete one: the update as a frame, up to its payload
    80 KiB            the payload

Rules:

- `put` writes a part and `sync` makes it durable: parts that come together share that.
- A part is here when its bit is. The bit is written once the part and the file's name are durable.
  So a crash may forget what nobody has acked, and nothing is remembered that is not there.
- A complete file becomes one of the spool by a second name: no byte of the payload is copied. The
  first name goes when a row of the ledger names the second, so until then nothing is to be sent
  again.
- Files that the spool has forgotten are kept in spares/, without their bits, and written over by
  further uploads of about their size: as long as a part's bit is not there, what lies in its place
  is of no account.
- After a write that failed nothing is synced until all was closed (`Spool.close`).
"""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coordinator.uploads import PARTS_MAX, Upload
from disk import Disk, Pages, Spares, make_folders, remove_tree
from schemas.buffer import Buffer
from schemas.messages import part_count, part_span

BODY = 80 * 1024
"""Where the payload begins: behind the bits of many parts and a header of any size, at a page."""

SPARE_BYTES, SPARES = 512 * 1024 * 1024, 128
"""Of files kept to be written over: as many as a round of large updates has."""

_RECORD = struct.Struct("<4sIQ")
_MAGIC = b"fmqu"
_BITS = _RECORD.size
_BITS_END = _BITS + PARTS_MAX // 8
_ONE_NAME_ONLY = (errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a payload is cut into parts, both in bytes."""

    payload_bytes: int
    part_bytes: int

    @property
    def parts(self) -> int:
        """How many there are."""
        return part_count(self.payload_bytes, self.part_bytes)

    def missing(self, here: int) -> Iterator[int]:
        """The numbers of the parts whose bit is not set."""
        return (index for index in range(self.parts) if not here >> index & 1)


@dataclass(slots=True)
class _Open:
    """A file that was written to since the last `sync`.

    Attributes:
        here: The bits of the parts that were there.
        new: Those of the parts that are to be there.
        adopted: It has its second name.
    """

    path: Path
    pages: Pages
    shape: Shape
    here: int
    new: int = 0
    adopted: bool = False


class UploadFiles:
    """The files of one folder.

    Args:
        folder: Of the spool, in which theirs is.
        disk: Where it is.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder / "parts"
        self._disk = disk
        self._spares_folder = folder / "spares"
        self._spares = Spares(self._spares_folder, disk, SPARE_BYTES, SPARES)
        self._open: dict[Upload, _Open] = {}
        self._named: set[Upload] = set()  # whose names are durable

    def put(self, upload: Upload, shape: Shape, index: int, data: Buffer) -> None:
        """Write a part of an upload; it is here, and durable, after `sync`.

        One that is here stays as it is.

        Raises:
            OSError: If it cannot be written.
            ValueError: If there are more parts than a file has bits for.
        """
        file = self._opened(upload, shape)
        if not (file.here | file.new) >> index & 1:
            start, _ = part_span(index, shape.payload_bytes, shape.part_bytes)
            file.pages.write(BODY + start, data)
            file.new |= 1 << index

    def sync(self) -> None:
        """Make durable what was put, and then that it is here.

        Raises:
            OSError: If it is not, any of it.
        """
        for upload, file in self._open.items():
            file.pages.sync()
            if file.adopted:
                continue
            self._sync_name(upload)
            # Even if all that came was here: a sync of its bits may have failed, or been cut short.
            bits = (file.here | file.new).to_bytes(-(-file.shape.parts // 8), "little")
            file.pages.write(_BITS, bits)
            file.pages.sync()
        self.close()

    def close(self) -> None:
        """Let go of the files; what was not synced is not here."""
        for file in self._open.values():
            file.pages.close()
        self._open.clear()

    def missing(self, upload: Upload, shape: Shape | None = None) -> list[int]:
        """The parts of an upload that are not here.

        Args:
            upload: The upload.
            shape: How it is cut; None: as the file says, of one that is in `uploads`.
        """
        found = self._found(upload)
        if found is not None and shape in (None, found[0]):
            return list(found[0].missing(found[1]))
        return [] if shape is None else list(shape.missing(0))

    def count(self, upload: Upload) -> int:
        """How many parts of an upload are here."""
        found = self._found(upload)
        return 0 if found is None else found[1].bit_count()

    def view(self, upload: Upload, shape: Shape) -> memoryview:
        """The payload of an upload whose parts are all here, in place."""
        return self._disk.map(self._path(upload), BODY, shape.payload_bytes)

    def adopt(self, upload: Upload, shape: Shape, head: Buffer, to: Path) -> int:
        """Give the file of a complete upload a name in the spool; durable after `sync`.

        Args:
            upload: The upload.
            shape: How it is cut.
            head: What the update is up to its payload.
            to: The name; its folder is the caller's to sync.

        Returns:
            Where the update begins in the file.

        Raises:
            OSError: If it cannot be written.
        """
        file = self._opened(upload, shape)
        start = BODY - memoryview(head).nbytes
        file.pages.write(start, head)
        try:
            self._disk.link(file.path, to)
        except OSError as error:
            if error.errno not in _ONE_NAME_ONLY:
                raise
            # After a crash before the verdict is committed it is not known, and sent again.
            self._disk.move(file.path, to)
        file.adopted = True
        return start

    def uploads(self, update_id: str) -> list[str]:
        """The payload digests of an update's uploads that are not complete, the newest first.

        A task that two stores of one worker trained may be uploaded with other bytes.
        """
        folder = self._folder / update_id
        digests = [name for name in self._disk.names(folder) if self._found((update_id, name))]
        return sorted(digests, key=lambda digest: -self._disk.touched_ns(folder / digest))

    def incomplete(self) -> list[tuple[Upload, float]]:
        """The uploads that are not complete, and when a part was last added, in UTC seconds."""
        return [
            ((update_id, digest), self._disk.touched_ns(self._path((update_id, digest))) / 1e9)
            for update_id in self._disk.names(self._folder)
            for digest in self._disk.names(self._folder / update_id)
        ]

    def forget(self, update_id: str) -> None:
        """Forget the uploads of an update that has its verdict, or is given up."""
        for upload in [upload for upload in self._open if upload[0] == update_id]:
            self._let_go(upload)
        self._named = {upload for upload in self._named if upload[0] != update_id}
        remove_tree(self._disk, self._folder / update_id)

    def forget_one(self, upload: Upload) -> None:
        """Forget one upload, which is given up; its worker sends it again."""
        self._let_go(upload)
        self._named.discard(upload)
        with contextlib.suppress(OSError):
            self._disk.remove(self._path(upload))
        with contextlib.suppress(OSError):  # other payloads of the update are there
            self._disk.remove_folder(self._folder / upload[0])

    def forget_all(self) -> None:
        """Forget all uploads: none of them can be answered any more."""
        for update_id in self._disk.names(self._folder):
            self.forget(update_id)

    def retire(self, path: Path) -> bool:
        """Keep a file that the spool has forgotten for another upload; False if it was of none.

        Raises:
            OSError: If it could neither be kept nor removed.
        """
        if self._disk.read(path, 0, len(_MAGIC)) != _MAGIC:
            return False
        if not self._spares.has(self._disk.size(path) or 0):  # those are of another model
            self.make_room()
        unready = self._spares_folder / path.name
        try:
            make_folders(self._disk, self._spares_folder)
            if self._take_bits_away(path, unready):
                self._spares.retire(unready)
        finally:  # if it is still there: the disk refused, or somebody has it
            self._disk.remove(unready)
            self._disk.remove(path)
        return True

    def make_room(self) -> None:
        """Give back the files that are kept, and what an end at any moment left of them."""
        for name in self._disk.names(self._spares_folder):
            with contextlib.suppress(OSError):
                self._disk.remove(self._spares_folder / name)

    def _take_bits_away(self, path: Path, unready: Path) -> bool:
        """Nothing may be believed to be here when the file is another upload's; False if it is not.

        It has a name by which nobody finds it until that is durable. A file that has its first name
        still is left alone: it is all of an upload whose verdict was not committed.
        """
        pages = self._disk.pages(unready, over=path)
        try:
            if self._disk.size(path) is not None:
                return False
            pages.write(0, bytes(_BITS_END))
            pages.sync()
        finally:
            pages.close()
        return True

    def _path(self, upload: Upload) -> Path:
        return self._folder / upload[0] / upload[1]

    def _let_go(self, upload: Upload) -> None:
        file = self._open.pop(upload, None)
        if file is not None:
            file.pages.close()

    def _opened(self, upload: Upload, shape: Shape) -> _Open:
        """The upload's file, made anew if there is none of that shape."""
        file = self._open.get(upload)
        if file is not None and file.shape == shape:
            return file
        if shape.parts > PARTS_MAX:
            raise ValueError(f"expected at most {PARTS_MAX} parts, came {shape.parts}")
        found, path = self._found(upload), self._path(upload)
        self._let_go(upload)
        if upload not in self._named:
            make_folders(self._disk, path.parent)
        if found is None or found[0] != shape:
            self._disk.remove(path)
            self._named.discard(upload)
        if found is not None and found[0] == shape:
            pages, here = self._disk.pages(path), found[1]
        else:
            pages, here = self._begun(path, shape), 0
        file = self._open[upload] = _Open(path, pages, shape, here)
        return file

    def _begun(self, path: Path, shape: Shape) -> Pages:
        """A file in which nothing is here, a new one or one that is written over."""
        size = BODY + shape.payload_bytes
        spare = self._spares.find(size)
        pages = self._disk.pages(path, over=spare)
        if spare is not None:
            # Else a power cut might give back the name by which another upload would take it.
            self._disk.sync_folder(self._spares_folder)
            self._disk.truncate(path, size)
        record = _RECORD.pack(_MAGIC, shape.part_bytes, shape.payload_bytes)
        pages.write(0, record.ljust(_BITS + -(-shape.parts // 8), b"\0"))
        return pages

    def _found(self, upload: Upload) -> tuple[Shape, int] | None:
        """How an upload is cut and which parts are here, None if nothing is known of it."""
        file = self._open.get(upload)
        if file is not None:
            return file.shape, file.here | file.new
        path = self._path(upload)
        if self._disk.size(path) is None:
            return None
        start = self._disk.read(path, 0, _BITS_END)
        if len(start) < _BITS:
            return None
        magic, part_bytes, payload_bytes = _RECORD.unpack_from(start)
        if magic != _MAGIC or not part_bytes:
            return None
        shape = Shape(payload_bytes, part_bytes)
        if shape.parts > PARTS_MAX:
            return None
        bits = int.from_bytes(start[_BITS : _BITS + -(-shape.parts // 8)], "little")
        return shape, bits & (1 << shape.parts) - 1

    def _sync_name(self, upload: Upload) -> None:
        if upload not in self._named:
            self._disk.sync_folder(self._folder / upload[0])
            self._named.add(upload)
