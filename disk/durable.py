"""Files and folders that are there whole after a power cut, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from disk.disk import Disk
from schemas.buffer import Buffer

PARTIAL = ".partial-"
"""What the names of unfinished files begin with; whoever owns the folder sweeps them at start."""


def write_durably(disk: Disk, path: Path, *chunks: Buffer) -> None:
    """Write a file so that after a crash it is there whole, or what was there before.

    Raises:
        OSError: If it cannot be written; what was at the path is still there.
    """
    write_chunks_durably(disk, path, chunks)


def write_chunks_durably(
    disk: Disk,
    path: Path,
    chunks: Iterable[Buffer],
    to: Callable[[], Path] | None = None,
    over: Path | None = None,
) -> None:
    """Likewise, of chunks that are made one after another, each to be used before the next.

    Args:
        disk: Where.
        path: The file.
        chunks: What is to be in it.
        to: Says what the file is to be called instead, in the same folder, when all is written.
        over: A file that nobody needs any more, see `Disk.create`.

    Raises:
        OSError: If it cannot be written, or whatever making a chunk raises; what was at the path is
            still there.
    """
    partial = path.with_name(PARTIAL + path.name)
    try:
        file = disk.create(partial, over=over)
        try:
            for chunk in chunks:
                file.write(chunk)
            if over is not None:
                file.cut()
            file.sync()
        finally:
            file.close()
        disk.move(partial, path if to is None else to())
    except Exception:
        with contextlib.suppress(OSError):
            disk.remove(partial)  # on a full disk it takes the room that is missing
        raise
    disk.sync_folder(path.parent)


def make_folders(disk: Disk, folder: Path) -> None:
    """Make a folder and those above it that are missing; all are there after a power cut.

    Raises:
        OSError: If one of them cannot be made.
    """
    if not disk.is_folder(folder):
        make_folders(disk, folder.parent)
        disk.make_folder(folder)
        disk.sync_folder(folder.parent)
        return
    # It may have been made by a process that was killed before it could sync. Where we may not
    # read the folder above, it was not us who made this one.
    with contextlib.suppress(PermissionError):
        disk.sync_folder(folder.parent)


def remove_tree(disk: Disk, folder: Path) -> None:
    """Remove a folder and all that is in it, as far as the disk lets it.

    Not durable by itself: after a power cut any of it may be there again.
    """
    for name in disk.names(folder):
        path = folder / name
        if disk.is_folder(path):
            remove_tree(disk, path)
        else:
            with contextlib.suppress(OSError):
                disk.remove(path)
    with contextlib.suppress(OSError):
        disk.remove_folder(folder)
