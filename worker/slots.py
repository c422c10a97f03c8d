"""Workers of one machine that take numbers: with the id "worker-*" they are worker-1, worker-2, ….

For replicas that are started alike and have no name of their own, such as containers of one
service. A number, called a slot, belongs to a state folder and not to a process: whoever comes
takes the lowest whose folder nobody uses, and goes on with what is in it. So it does not matter
which replica ends, which comes back, and in what order; what lies in a folder is sent as soon as
somebody takes it. A folder is used by the one that holds its lock, which the system frees however a
process ends. All replicas see the same `worker.state_dir`, on one machine.
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
SLOTS_MAX = 10_000
"""More than any machine runs."""


def has_slots(worker_id: str) -> bool:
    """Whether an id is one of many: it has a star."""
    return STAR in worker_id


def in_slot(text: str, slot: int) -> str:
    """A text with a slot's number for each star."""
    return text.replace(STAR, str(slot))


def free_slots(config: WorkerConfig, disk: Disk = OS_DISK) -> Iterator[WorkerConfig]:
    """The worker in each slot that nobody uses just now, the lowest first.

    Another process may take it before the caller does, who then asks for the next.

    Args:
        config: Of the worker; the star stands in its id, the name of its folder and, if each has
            its own, its data.
        disk: Where the state folders are.

    Raises:
        StoreError: A folder cannot be made.
        SettingsError: There is none left.
    """
    for slot in range(1, SLOTS_MAX + 1):
        worker_id = in_slot(config.worker_id, slot)
        folder = config.folder.parent / worker_id
        try:
            FolderLock(disk, folder).release()
        except StateInUseError:
            continue
        yield replace(
            config,
            folder=folder,
            data=in_slot(config.data, slot),
            options=replace(config.options, worker_id=worker_id),
        )
    raise SettingsError("--id", f"at most {SLOTS_MAX} workers", show(config.worker_id))
