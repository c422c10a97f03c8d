"""A disk in memory that forgets what was not synced, entries of folders included.

    Platter          what a machine's disk holds: what the system shows, and what would survive
    SimulatedDisk    a process's way to it, with the mishaps of that process

Rules of the file:

- Bytes survive from `sync` of their file on; an entry of a folder survives from `sync_folder` of it
  on. What was not synced survives a power cut or does not, each bit of it by chance.
- A sync that fails loses what was to be synced: a later one that succeeds does not bring it back.
- A process that is killed loses nothing that the system has: only a power cut forgets.
- A database's committed transactions survive as long as its entry does; the rest is rolled back.
"""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from schemas.buffer import Buffer
from simulation.database import Database, SimulatedConnection
from simulation.mishaps import FAILS, Crash, Mishaps


@dataclass(eq=False)
class _FileNode:
    """A file: what is read of it, what survives, and what a failed sync lost."""

    data: bytearray = field(default_factory=bytearray)
    survives: bytes = b""
    lost: list[tuple[int, int]] = field(default_factory=list)
    touched_ns: int = 0
    locked_by: Mishaps | None = None

    def sync(self) -> None:
        survives = bytearray(self.data)
        for start, end in self.lost:
            end = min(end, len(survives))
            survives[start:end] = bytes(max(end - start, 0))
        self.survives = bytes(survives)

    def lose_unsynced(self) -> None:
        """The system believes that it is written from now on, and it is not."""
        self.lost.append((len(self.survives), len(self.data)))

    def truncate(self, length: int) -> None:
        """What is written in the place of what was cut is new to the system."""
        del self.data[length:]
        self.lost = [(start, min(end, length)) for start, end in self.lost if start < length]

    def cut_power(self, rng: random.Random) -> None:
        if len(self.data) < len(self.survives) and rng.random() < 0.5:
            self.survives = self.survives[: len(self.data)]
        kept = len(self.data) if rng.random() < 0.5 else rng.randint(0, len(self.data))
        if kept > len(self.survives) and not self.lost and rng.random() < 0.5:
            self.survives = bytes(self.data[:kept])
        self.data, self.lost, self.locked_by = bytearray(self.survives), [], None


@dataclass(eq=False)
class _FolderNode:
    """A folder: its entries as they are shown, and as they survive."""

    entries: dict[str, Node] = field(default_factory=dict)
    survive: dict[str, Node] = field(default_factory=dict)
    touched_ns: int = 0

    def sync(self) -> None:
        self.survive = dict(self.entries)

    def cut_power(self, rng: random.Random) -> None:
        """Of the changes that were not synced each has come to the disk or not."""
        for name in sorted(self.entries.keys() | self.survive.keys()):
            now, then = self.entries.get(name), self.survive.get(name)
            if now is not then and rng.random() < 0.5:
                if now is None:
                    del self.survive[name]
                else:
                    self.survive[name] = now
        self.entries = dict(self.survive)


Node = _FileNode | _FolderNode | Database


def _cut_power(node: Node, rng: random.Random) -> None:
    match node:
        case _FileNode():
            node.cut_power(rng)
        case _FolderNode():
            node.cut_power(rng)
            for name in sorted(node.entries):
                _cut_power(node.entries[name], rng)
        case Database():
            pass


class Platter:
    """What one machine's disk holds. Paths are absolute.

    Args:
        clock: UTC seconds, which files are stamped with.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.root = _FolderNode()
        self._clock = clock
        self._ticks = itertools.count(1)

    def tick(self) -> int:
        """The disk's time in nanoseconds: later is larger."""
        return int(self._clock() * 1e9) + next(self._ticks)

    def find(self, path: Path) -> Node | None:
        """What is at a path."""
        node: Node | None = self.root
        for part in path.parts[1:]:
            if not isinstance(node, _FolderNode):
                return None
            node = node.entries.get(part)
        return node

    def folder(self, path: Path) -> _FolderNode:
        """The folder at a path.

        Raises:
            FileNotFoundError: If there is none.
        """
        node = self.find(path)
        if not isinstance(node, _FolderNode):
            raise FileNotFoundError(2, os.strerror(2), str(path))
        return node

    def file(self, path: Path) -> _FileNode:
        """The file at a path.

        Raises:
            FileNotFoundError: If there is none.
        """
        node = self.find(path)
        if not isinstance(node, _FileNode):
            raise FileNotFoundError(2, os.strerror(2), str(path))
        return node

    def database(self, path: Path) -> sqlite3.Connection | None:
        """A connection to look at a database from outside, None if there is none."""
        node = self.find(path)
        return node.anchor if isinstance(node, Database) else None

    def end_process(self, mishaps: Mishaps) -> None:
        """A process is no more: its transactions are rolled back and its locks are free."""
        for node in self._nodes(self.root):
            if isinstance(node, Database):
                node.end_process(mishaps)
            elif isinstance(node, _FileNode) and node.locked_by is mishaps:
                node.locked_by = None

    def cut_power(self, rng: random.Random) -> None:
        """Every process has ended; what was not synced survives only by chance."""
        _cut_power(self.root, rng)

    def _nodes(self, folder: _FolderNode) -> Iterator[Node]:
        yield folder
        for name in sorted(folder.entries):
            node = folder.entries[name]
            if isinstance(node, _FolderNode):
                yield from self._nodes(node)
            else:
                yield node


class SimulatedFile:
    """A file that a process has open."""

    def __init__(self, node: _FileNode, disk: SimulatedDisk, name: str) -> None:
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

    def __init__(self, node: _FileNode) -> None:
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
        return len(node.data) if isinstance(node, _FileNode) else None

    def is_folder(self, path: Path) -> bool:
        """See `Disk.is_folder`."""
        return isinstance(self.platter.find(path), _FolderNode)

    def names(self, folder: Path) -> list[str]:
        """See `Disk.names`."""
        node = self.platter.find(folder)
        return sorted(node.entries) if isinstance(node, _FolderNode) else []

    def make_folder(self, folder: Path) -> None:
        """See `Disk.make_folder`."""
        parent = self.platter.folder(folder.parent)
        if folder.name not in parent.entries:
            self.mishaps.at(f"make folder {folder.name}")
            self.mishaps.require_room(folder.name)
            parent.entries[folder.name] = _FolderNode(touched_ns=self.platter.tick())

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
        if isinstance(node, _FileNode) and len(node.data) > length:
            self.mishaps.at(f"truncate {path.name}")
            node.truncate(length)
            node.touched_ns = self.platter.tick()

    def remove(self, path: Path) -> None:
        """See `Disk.remove`."""
        if isinstance(self.platter.find(path), _FileNode):
            self.mishaps.at(f"remove {path.name}")
            del self.platter.folder(path.parent).entries[path.name]

    def remove_folder(self, folder: Path) -> None:
        """See `Disk.remove_folder`."""
        node = self.platter.find(folder)
        if isinstance(node, _FolderNode):
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

    def _made(self, path: Path) -> _FileNode:
        parent = self.platter.folder(path.parent)
        node = parent.entries.get(path.name)
        if node is None:
            self.mishaps.at(f"create {path.name}")
            self.mishaps.require_room(path.name)
            node = parent.entries[path.name] = _FileNode(touched_ns=self.platter.tick())
        if not isinstance(node, _FileNode):
            raise IsADirectoryError(21, os.strerror(21), str(path))
        return node
