"""Going through a large file in place, without all of it counting as this process's memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator

from schemas.buffer import Buffer

CHUNK_BYTES = 1024 * 1024


def let_go(view: Buffer) -> None:
    """Give the memory of a mapped view back to the system; it is read again when it is looked at.

    Nothing happens to what is not mapped, nor to a private view, nor to memory without a file (a
    map of another type): what was written there is nowhere else.
    """
    if isinstance(view, memoryview) and view.readonly and type(view.obj) is mmap.mmap:
        view.obj.madvise(mmap.MADV_DONTNEED)


def letting_go(view: Buffer, chunks: Iterable[Buffer], every: int = 4) -> Iterator[Buffer]:
    """Chunks that are made of a view, which is let go of now and then as they come."""
    for count, chunk in enumerate(chunks, start=1):
        yield chunk
        if count % every == 0:
            let_go(view)
    let_go(view)


def chunks_of(view: Buffer, chunk_bytes: int = CHUNK_BYTES) -> Iterator[memoryview]:
    """A view in consecutive chunks; what was looked at is let go of with the next."""
    whole = memoryview(view).cast("B")
    for start in range(0, whole.nbytes, chunk_bytes):
        yield whole[start : start + chunk_bytes]
        let_go(view)
