"""Files that are there after a power cut, behind a seam: the system's disk, or a simulated one."""

from disk.disk import Disk, File, Lock, Pages
from disk.durable import make_folders, remove_tree, write_chunks_durably, write_durably
from disk.mapped import chunks_of, let_go, letting_go
from disk.os_disk import OS_DISK, OsDisk
from disk.spares import Spares

__all__ = [
    "OS_DISK",
    "Disk",
    "File",
    "Lock",
    "OsDisk",
    "Pages",
    "Spares",
    "chunks_of",
    "let_go",
    "letting_go",
    "make_folders",
    "remove_tree",
    "write_chunks_durably",
    "write_durably",
]
