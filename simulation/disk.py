"""A process's way to its machine's disk, with the mishaps of that process.

Each call that changes something is a step at which the process may end; `simulation.platter` says
what is left of it then.
"""

from __future__ import annotations

import os
from pathlib import Path

from schemas.buffer import Buffer
from simulation.database import Database, SimulatedConnection
from simulation.mishaps import FAILS, Crash, Mishaps
from simulation.platter import FileNode, FolderNode, Platter


class SimulatedFile:
    """A file that a process has open."""

    def __init__(self, node: FileNode, disk: SimulatedDisk, name: str) -> None:
        self._node = node
        self._disk = disk
        self._name = name

    def write(self, data: Buffer) -> None:
        """See `File.write`."""
        self._disk.mishaps.at(f"write {self._name}")
        self._disk.mishaps.require_room(self._name)
        self._node.data += data
        self._node.touched_ns = self._disk.platter.tick()

    def sync(self) -> None:
        """See `File.sync`."""
        self._disk.mishaps.at(f"sync {self._name}")
        if self._disk.mishaps.sync_fails(self._name):
            self._node.lose_unsynced()
            raise OSError(FAILS, os.strerror(FAILS))
        self._node.sync()

    def tell(self) -> int:
        """See `File.tell`."""
        return len(self._node.data)

    def close(self) -> None:
        """See `File.close`."""


class SimulatedLock:
    """A lock that a process has."""

    def __init__(self, node: FileNode) -> None:
        self._node = node

    def close(self) -> None:
        """See `Lock.close`."""
        self._node.locked_by = None


class SimulatedDisk:
    """A process's way to a platter; `disk.disk.Disk` says what each method does."""

    def __init__(self, platter: Platter, mishaps: Mishaps) -> None:
        self.platter = platter
        self.mishaps = mishaps

    def create(self, path: Path) -> SimulatedFile:
        """See `Disk.create`."""
        node = self._made(path)
        node.data = bytearray()
        return SimulatedFile(node, self, path.name)

    def append(self, path: Path) -> SimulatedFile:
        """See `Disk.append`."""
        return SimulatedFile(self._made(path), self, path.name)

    def read(self, path: Path, start: int = 0, length: int = -1) -> bytes:
        """See `Disk.read`."""
        data = self.platter.file(path).data
        return bytes(data[start:] if length < 0 else data[start : start + length])

    def size(self, path: Path) -> int | None:
        """See `Disk.size`."""
        node = self.platter.find(path)
        return len(node.data) if isinstance(node, FileNode) else None

    def is_folder(self, path: Path) -> bool:
        """See `Disk.is_folder`."""
        return isinstance(self.platter.find(path), FolderNode)

    def names(self, folder: Path) -> list[str]:
        """See `Disk.names`."""
        node = self.platter.find(folder)
        return sorted(node.entries) if isinstance(node, FolderNode) else []

    def make_folder(self, folder: Path) -> None:
        """See `Disk.make_folder`."""
        parent = self.platter.folder(folder.parent)
        if folder.name not in parent.entries:
            self.mishaps.at(f"make folder {folder.name}")
            self.mishaps.require_room(folder.name)
            parent.entries[folder.name] = FolderNode(touched_ns=self.platter.tick())

    def move(self, path: Path, to: Path) -> None:
        """See `Disk.move`."""
        self.mishaps.at(f"move {path.name}")
        node = self.platter.file(path)
        target = self.platter.folder(to.parent)
        target.entries[to.name] = node
        target.touched_ns = self.platter.tick()
        del self.platter.folder(path.parent).entries[path.name]

    def truncate(self, path: Path, length: int) -> None:
        """See `Disk.truncate`."""
        node = self.platter.find(path)
        if isinstance(node, FileNode) and len(node.data) > length:
            self.mishaps.at(f"truncate {path.name}")
            node.truncate(length)
            node.touched_ns = self.platter.tick()

    def remove(self, path: Path) -> None:
        """See `Disk.remove`."""
        if isinstance(self.platter.find(path), FileNode):
            self.mishaps.at(f"remove {path.name}")
            del self.platter.folder(path.parent).entries[path.name]

    def remove_folder(self, folder: Path) -> None:
        """See `Disk.remove_folder`."""
        node = self.platter.find(folder)
        if isinstance(node, FolderNode):
            self.mishaps.at(f"remove folder {folder.name}")
            if node.entries:
                raise OSError(39, os.strerror(39), str(folder))
            del self.platter.folder(folder.parent).entries[folder.name]

    def sync_folder(self, folder: Path) -> None:
        """See `Disk.sync_folder`."""
        self.mishaps.at(f"sync folder {folder.name}")
        if self.mishaps.sync_fails(folder.name):
            raise OSError(FAILS, os.strerror(FAILS))
        self.platter.folder(folder).sync()

    def touched_ns(self, path: Path) -> int:
        """See `Disk.touched_ns`."""
        node = self.platter.find(path)
        if node is None or isinstance(node, Database):
            raise FileNotFoundError(2, os.strerror(2), str(path))
        return node.touched_ns

    def touch(self, path: Path) -> None:
        """See `Disk.touch`."""
        self.platter.file(path).touched_ns = self.platter.tick()

    def lock(self, path: Path) -> SimulatedLock:
        """See `Disk.lock`."""
        node = self._made(path)
        if node.locked_by is not None:
            raise BlockingIOError(11, os.strerror(11), str(path))
        node.locked_by = self.mishaps
        return SimulatedLock(node)

    def database(self, path: Path, busy_s: float, read_only: bool = False) -> SimulatedConnection:
        """See `Disk.database`."""
        if self.mishaps.ended:
            raise Crash(f"open {path.name}")
        parent = self.platter.folder(path.parent)
        node = parent.entries.get(path.name)
        if node is None:
            self.mishaps.at(f"create {path.name}")
            self.mishaps.require_room(path.name)
            node = parent.entries[path.name] = Database(path.name)
        assert isinstance(node, Database)
        return node.connect(self.mishaps)

    def _made(self, path: Path) -> FileNode:
        parent = self.platter.folder(path.parent)
        node = parent.entries.get(path.name)
        if node is None:
            self.mishaps.at(f"create {path.name}")
            self.mishaps.require_room(path.name)
            node = parent.entries[path.name] = FileNode(touched_ns=self.platter.tick())
        if not isinstance(node, FileNode):
            raise IsADirectoryError(21, os.strerror(21), str(path))
        return node
