"""The system's disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import quote

from schemas.buffer import Buffer

# Some file systems of networks and of user space: what they do with entries is out of our hands.
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP)

EARLY_BYTES = 1024 * 1024
"""Whenever so much was written it is on its way to the disk: a sync waits for less."""

_REPLACED_MOST = 20  # times in a row that a file may be replaced while it is being opened

_NOT_THERE = (FileNotFoundError, NotADirectoryError)  # or above it is a file


def _sync(descriptor: int) -> None:
    """Make what is in a file durable, and how long it is; not when it was changed.

    A file that is written over keeps its blocks and its length, so the disk's journal has nothing
    to do for it, and nothing that others wrote meanwhile is waited for.
    """
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def _begin_to_write(descriptor: int, start: int, length: int) -> None:
    """Have the system begin to write, and wait for nothing; what becomes of it a sync says.

    To be told that pages are not needed, Linux begins to write those that are dirty, and keeps them
    until that is done. Elsewhere it is a hint like any other, or there is none.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)


class OsFile:
    """A file of the system."""

    def __init__(self, file: BinaryIO, *, lasting: bool) -> None:
        self._file = file
        self._lasting = lasting
        self._waiting = 0  # bytes that are not on their way yet

    def write(self, data: Buffer) -> None:
        """See `File.write`."""
        self._file.write(data)
        self._waiting += memoryview(data).nbytes
        if self._waiting >= EARLY_BYTES and self._lasting:
            self._file.flush()
            start = self._file.tell() - self._waiting
            _begin_to_write(self._file.fileno(), start, self._waiting)
            self._waiting = 0

    def flush(self) -> None:
        """See `File.flush`."""
        self._file.flush()

    def sync(self) -> None:
        """See `File.sync`."""
        self._file.flush()
        self._waiting = 0
        _sync(self._file.fileno())

    def tell(self) -> int:
        """See `File.tell`."""
        return self._file.tell()

    def cut(self) -> None:
        """See `File.cut`."""
        self._file.flush()
        end = self._file.tell()
        if os.fstat(self._file.fileno()).st_size > end:
            self._file.truncate(end)

    def close(self) -> None:
        """See `File.close`."""
        with contextlib.suppress(OSError):  # a full disk refuses what is still buffered
            self._file.close()


class OsPages:
    """A file of the system that is written in place.

    It is read through a map of it, which costs no copy, and written by calls: a write through the
    map to a disk without room would not be refused, but end the process.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map: mmap.mmap | None = None

    def read(self, start: int, length: int) -> memoryview:
        """See `Pages.read`."""
        self._require_open()
        end = start + length
        if self._map is None or end > len(self._map):
            size = os.fstat(self._descriptor).st_size
            # What was read of the map before still holds it.
            self._map = mmap.mmap(self._descriptor, size, prot=mmap.PROT_READ) if size else None
        return memoryview(b"" if self._map is None else self._map)[start:end]

    def write(self, start: int, data: Buffer) -> None:
        """See `Pages.write`."""
        self._require_open()
        rest, place = memoryview(data).cast("B"), start
        size = rest.nbytes
        while rest:
            written = os.pwrite(self._descriptor, rest, place)
            place, rest = place + written, rest[written:]
        if size >= EARLY_BYTES:
            _begin_to_write(self._descriptor, start, size)

    def sync(self) -> None:
        """See `Pages.sync`."""
        self._require_open()
        _sync(self._descriptor)

    def close(self) -> None:
        """See `Pages.close`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._map = -1, None

    def _require_open(self) -> None:
        if self._descriptor < 0:
            raise ValueError("expected an open file, came a closed file")


class OsLock:
    """A lock on a file of the system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """See `Lock.close`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _held(path: Path, buffering: int = -1) -> IO[bytes]:
    """A file to read, which `_take_over` leaves alone while it is open or a map of it is.

    Where a file system knows no locks, or gives a file another number each time, no file is taken
    over, and it is read as it is.
    """
    for _ in range(_REPLACED_MOST):
        file = path.open("rb", buffering=buffering)
        try:
            # It is free, or another reader's: who takes over has names that nobody reads yet.
            with contextlib.suppress(OSError):
                fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_it = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except BaseException:
            file.close()
            raise
        if is_it:
            return file
        file.close()  # another file has the name now, and this one may be taken over
    return path.open("rb", buffering=buffering)


def _take_over(spare: Path | None, path: Path) -> int | None:
    """Give a file another name, to write it over: its descriptor, at the start of it.

    None if there is none, or somebody reads it.
    """
    if spare is None:
        return None
    try:
        descriptor = os.open(spare, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = os.fstat(descriptor)
        if locked.st_nlink == 1 and os.path.samestat(locked, spare.stat()):
            spare.rename(path)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            return descriptor
    except OSError:  # it is being read, another was faster, or this file system has no locks
        pass
    os.close(descriptor)
    return None


class OsDisk:
    """The system's disk; `disk.disk.Disk` says what each method does."""

    def create(self, path: Path, *, lasting: bool = True, over: Path | None = None) -> OsFile:
        """See `Disk.create`."""
        taken = _take_over(over, path)
        file = path.open("wb") if taken is None else os.fdopen(taken, "wb")
        return OsFile(file, lasting=lasting)

    def append(self, path: Path, *, lasting: bool = True) -> OsFile:
        """See `Disk.append`."""
        return OsFile(path.open("ab"), lasting=lasting)

    def pages(self, path: Path, over: Path | None = None) -> OsPages:
        """See `Disk.pages`."""
        taken = _take_over(over, path)
        return OsPages(os.open(path, os.O_RDWR | os.O_CREAT, 0o600) if taken is None else taken)

    def read(self, path: Path, start: int = 0, length: int = -1) -> bytes:
        """See `Disk.read`."""
        with _held(path) as file:
            file.seek(start)
            return file.read(length)

    def map(self, path: Path, start: int = 0, length: int = -1) -> memoryview:
        """See `Disk.map`."""
        with _held(path, buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            end = size if length < 0 else min(start + length, size)
            if end <= start:
                return memoryview(b"")
            first = start - start % mmap.ALLOCATIONGRANULARITY
            mapped = mmap.mmap(file.fileno(), end - first, prot=mmap.PROT_READ, offset=first)
        return memoryview(mapped)[start - first :]

    def map_private(self, path: Path) -> memoryview:
        """See `Disk.map_private`."""
        with _held(path, buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                return memoryview(bytearray())
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))

    def size(self, path: Path) -> int | None:
        """See `Disk.size`."""
        try:
            found = path.stat()
        except _NOT_THERE:
            return None
        return None if stat.S_ISDIR(found.st_mode) else found.st_size

    def is_folder(self, path: Path) -> bool:
        """See `Disk.is_folder`."""
        return path.is_dir()

    def names(self, folder: Path) -> list[str]:
        """See `Disk.names`."""
        try:
            return sorted(os.listdir(folder))
        except _NOT_THERE:
            return []

    def make_folder(self, folder: Path) -> None:
        """See `Disk.make_folder`."""
        folder.mkdir(mode=0o700, exist_ok=True)

    def move(self, path: Path, to: Path) -> None:
        """See `Disk.move`."""
        path.replace(to)

    def link(self, path: Path, to: Path) -> None:
        """See `Disk.link`."""
        os.link(path, to)

    def truncate(self, path: Path, length: int) -> None:
        """See `Disk.truncate`."""
        if (self.size(path) or 0) > length:
            os.truncate(path, length)

    def remove(self, path: Path) -> None:
        """See `Disk.remove`."""
        with contextlib.suppress(*_NOT_THERE):
            path.unlink()

    def remove_folder(self, folder: Path) -> None:
        """See `Disk.remove_folder`."""
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()

    def sync_folder(self, folder: Path) -> None:
        """See `Disk.sync_folder`."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _CANNOT_SYNC_FOLDERS:
                raise
        finally:
            os.close(descriptor)

    def touched_ns(self, path: Path) -> int:
        """See `Disk.touched_ns`."""
        return path.stat().st_mtime_ns

    def age_s(self, path: Path) -> float:
        """See `Disk.age_s`."""
        return (time.time_ns() - self.touched_ns(path)) / 1e9

    def touch(self, path: Path) -> None:
        """See `Disk.touch`."""
        os.utime(path)

    def lock(self, path: Path) -> OsLock:
        """See `Disk.lock`."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return OsLock(descriptor)

    def database(self, path: Path, busy_s: float, read_only: bool = False) -> sqlite3.Connection:
        """See `Disk.database`."""
        name = f"file:{quote(str(path.absolute()))}?mode=ro" if read_only else path
        return sqlite3.connect(
            name, timeout=busy_s, isolation_level=None, check_same_thread=False, uri=read_only
        )


OS_DISK = OsDisk()
