"""What a machine's disk holds: what the system shows, and what would survive.

Rules of the file:

- Bytes survive from `sync` of their file on; an entry of a folder survives from `sync_folder` of it
  on. What was not synced survives a power cut or does not, each bit of it by chance.
- A sync that fails loses what was to be synced: a later one that succeeds does not bring it back.
- A process that is killed loses nothing that the system has, only what it held back itself: only a
  power cut forgets.
- A database's committed transactions survive as long as its entry does; the rest is rolled back.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from simulation.database import Database
from simulation.mishaps import Mishaps


@dataclass(eq=False)
class FileNode:
    """A file: what is read of it, what survives, and what a failed sync lost.

    Attributes:
        placed: Where it was written in place since the last sync, from and to.
    """

    data: bytearray = field(default_factory=bytearray)
    survives: bytes = b""
    lost: list[tuple[int, int]] = field(default_factory=list)
    placed: list[tuple[int, int]] = field(default_factory=list)
    touched_ns: int = 0
    locked_by: Mishaps | None = None

    def sync(self) -> None:
        """What is read of it survives from here on, but for what a failed sync lost."""
        survives = bytearray(self.data)
        for start, end in self.lost:
            end = min(end, len(survives))
            survives[start:end] = bytes(max(end - start, 0))
        self.survives = bytes(survives)
        self.placed = []

    def write(self, start: int, data: bytearray) -> None:
        """Write behind what is there, or over some of it."""
        if start == len(self.data):
            self.data += data
        else:
            self.write_at(start, memoryview(data))

    def write_at(self, start: int, data: memoryview) -> None:
        """Write in place; a gap before it is filled with zeros, and is written as well."""
        end = start + data.nbytes
        self.data += bytes(max(start - len(self.data), 0))
        self.data[start:end] = data
        self.placed.append((start, end))
        # What a failed sync lost is written again here.
        self.lost = [part for before in self.lost for part in _without(before, (start, end))]

    def lose_unsynced(self) -> None:
        """The system believes that it is written from now on, and it is not."""
        self.lost += [(len(self.survives), len(self.data)), *self.placed]
        self.placed = []

    def truncate(self, length: int) -> None:
        """What is written in the place of what was cut is new to the system."""
        del self.data[length:]
        self.lost = [(start, min(end, length)) for start, end in self.lost if start < length]
        self.placed = [(start, min(end, length)) for start, end in self.placed if start < length]

    def rot(self, place: int) -> None:
        """A bit of a byte turns over, on the disk itself."""
        survives = bytearray(self.survives)
        for data in (self.data, survives):
            if place < len(data):
                data[place] ^= 1
        self.survives = bytes(survives)

    def cut_power(self, rng: random.Random) -> None:
        """What was not synced may be there, or the beginning of it, or nothing."""
        if len(self.data) < len(self.survives) and rng.random() < 0.5:
            self.survives = self.survives[: len(self.data)]
        kept = len(self.data) if rng.random() < 0.5 else rng.randint(0, len(self.data))
        if kept > len(self.survives) and not self.lost and rng.random() < 0.5:
            self.survives = bytes(self.data[:kept])
        for start, end in self.placed:
            if rng.random() < 0.5:
                self._place(start, rng.randint(start, end))
        self.data, self.lost, self.locked_by = bytearray(self.survives), [], None
        self.placed = []

    def _place(self, start: int, end: int) -> None:
        """What was written in place there has come to the disk."""
        survives = bytearray(self.survives)
        survives += bytes(max(end - len(survives), 0))
        survives[start:end] = self.data[start:end]
        self.survives = bytes(survives)


def _without(span: tuple[int, int], cut: tuple[int, int]) -> list[tuple[int, int]]:
    """What is left of a span where another is cut out of it."""
    parts = (span[0], min(span[1], cut[0])), (max(span[0], cut[1]), span[1])
    return [(start, end) for start, end in parts if start < end]


@dataclass(eq=False)
class FolderNode:
    """A folder: its entries as they are shown, and as they survive."""

    entries: dict[str, Node] = field(default_factory=dict)
    survive: dict[str, Node] = field(default_factory=dict)
    touched_ns: int = 0

    def sync(self) -> None:
        """The entries survive as they are now."""
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


Node = FileNode | FolderNode | Database


def refused(code: int, path: Path) -> OSError:
    """The error of a code, of the class that the system's disk raises."""
    return OSError(code, os.strerror(code), str(path))


def _cut_power(node: Node, rng: random.Random) -> None:
    match node:
        case FileNode():
            node.cut_power(rng)
        case FolderNode():
            node.cut_power(rng)
            for name in sorted(node.entries):
                _cut_power(node.entries[name], rng)
        case Database():
            pass


def _copy(node: Node) -> Node:
    """As a backup has it: all that is shown, and it survives."""
    match node:
        case FileNode():
            return FileNode(bytearray(node.data), bytes(node.data), touched_ns=node.touched_ns)
        case FolderNode():
            entries = {name: _copy(entry) for name, entry in node.entries.items()}
            return FolderNode(entries, dict(entries), node.touched_ns)
        case Database():
            return node.copy()


class Platter:
    """What one machine's disk holds. Paths are absolute.

    Args:
        clock: UTC seconds, which files are stamped with.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.root = FolderNode()
        self._clock = clock
        self._ticks = itertools.count(1)

    def tick(self) -> int:
        """The disk's time in nanoseconds: later is larger."""
        return int(self._clock() * 1e9) + next(self._ticks)

    def find(self, path: Path) -> Node | None:
        """What is at a path, None if there is nothing."""
        node: Node | None = self.root
        for part in path.parts[1:]:
            if not isinstance(node, FolderNode):
                return None
            node = node.entries.get(part)
        return node

    def at(self, path: Path) -> Node:
        """What is at a path.

        Raises:
            FileNotFoundError: If there is nothing.
            NotADirectoryError: If above it is a file.
        """
        node: Node | None = self.root
        for part in path.parts[1:]:
            if not isinstance(node, FolderNode):
                raise refused(errno.ENOTDIR, path)
            node = node.entries.get(part)
            if node is None:
                raise refused(errno.ENOENT, path)
        assert node is not None
        return node

    def folder(self, path: Path) -> FolderNode:
        """The folder at a path.

        Raises:
            OSError: As of `at`, and if there is a file.
        """
        node = self.at(path)
        if not isinstance(node, FolderNode):
            raise refused(errno.ENOTDIR, path)
        return node

    def file(self, path: Path) -> FileNode:
        """The file at a path.

        Raises:
            OSError: As of `at`, and if there is a folder.
        """
        node = self.at(path)
        if isinstance(node, FolderNode):
            raise refused(errno.EISDIR, path)
        assert isinstance(node, FileNode), f"{path} is a database: use it as one"
        return node

    def count_names(self, node: FileNode) -> int:
        """How many names a file has."""
        return sum(
            entry is node
            for folder in self._nodes(self.root)
            if isinstance(folder, FolderNode)
            for entry in folder.entries.values()
        )

    def enter(self, path: Path, node: Node) -> None:
        """Give something a name, in the place of what had it."""
        folder = self.folder(path.parent)
        folder.entries[path.name] = node
        folder.touched_ns = self.tick()

    def leave(self, path: Path) -> None:
        """Take a name out of its folder."""
        folder = self.folder(path.parent)
        del folder.entries[path.name]
        folder.touched_ns = self.tick()

    def database(self, path: Path) -> sqlite3.Connection | None:
        """A connection to look at a database from outside, None if there is none."""
        node = self.find(path)
        return node.anchor if isinstance(node, Database) else None

    def end_process(self, mishaps: Mishaps) -> None:
        """A process is no more: its transactions are rolled back and its locks are free."""
        for node in self._nodes(self.root):
            if isinstance(node, Database):
                node.end_process(mishaps)
            elif isinstance(node, FileNode) and node.locked_by is mishaps:
                node.locked_by = None

    def cut_power(self, rng: random.Random) -> None:
        """Every process has ended; what was not synced survives only by chance."""
        _cut_power(self.root, rng)

    def backup(self) -> FolderNode:
        """A consistent copy of all that is on it, to be put back once."""
        copied = _copy(self.root)
        assert isinstance(copied, FolderNode)
        return copied

    def restore(self, backup: FolderNode) -> None:
        """Every process has ended; what was written since the backup is gone."""
        self.root = backup

    def _nodes(self, folder: FolderNode) -> Iterator[Node]:
        yield folder
        for name in sorted(folder.entries):
            node = folder.entries[name]
            if isinstance(node, FolderNode):
                yield from self._nodes(node)
            else:
                yield node
