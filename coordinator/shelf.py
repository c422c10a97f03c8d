"""Cached updates on disk: one file of slots for each run, `cached/<run id>.slots`.

Rules: a slot that a row of the store names is only read; what is written to free slots is durable
after `sync`, and only then may the store name them. The file is as long as the most slots that were
ever in use; where no free slot was written yet there are gaps, which take no room on most disks.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from coordinator.aggregation.cache import Halves
from coordinator.errors import Damaged, NotKept
from disk import OS_DISK, Disk, Pages, make_folders

HALF_BYTES = 2


class ShelfOnDisk:
    """The slots of one run, to read and write. A `coordinator.aggregation.cache.Shelf`.

    Args:
        folder: Of the files of all runs.
        run_id: The run.
        size: Numbers of a slot.
        disk: Where the folder is.
    """

    def __init__(self, folder: Path, run_id: str, size: int, disk: Disk = OS_DISK) -> None:
        self._path = file_of(folder, run_id)
        self._size = size
        self._disk = disk
        self._pages: Pages | None = None
        self._is_named = False

    def read(self, slot: int, start: int, stop: int) -> Halves:
        """See `Shelf.read`.

        Raises:
            Damaged: If the file ends before.
        """
        place, length = _span(self._size, slot, start, stop)
        return _halves(self._open().read(place, length), length, self._path)

    def write(self, slot: int, start: int, numbers: Halves) -> None:
        """See `Shelf.write`.

        Raises:
            OSError: If the disk does not take it.
        """
        place, _ = _span(self._size, slot, start, start + numbers.size)
        self._open().write(place, numbers.astype("<f2", copy=False).view(np.uint8).data)

    def sync(self) -> None:
        """Make all that was written durable.

        Raises:
            OSError: If it is not; then all of it is to be written again.
        """
        self._open().sync()
        if not self._is_named:
            self._disk.sync_folder(self._path.parent)
            self._is_named = True

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        pages, self._pages = self._pages, None
        if pages is not None:
            pages.close()

    def _open(self) -> Pages:
        if self._pages is None:
            make_folders(self._disk, self._path.parent)
            self._pages = self._disk.pages(self._path)
        return self._pages


class ShelfToLookAt:
    """The slots of one run as they are: nothing is written, whatever a rule would write."""

    def __init__(self, folder: Path, run_id: str, size: int, disk: Disk = OS_DISK) -> None:
        self._path = file_of(folder, run_id)
        self._size = size
        self._disk = disk

    def read(self, slot: int, start: int, stop: int) -> Halves:
        """See `Shelf.read`.

        Raises:
            NotKept: If the file is gone.
            Damaged: If it ends before.
        """
        place, length = _span(self._size, slot, start, stop)
        try:
            data = self._disk.read(self._path, place, length)
        except FileNotFoundError as error:
            raise NotKept(f"{self._path} is gone: cached updates cannot be read") from error
        return _halves(data, length, self._path)

    def write(self, slot: int, start: int, numbers: Halves) -> None:
        """See `Shelf.write`; it is not done."""


def file_of(folder: Path, run_id: str) -> Path:
    """Where the slots of a run are."""
    return folder / f"{run_id}.slots"


def forget(folder: Path, run_id: str, disk: Disk) -> None:
    """Delete the slots of a run. The disk may refuse: then they are there for longer."""
    with contextlib.suppress(OSError):
        disk.remove(file_of(folder, run_id))


def _span(size: int, slot: int, start: int, stop: int) -> tuple[int, int]:
    return HALF_BYTES * (slot * size + start), HALF_BYTES * (stop - start)


def _halves(data: bytes | memoryview, length: int, path: Path) -> Halves:
    if len(data) != length:
        raise Damaged(f"{path} is damaged: it ends before a cached update does")
    return np.frombuffer(data, "<f2")
