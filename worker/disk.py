"""The worker's state folder: private, there after a power cut, and one worker's at a time."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from disk import Disk, make_folders
from worker.errors import StateInUseError, StoreError

JUST_S = 1.0  # many times what lies between an end and a beginning, unless we were asleep


def make_folder(disk: Disk, folder: Path) -> Path:
    """A folder that only its owner reads, as each that had to be made above it.

    All of them are there after a power cut.

    Raises:
        StoreError: Saying in a line what stands in the way.
    """
    try:
        make_folders(disk, folder)
    except OSError as error:
        raise _unusable(folder, error) from error
    return folder


def _unusable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{folder}: expected a folder that can be written, came: {error.strerror or error}; "
        "choose another with --state-dir"
    )


def is_just_written(age_s: float) -> bool:
    """Whether nothing can have happened to a file of that age yet."""
    return 0 <= age_s <= JUST_S


class FolderLock:
    """The right to be the one worker of a state folder; the system frees it however we end.

    Raises:
        StateInUseError: Another process has it.
        StoreError: The folder cannot be written.
    """

    def __init__(self, disk: Disk, folder: Path) -> None:
        make_folder(disk, folder)
        try:
            self._lock = disk.lock(folder / "lock")
        except BlockingIOError as error:
            raise StateInUseError(
                f"{folder} is in use by another worker: stop it, or give this one a folder of "
                "its own with --state-dir"
            ) from error
        except OSError as error:  # a file system without locks, say
            raise _unusable(folder, error) from error

    def release(self) -> None:
        """Let the folder go. Safe to call twice."""
        self._lock.close()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
