"""Digests and ids: names for bytes, and names for work."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable

from schemas.buffer import Buffer

ID_DIGITS = 32
DIGEST_DIGITS = 64


def digest_of(*chunks: Buffer) -> str:
    """SHA-256 of the chunks one after another, as 64 hexadecimal digits."""
    return digest_of_stream(chunks)


def digest_of_stream(chunks: Iterable[Buffer]) -> str:
    """SHA-256 of chunks that need not be in memory together."""
    sha = hashlib.sha256()
    for chunk in chunks:
        sha.update(chunk)
    return sha.hexdigest()


def identify(*parts: str | int) -> str:
    """An id of 128 bits made of parts: the same parts give the same id, others another.

    Each part is preceded by its length, so ("ab", "c") and ("a", "bc") differ.
    """
    sha = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        sha.update(len(text).to_bytes(4, "little") + text)
    return sha.hexdigest()[:ID_DIGITS]


def update_id_of(incarnation: int, task_id: str, worker_id: str) -> str:
    """The id of the one update that a worker can make of a task, however often it trains it."""
    return identify("update", incarnation, task_id, worker_id)


def shard_of(worker_id: str, shards: int) -> int:
    """The shard whose ledger every update of this worker meets, 0 to shards - 1."""
    return zlib.crc32(worker_id.encode()) % shards
