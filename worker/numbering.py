"""Workers of one machine that take numbers: with the id "worker-*" they are worker-1, worker-2, ….

For replicas that are started alike and have no name of their own, such as containers of one
service. A number belongs to a state folder and not to a process: whoever comes takes the lowest
whose folder nobody uses, and goes on with what is in it. So it does not matter which replica ends,
which comes back, and in what order; what lies in a folder is sent as soon as somebody takes it. A
folder is used by the one that holds its lock, which the system frees however a process ends. All
replicas see the same `worker.state_dir`, on one machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from disk import OS_DISK, Disk
from settings.errors import SettingsError, show
from worker.config import WorkerConfig
from worker.disk import FolderLock
from worker.errors import StateInUseError

STAR = "*"
NUMBERS_MAX = 10_000
"""More than any machine runs."""


def is_numbered(worker_id: str) -> bool:
    """Whether an id is one of many: it has a star."""
    return STAR in worker_id


def with_number(text: str, number: int) -> str:
    """A text with a number for each star."""
    return text.replace(STAR, str(number))


def free_numbers(config: WorkerConfig, disk: Disk = OS_DISK) -> Iterator[WorkerConfig]:
    """The worker of each number that nobody uses just now, the lowest first.

    Another process may take it before the caller does, who then asks for the next.

    Args:
        config: Of the worker; the star stands in its id, the name of its folder and, if each has
            its own, its data.
        disk: Where the state folders are.

    Raises:
        StoreError: A folder cannot be made.
        SettingsError: There is none left.
    """
    for number in range(1, NUMBERS_MAX + 1):
        worker_id = with_number(config.worker_id, number)
        folder = config.folder.parent / worker_id
        try:
            FolderLock(disk, folder).release()
        except StateInUseError:
            continue
        yield replace(
            config,
            folder=folder,
            data=with_number(config.data, number),
            options=replace(config.options, worker_id=worker_id),
        )
    raise SettingsError("--id", f"at most {NUMBERS_MAX} workers", show(config.worker_id))
