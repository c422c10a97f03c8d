"""A process's way to its machine's disk, with the mishaps of that process.

Each call that changes something is a step at which the process may end; `simulation.platter` says
what is left of it then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

from schemas.buffer import Buffer
from simulation.database import Database, SimulatedConnection
from simulation.mishaps import FAILS, Crash, Mishaps
from simulation.platter import FileNode, FolderNode, Platter, refused

BUFFERED = 8192
"""Bytes that a process holds back until there are more of them, or the file is synced or closed."""


class SimulatedFile:
    """A file that a process has open."""

    def __init__(self, node: FileNode, disk: SimulatedDisk, name: str, place: int) -> None:
        self._node = node
        self._disk = disk
        self._name = name
        self._place = place
        self._held = bytearray()
        self._closed = False

    def write(self, data: Buffer) -> None:
        """See `File.write`."""
        self._require_open()
        self._disk.mishaps.at(f"write {self._name}")
        self._held += data
        if len(self._held) > BUFFERED:
            self._pass_on()

    def flush(self) -> None:
        """See `File.flush`."""
        self._require_open()
        self._disk.mishaps.at(f"flush {self._name}")
        self._pass_on()

    def sync(self) -> None:
        """See `File.sync`."""
        self._require_open()
        self._disk.mishaps.at(f"sync {self._name}")
        self._pass_on()
        if self._disk.mishaps.sync_fails(self._name):
            self._node.lose_unsynced()
            raise OSError(FAILS, os.strerror(FAILS))
        self._node.sync()

    def tell(self) -> int:
        """See `File.tell`."""
        return self._place + len(self._held)

    def cut(self) -> None:
        """See `File.cut`."""
        self._require_open()
        self._pass_on()
        if len(self._node.data) > self._place:
            self._disk.mishaps.at(f"cut {self._name}")
            self._node.truncate(self._place)

    def close(self) -> None:
        """See `File.close`."""
        if not self._closed and not self._disk.mishaps.ended:
            with contextlib.suppress(OSError):  # as the system's
                self._pass_on()
        self._closed = True

    def _pass_on(self) -> None:
        """What the process held back goes to the system; a full disk takes some of it."""
        if not self._held:
            return
        mishaps, taken = self._disk.mishaps, len(self._held)
        behind = self._place + taken - len(self._node.data)
        if mishaps.full and behind > 0:
            taken += mishaps.fits(behind) - behind
        self._node.write(self._place, self._held[:taken])
        self._place += taken
        self._node.touched_ns = self._disk.platter.tick()
        del self._held[:taken]
        if self._held:
            mishaps.require_room(self._name)

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("expected an open file, came a closed file")


class SimulatedPages:
    """A file that a process writes in place."""

    def __init__(self, node: FileNode, disk: SimulatedDisk, name: str) -> None:
        self._node = node
        self._disk = disk
        self._name = name
        self._closed = False

    def read(self, start: int, length: int) -> memoryview:
        """See `Pages.read`."""
        self._require_open()
        return memoryview(bytes(self._node.data[start : start + length]))

    def write(self, start: int, data: Buffer) -> None:
        """See `Pages.write`; of what is written in place even a full disk takes what it had."""
        self._require_open()
        mishaps = self._disk.mishaps
        mishaps.at(f"write {self._name}")
        taken = memoryview(data).cast("B")
        if mishaps.full and start + taken.nbytes > len(self._node.data):
            taken = taken[: mishaps.fits(taken.nbytes)]
        self._node.write_at(start, taken)
        self._node.touched_ns = self._disk.platter.tick()
        if taken.nbytes < memoryview(data).nbytes:
            mishaps.require_room(self._name)

    def sync(self) -> None:
        """See `Pages.sync`."""
        self._require_open()
        self._disk.mishaps.at(f"sync {self._name}")
        if self._disk.mishaps.sync_fails(self._name):
            self._node.lose_unsynced()
            raise OSError(FAILS, os.strerror(FAILS))
        self._node.sync()

    def close(self) -> None:
        """See `Pages.close`."""
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("expected an open file, came a closed file")


class SimulatedLock:
    """A lock that a process has."""

    def __init__(self, node: FileNode) -> None:
        self._node: FileNode | None = node

    def close(self) -> None:
        """See `Lock.close`."""
        if self._node is not None:
            self._node.locked_by = None
            self._node = None


class SimulatedDisk:
    """A process's way to a platter; `disk.disk.Disk` says what each method does."""

    def __init__(self, platter: Platter, mishaps: Mishaps) -> None:
        self.platter = platter
        self.mishaps = mishaps

    def create(
        self, path: Path, *, lasting: bool = True, over: Path | None = None
    ) -> SimulatedFile:
        """See `Disk.create`."""
        node = self._taken_over(over, path)
        if node is None:
            node = self._made(path)
            if node.data:
                self.mishaps.at(f"empty {path.name}")
                node.truncate(0)
            node.touched_ns = self.platter.tick()
        return SimulatedFile(node, self, path.name, 0)

    def append(self, path: Path, *, lasting: bool = True) -> SimulatedFile:
        """See `Disk.append`."""
        node = self._made(path)
        return SimulatedFile(node, self, path.name, len(node.data))

    def pages(self, path: Path, over: Path | None = None) -> SimulatedPages:
        """See `Disk.pages`."""
        node = self._taken_over(over, path) or self._made(path)
        return SimulatedPages(node, self, path.name)

    def read(self, path: Path, start: int = 0, length: int = -1) -> bytes:
        """See `Disk.read`."""
        data = self.platter.file(path).data
        return bytes(data[start:] if length < 0 else data[start : start + length])

    def map(self, path: Path, start: int = 0, length: int = -1) -> memoryview:
        """See `Disk.map`."""
        return memoryview(self.read(path, start, length))

    def map_private(self, path: Path) -> memoryview:
        """See `Disk.map_private`."""
        return memoryview(bytearray(self.read(path)))

    def size(self, path: Path) -> int | None:
        """See `Disk.size`."""
        match self.platter.find(path):
            case FileNode() as node:
                return len(node.data)
            case Database() as node:
                return node.size
            case _:
                return None

    def is_folder(self, path: Path) -> bool:
        """See `Disk.is_folder`."""
        return isinstance(self.platter.find(path), FolderNode)

    def names(self, folder: Path) -> list[str]:
        """See `Disk.names`."""
        node = self.platter.find(folder)
        return sorted(node.entries) if isinstance(node, FolderNode) else []

    def make_folder(self, folder: Path) -> None:
        """See `Disk.make_folder`."""
        found = self.platter.folder(folder.parent).entries.get(folder.name)
        if found is None:
            self.mishaps.at(f"make folder {folder.name}")
            self.mishaps.require_room(folder.name)
            self.platter.enter(folder, FolderNode(touched_ns=self.platter.tick()))
        elif not isinstance(found, FolderNode):
            raise refused(errno.EEXIST, folder)

    def move(self, path: Path, to: Path) -> None:
        """See `Disk.move`."""
        self.mishaps.at(f"move {path.name}")
        node = self.platter.file(path)
        if self.is_folder(to):
            raise refused(errno.EISDIR, to)
        if to != path:
            self.platter.enter(to, node)
            self.platter.leave(path)

    def link(self, path: Path, to: Path) -> None:
        """See `Disk.link`."""
        self.mishaps.at(f"link {path.name}")
        node = self.platter.file(path)
        if to.name in self.platter.folder(to.parent).entries:
            raise refused(errno.EEXIST, to)
        self.mishaps.require_room(path.name)
        self.platter.enter(to, node)

    def truncate(self, path: Path, length: int) -> None:
        """See `Disk.truncate`."""
        node = self.platter.find(path)
        if isinstance(node, FileNode) and len(node.data) > length:
            self.mishaps.at(f"truncate {path.name}")
            node.truncate(length)
            node.touched_ns = self.platter.tick()

    def remove(self, path: Path) -> None:
        """See `Disk.remove`."""
        node = self.platter.find(path)
        if isinstance(node, FolderNode):
            raise refused(errno.EISDIR, path)
        if node is not None:
            self.mishaps.at(f"remove {path.name}")
            self.platter.leave(path)

    def remove_folder(self, folder: Path) -> None:
        """See `Disk.remove_folder`."""
        if self.platter.find(folder) is not None:
            node = self.platter.folder(folder)
            self.mishaps.at(f"remove folder {folder.name}")
            if node.entries:
                raise refused(errno.ENOTEMPTY, folder)
            self.platter.leave(folder)

    def sync_folder(self, folder: Path) -> None:
        """See `Disk.sync_folder`."""
        self.mishaps.at(f"sync folder {folder.name}")
        if self.mishaps.sync_fails(folder.name):
            raise OSError(FAILS, os.strerror(FAILS))
        self.platter.folder(folder).sync()

    def touched_ns(self, path: Path) -> int:
        """See `Disk.touched_ns`."""
        node = self.platter.at(path)
        assert not isinstance(node, Database), f"{path} is a database: nobody asks for its time"
        return node.touched_ns

    def age_s(self, path: Path) -> float:
        """See `Disk.age_s`."""
        return (self.platter.tick() - self.touched_ns(path)) / 1e9

    def touch(self, path: Path) -> None:
        """See `Disk.touch`."""
        self.platter.file(path).touched_ns = self.platter.tick()

    def lock(self, path: Path) -> SimulatedLock:
        """See `Disk.lock`."""
        node = self._made(path)
        if node.locked_by is not None:
            raise refused(errno.EWOULDBLOCK, path)
        node.locked_by = self.mishaps
        return SimulatedLock(node)

    def database(self, path: Path, busy_s: float, read_only: bool = False) -> SimulatedConnection:
        """See `Disk.database`."""
        if self.mishaps.ended:
            raise Crash(f"open {path.name}")
        node = self.platter.find(path)
        if node is None and not read_only and self.is_folder(path.parent):
            self.mishaps.at(f"create {path.name}")
            self.mishaps.require_room(path.name)
            node = Database(path.name)
            self.platter.enter(path, node)
        if not isinstance(node, Database):
            raise sqlite3.OperationalError("unable to open database file")
        return node.connect(self.mishaps, read_only)

    def _taken_over(self, spare: Path | None, path: Path) -> FileNode | None:
        """A file that gets another name to be written over; a view of it is a copy here."""
        node = None if spare is None else self.platter.find(spare)
        if spare is None or not isinstance(node, FileNode) or self.platter.count_names(node) > 1:
            return None
        self.move(spare, path)
        return node

    def _made(self, path: Path) -> FileNode:
        if path.name not in self.platter.folder(path.parent).entries:
            self.mishaps.at(f"create {path.name}")
            self.mishaps.require_room(path.name)
            self.platter.enter(path, FileNode(touched_ns=self.platter.tick()))
        return self.platter.file(path)
