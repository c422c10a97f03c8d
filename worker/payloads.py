"""The files of the outbox: payloads that are too large for their rows.

Rules of the file:

- A file is named by update *and* content, so a process that outlives its agent for a moment cannot
  change what another one's row stands for.
- It is durable before a row names it, and removed only after that row is gone for good, or kept for
  the next one to be written over it. What no row names is a leftover, removed by `sweep` under the
  write lock that a row needs too.
- What the disk does not take, or give, is an `OSError`: the store says what that means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from disk import Disk, Spares, write_chunks_durably
from schemas.buffer import Buffer
from schemas.digest import RunningDigest, digest_of
from schemas.messages import Update, part_count
from worker.disk import make_folder
from worker.errors import PayloadLostError

DAMAGED_KEPT = 8
VIEWED_BYTES = 256 * 1024  # what is larger is mapped, and not copied
LINGERING_BYTES = 64 * 1024 * 1024  # of sent payloads that are removed a little later
SPARE_BYTES = 64 * 1024 * 1024  # of one more, which the next is written over


class Payloads:
    """The files in a worker's state folder.

    Args:
        folder: The worker's own.
        disk: Where it is.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder / "outbox"
        self._damaged = folder / "damaged"
        self._disk = disk
        self._spares = Spares(self._folder, disk, SPARE_BYTES)
        self._unremoved: set[str] = set()  # updates of which a file may be left
        self._lingering: dict[str, int] = {}  # such as are removed a little later: their bytes

    def write(self, name: str, update: Update, part_bytes: int, chunks: Iterable[Buffer]) -> Update:
        """Write a payload as it is made, durable on return; its header, which says what it is.

        While one chunk's digest is made the disk has the one before.

        Args:
            name: Of the file until it is whole; no other writer may have it at the same time.
            update: The header.
            part_bytes: The largest payload of one message.
            chunks: The payload, each chunk to be used before the next.
        """
        running, size = RunningDigest(), 0

        def passed() -> Iterator[Buffer]:
            nonlocal size
            for chunk in chunks:
                running.update(chunk)
                size += memoryview(chunk).nbytes
                yield chunk

        def described() -> Update:
            return _described(update, part_bytes, size, running.digits())

        write_chunks_durably(
            self._disk,
            self._folder / name,
            passed(),
            lambda: self._folder / file_of(described()),
            over=self._spares.find(),
        )
        return described()

    def has(self, name: str) -> bool:
        """Whether a file is there: one that no row names yet may have been swept away."""
        return self._disk.size(self._folder / name) is not None

    def age_s(self, name: str) -> float:
        """How long ago a file was written, in seconds.

        Raises:
            PayloadLostError: The file is missing.
        """
        try:
            return self._disk.age_s(self._folder / name)
        except FileNotFoundError as error:
            raise PayloadLostError(f"{self._folder / name} is missing") from error

    def read(self, name: str, start: int, end: int) -> Buffer:
        """Bytes of a payload, as far as they are there; many of them in place.

        Raises:
            PayloadLostError: The file is missing.
        """
        path = self._folder / name
        read = self._disk.map if end - start > VIEWED_BYTES else self._disk.read
        try:
            return read(path, start, end - start)
        except FileNotFoundError as error:
            raise PayloadLostError(f"{path} is missing") from error

    def expect_removal(self, update_id: str) -> None:
        """An update has a file, or may have had one: `remove` is to look for it."""
        self._unremoved.add(update_id)

    def may_have(self, update_id: str) -> bool:
        """Whether `remove` has something to look for."""
        return update_id in self._unremoved

    def may_linger(self, name: str) -> bool:
        """Whether a file may be left for a while, until something else waits for the disk."""
        size = self._disk.size(self._folder / name) or 0
        return size + sum(self._lingering.values()) <= LINGERING_BYTES

    def lingers(self, update_id: str) -> bool:
        """Whether an update's file waits for `remove_lingering`."""
        return update_id in self._lingering

    def let_linger(self, update_id: str) -> None:
        """Leave an update's file to `remove_lingering`, if it has one."""
        if self.may_have(update_id):
            files = self._files_of(update_id)
            self._lingering[update_id] = sum(self._disk.size(file) or 0 for file in files)

    def remove_lingering(self) -> None:
        """What names such files is gone for good. Those that cannot be removed go on lingering."""
        for update_id in list(self._lingering):
            with suppress(OSError):
                self.remove(update_id)
                del self._lingering[update_id]

    def remove(self, update_id: str) -> None:
        """Remove an update's files, those that another training of it left included."""
        if self.may_have(update_id):
            for file in self._files_of(update_id):
                self._spares.retire(file)
            self._unremoved.discard(update_id)

    def make_room(self) -> None:
        """Give back the file that is kept for the next payload."""
        with suppress(OSError):
            self._spares.clear()

    def put_aside(self, update_id: str) -> None:
        """Keep what is left of an update for people; the oldest of what is so kept goes."""
        aside = make_folder(self._disk, self._damaged)
        for file in self._files_of(update_id):
            self._disk.move(file, aside / file.name)
            self._disk.touch(aside / file.name)
        put = [aside / name for name in self._disk.names(aside)]
        for file in sorted(put, key=self._disk.touched_ns, reverse=True)[DAMAGED_KEPT:]:
            self._disk.remove(file)
        self._unremoved.discard(update_id)

    def sweep(self, named: set[str]) -> None:
        """Remove what no row names. Called under the lock of a writer."""
        for name in self._disk.names(self._folder):
            if name not in named:
                self._disk.remove(self._folder / name)

    def _files_of(self, update_id: str) -> list[Path]:
        names = self._disk.names(self._folder)
        return [self._folder / name for name in names if name.startswith(f"{update_id}-")]


def described(update: Update, part_bytes: int, payload: Buffer) -> Update:
    """A header that says what its payload is, and in how many parts it goes."""
    return _described(update, part_bytes, memoryview(payload).nbytes, digest_of(payload))


def file_of(update: Update) -> str:
    """The name of the file of an update's payload."""
    return f"{update.update_id}-{update.payload_digest[:16]}"


def _described(update: Update, part_bytes: int, payload_bytes: int, digest: str) -> Update:
    parts = 0 if payload_bytes <= part_bytes else part_count(payload_bytes, part_bytes)
    return replace(update, payload_digest=digest, payload_bytes=payload_bytes, parts=parts)
