"""A depot that is a folder which coordinator and workers share, for example by NFS.

Rules:

- The folder must be there, and in it a file `<federation>.depot`, its label, which is made once by
  whoever sets it up. Neither is ever made here: a mount point without its mount is an empty folder,
  which would take what nobody else sees, and have nothing of what is there.
- All objects lie in it beside each other, `<federation>.models.<digest>`, so that who may read and
  write them follows from the one folder and the umask of the services.
- A file is written under a name of its own and renamed when it is whole and synced. What a crash
  leaves of it expires like objects do.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from depot.depot import is_name, nothing, require_name
from depot.errors import DepotUnreachable, NotInDepot
from disk import OS_DISK, Disk, chunks_of
from disk.durable import PARTIAL
from schemas.buffer import Buffer


class FolderDepot:
    """A `depot.depot.Depot` in a shared folder.

    Args:
        folder: It must be there, with the label in it.
        federation: Whose objects they are: others in the folder are not touched.
        disk: Where the folder is.
        writer: No other writer of the folder may have it at the same time; random if empty.

    Attributes:
        label: The file that says that this is the folder.
    """

    def __init__(
        self, folder: Path, federation: str, disk: Disk = OS_DISK, writer: str = ""
    ) -> None:
        self._folder = folder
        self.label = folder / f"{federation}.depot"
        self._federation = federation
        self._disk = disk
        self._writer = writer or secrets.token_hex(8)
        self._puts = count()

    def put(self, name: str, data: Buffer, moved: Callable[[], object] = nothing) -> None:
        """See `Depot.put`."""
        path = self._path(name)
        # The same object may be put by two at a time: each writes a file of its own.
        partial = path.with_name(f"{PARTIAL}{path.name}.{self._writer}-{next(self._puts)}")
        with self._reaching():
            try:
                file = self._disk.create(partial)
                try:
                    for chunk in chunks_of(data):
                        file.write(chunk)
                        moved()
                    file.sync()
                finally:
                    file.close()
                self._disk.move(partial, path)
            except OSError:
                with contextlib.suppress(OSError):
                    self._disk.remove(partial)
                raise
            self._disk.sync_folder(self._folder)

    def size(self, name: str) -> int | None:
        """See `Depot.size`."""
        path = self._path(name)
        with self._reaching():
            return self._disk.size(path)

    def read(self, name: str, start: int, length: int) -> Buffer:
        """See `Depot.read`."""
        path = self._path(name)
        with self._reaching():
            try:
                return self._disk.read(path, start, length)
            except FileNotFoundError as error:
                raise NotInDepot(f"{path} is not there") from error

    def delete(self, name: str) -> None:
        """See `Depot.delete`."""
        path = self._path(name)
        with self._reaching():
            self._disk.remove(path)

    def expire(self, prefix: str, before_s: float, spare: Callable[[str], bool]) -> int:
        """See `Depot.expire`."""
        require_name(prefix)
        begin = f"{self._federation}.{prefix.replace('/', '.')}."
        gone = 0
        with self._reaching():
            for file in self._disk.names(self._folder):
                path = self._folder / file
                if not file.removeprefix(PARTIAL).startswith(begin):
                    continue
                with contextlib.suppress(FileNotFoundError):  # another one deleted it
                    if self._disk.touched_ns(path) >= before_s * 1e9:
                        continue
                    if file.startswith(PARTIAL):
                        self._disk.remove(path)
                    elif is_name(name := self._name(file)) and not spare(name):
                        self._disk.remove(path)
                        gone += 1
        return gone

    def _path(self, name: str) -> Path:
        require_name(name)
        return self._folder / f"{self._federation}.{name.replace('/', '.')}"

    def _name(self, file: str) -> str:
        return file.removeprefix(f"{self._federation}.").replace(".", "/")

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            if not self._disk.is_folder(self._folder):
                raise DepotUnreachable(
                    f"expected a folder at {self._folder}, there is none: make or mount it"
                )
            if self._disk.size(self.label) is None:
                raise DepotUnreachable(
                    f"{self._folder} has no file {self.label.name}: mount it, or, if this is the "
                    f"folder that all share, label it once (touch {self.label})"
                )
            yield
        except OSError as error:
            raise DepotUnreachable(f"{self._folder}: {error.strerror or error}") from error
