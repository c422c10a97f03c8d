"""The stores that a training process writes to: those of its last workers stay open.

Opening one costs as much as the rest of what is done for a small update. A store is looked at each
time: where its folder was made anew meanwhile, the database that is open has no name any more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from disk import OS_DISK, Disk
from worker.store import Store

KEPT = 64
"""Three open files each."""


class Stores:
    """Stores of other processes, by their folders. Used by one thread.

    Args:
        disk: Where they are.
        kept: How many stay open.
    """

    def __init__(self, disk: Disk = OS_DISK, kept: int = 0) -> None:
        self._disk = disk
        self._kept = kept
        self._open: OrderedDict[Path, Store] = OrderedDict()

    @contextmanager
    def opened(self, folder: Path, life: str) -> Iterator[Store]:
        """The store in a folder; it is closed if what is done with it fails.

        Args:
            folder: A worker's state folder.
            life: `Store.life` of the one that is meant.

        Raises:
            StoreError: There is none, or it cannot be opened.
        """
        store = self._open.pop(folder, None)
        try:
            if store is not None and store.life != life:
                store.close()
                store = None
            if store is None:
                store = Store.join(folder, self._disk)
            yield store
        except BaseException:
            if store is not None:
                store.close()
            raise
        self._open[folder] = store
        while len(self._open) > self._kept:
            _, oldest = self._open.popitem(last=False)
            oldest.close()
