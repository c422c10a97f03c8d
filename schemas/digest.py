"""Digests and ids: names for bytes, and names for work."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable

from blake3 import blake3

from schemas.buffer import Buffer

ID_DIGITS = 32
DIGEST_DIGITS = 64


class RunningDigest:
    """The digest of bytes of which more come."""

    def __init__(self) -> None:
        self._hasher = blake3()

    def update(self, chunk: Buffer) -> None:
        """Take the bytes that come next."""
        self._hasher.update(chunk)

    def digits(self) -> str:
        """The digest of what has come so far; more may come."""
        return self._hasher.hexdigest()


def digest_of(*chunks: Buffer) -> str:
    """BLAKE3 of the chunks one after another, as 64 hexadecimal digits."""
    return digest_of_stream(chunks)


def digest_of_stream(chunks: Iterable[Buffer]) -> str:
    """BLAKE3 of chunks that need not be in memory together."""
    running = RunningDigest()
    for chunk in chunks:
        running.update(chunk)
    return running.digits()


def identify(*parts: str | int) -> str:
    """An id of 128 bits made of parts: the same parts give the same id, others another.

    Each part is preceded by its length, so ("ab", "c") and ("a", "bc") differ. It is of SHA-256,
    which is as fast for so few bytes.
    """
    texts = [str(part).encode() for part in parts]
    named = b"".join([len(text).to_bytes(4, "little") + text for text in texts])
    return hashlib.sha256(named).hexdigest()[:ID_DIGITS]


def update_id_of(incarnation: int, task_id: str, worker_id: str) -> str:
    """The id of the one update that a worker can make of a task, however often it trains it."""
    return identify("update", incarnation, task_id, worker_id)


def shard_of(worker_id: str, shards: int) -> int:
    """The shard whose ledger every update of this worker meets, 0 to shards - 1."""
    return zlib.crc32(worker_id.encode()) % shards
