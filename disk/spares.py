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
    """The spare files of a folder: at most one, so that none is kept for nothing.

    Several processes may use a folder's: each file is given to one of them.

    Args:
        folder: Where the files are.
        disk: Where that is.
        bytes_max: What is larger is not kept.
    """

    def __init__(self, folder: Path, disk: Disk, bytes_max: int) -> None:
        self._folder = folder
        self._disk = disk
        self._bytes_max = bytes_max

    def find(self) -> Path | None:
        """A file to write over (`Disk.create`), None if there is none."""
        names = self._disk.names(self._folder)
        return next((self._folder / name for name in names if name.startswith(SPARE)), None)

    def retire(self, path: Path) -> None:
        """Keep a file of the folder to be written over, or remove it.

        Args:
            path: The file; its name is never used again.

        Raises:
            OSError: If it could not be removed.
        """
        if self.find() is None and (self._disk.size(path) or 0) <= self._bytes_max:
            with contextlib.suppress(FileNotFoundError):
                self._disk.move(path, path.with_name(SPARE + path.name))
        else:
            self._disk.remove(path)

    def clear(self) -> None:
        """Remove what is there.

        Raises:
            OSError: If it could not be removed.
        """
        while (spare := self.find()) is not None:
            self._disk.remove(spare)
