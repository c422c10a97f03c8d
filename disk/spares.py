"""Files that nobody needs any more, kept to be written over.

A new file costs the disk's journal a wait, and its removal another: to write over one that is there
costs a third of both. What was in it is still on the disk until then, as it is for a while after
any removal.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from disk.disk import Disk

SPARE = ".spare-"
"""What the names of such files begin with; whoever owns the folder sweeps them as it likes."""


class Spares:
    """The spare files of a folder.

    Several processes may use a folder's: each file is given to one of them, and each of them may
    keep as many.

    Args:
        folder: Where the files are.
        disk: Where that is.
        bytes_max: So many bytes of them are kept.
        files_max: And so many files.
    """

    def __init__(self, folder: Path, disk: Disk, bytes_max: int, files_max: int = 1) -> None:
        self._folder = folder
        self._disk = disk
        self._bytes_max = bytes_max
        self._files_max = files_max
        self._given: set[Path] = set()

    def find(self, num_bytes: int | None = None) -> Path | None:
        """A file to write over (`Disk.create`), None if there is none.

        One that was given before, and is there still, is read by somebody: the others come first.

        Args:
            num_bytes: What is to be in it: one of at most twice and at least half the size.
        """
        files = self._files()
        self._given.intersection_update(files)
        fit = [file for file in files if self._fits(file, num_bytes)]
        if self._given.issuperset(fit):
            self._given.clear()
        for file in fit:
            if file not in self._given:
                self._given.add(file)
                return file
        return None

    def has(self, num_bytes: int) -> bool:
        """Whether there is a file for so many bytes."""
        return any(self._fits(file, num_bytes) for file in self._files())

    def retire(self, *paths: Path) -> None:
        """Keep files to be written over, as many as there is room for, and remove the others.

        Args:
            paths: The files; no other ever has one of their names.

        Raises:
            OSError: If one could not be removed.
        """
        kept = self._files()
        count, room = len(kept), self._bytes_max - sum(map(self._size, kept))
        for path in paths:
            size = self._size(path)
            if count < self._files_max and size <= room:
                with contextlib.suppress(OSError):  # a full disk may have no room for another name
                    self._disk.move(path, self._folder / (SPARE + path.name))
                    count, room = count + 1, room - size
            self._disk.remove(path)

    def clear(self) -> None:
        """Remove what is there: another model's, or what is missing on a full disk.

        Raises:
            OSError: If it could not be removed.
        """
        for spare in self._files():
            self._disk.remove(spare)

    def _files(self) -> list[Path]:
        names = self._disk.names(self._folder)
        return [self._folder / name for name in names if name.startswith(SPARE)]

    def _fits(self, file: Path, num_bytes: int | None) -> bool:
        return num_bytes is None or num_bytes / 2 <= self._size(file) <= num_bytes * 2

    def _size(self, path: Path) -> int:
        return self._disk.size(path) or 0
