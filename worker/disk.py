"""Writing so that it is there after a power cut, and one worker per folder.

A file is durable once its bytes *and* the folder that names it are synced. `replace_durably` gives
either the whole new file or none of it, whatever happens meanwhile.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from schemas.buffer import Buffer
from worker.errors import StateInUseError, StoreError

TEMPORARY = ".partial-"
"""What the names of unfinished files begin with; at start they are removed."""


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> Path:
    """A folder that only its owner reads, as each that had to be made above it.

    All of them are there after a power cut.

    Raises:
        StoreError: Saying in a line what stands in the way.
    """
    try:
        _make(folder)
    except OSError as error:
        raise _unusable(folder, error) from error
    return folder


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def _unusable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{folder}: expected a folder that can be written, came: {error.strerror or error}; "
        "choose another with --state-dir"
    )


def replace_durably(path: Path, chunks: Iterable[Buffer]) -> None:
    """Write a file, all of it or nothing.

    Raises:
        OSError: The disk is full, or worse; what stood under the name before still does.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        with open(temporary, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk it takes the room that is missing
        raise
    sync_folder(path.parent)


class FolderLock:
    """The right to be the one worker of a state folder; the system frees it however we end.

    Raises:
        StateInUseError: Another process has it.
        StoreError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        try:
            self._file = open(folder / "lock", "ab")  # noqa: SIM115 (held for long)
        except OSError as error:
            raise _unusable(folder, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            if not isinstance(error, BlockingIOError):  # a file system without locks, say
                raise _unusable(folder, error) from error
            raise StateInUseError(
                f"{folder} is in use by another worker: stop it, or give this one a folder of "
                "its own with --state-dir"
            ) from error

    def release(self) -> None:
        """Let the folder go. Safe to call twice."""
        self._file.close()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
