"""The model cache: files named by the digest of their bytes, and reading one from the stream.

Rules of the file:

- The digest is the name, the offset a hint. A file has its name only once all of it was verified
  and synced.
- The stream must begin where it was said to, and go on without a gap: anything else means that the
  model is gone (retention may delete what was confirmed), never that something else is taken.
- Nothing is larger than was announced, and what was announced was allowed.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from schemas.buffer import Buffer
from schemas.messages import ModelPart, Start
from worker.disk import TEMPORARY, make_folder, sync_folder

MODELS_KEPT = 2

Taken = Literal["part", "whole"]


class StreamBrokenError(Exception):
    """The stream does not hold the model where it was said to be."""


@dataclass(frozen=True)
class ModelCache:
    """The newest models, each a file named by its digest."""

    folder: Path

    def __post_init__(self) -> None:
        make_folder(self.folder)

    def path_of(self, digest: str) -> Path:
        """Where a model lies, if it does."""
        return self.folder / digest

    def has(self, digest: str | None, model_bytes: int) -> bool:
        """Whether a model of that name and size is at hand."""
        try:
            return digest is not None and self.path_of(digest).stat().st_size == model_bytes
        except OSError:
            return False

    def touch(self, digest: str) -> None:
        """Count a model as the newest."""
        with suppress(OSError):  # it only orders what is trimmed
            os.utime(self.path_of(digest))

    def discard(self, digest: str) -> None:
        """Forget a model that turned out damaged."""
        with suppress(OSError):  # its digest is looked at before each training
            self.path_of(digest).unlink(missing_ok=True)

    def trim(self, spare: str, keep: int = MODELS_KEPT) -> None:
        """Remove all but the newest models.

        Args:
            spare: The digest of one that is kept even if a clock that was wrong, now or before,
                makes it the oldest.
            keep: How many are kept, that one included.
        """
        with suppress(OSError):  # tried again with the next model
            aged = [
                (file.stat().st_mtime_ns, file)
                for file in self.folder.iterdir()
                if not file.name.startswith(TEMPORARY) and file.name != spare
            ]
            for _, file in sorted(aged, reverse=True)[keep - 1 :]:
                file.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a crash left unfinished. Called at start."""
        with suppress(OSError):  # the next start tries again
            for file in self.folder.glob(f"{TEMPORARY}*"):
                file.unlink(missing_ok=True)


@dataclass
class ModelReader:
    """Reads one model from its stream into the cache, part by part.

    Raises:
        OSError: From `take`: the disk is full, or worse.
    """

    cache: ModelCache
    start: Start
    _next: int = 0
    _bytes: int = 0
    _sha: hashlib._Hash = field(default_factory=hashlib.sha256)
    _file: IO[bytes] | None = None

    def take(self, part: ModelPart, payload: Buffer, offset: int) -> Taken:
        """Write the next part; "whole" if it was the last and the file has its name.

        Raises:
            StreamBrokenError: The stream does not hold this model here.
        """
        if offset < self.start.offset or self._is_repeated(part):
            return "part"
        self._check(part, offset)
        view = memoryview(payload)
        self._bytes += view.nbytes
        if self._bytes > self.start.model_bytes:
            raise StreamBrokenError(f"expected {self.start.model_bytes} bytes, came more")
        if self._file is None:
            self._file = open(self._temporary, "wb")  # noqa: SIM115 (closed by `close`)
        self._file.write(view)
        self._sha.update(view)
        self._next += 1
        if self._next < self.start.parts:
            return "part"
        self._finish()
        return "whole"

    def close(self) -> None:
        """Drop what is unfinished. Safe to call twice, and after the end; raises nothing."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):  # what is buffered may find no room
                file.close()
            with suppress(OSError):  # swept at the next start
                self._temporary.unlink(missing_ok=True)

    @property
    def _digest(self) -> str:
        assert self.start.model_digest is not None, "only a wanted start is fetched"
        return self.start.model_digest

    @property
    def _temporary(self) -> Path:
        return self.cache.folder / f"{TEMPORARY}{self._digest}"

    def _is_repeated(self, part: ModelPart) -> bool:
        """A part whose publish was in doubt stands twice in the stream."""
        return part.model_digest == self._digest and part.index < self._next

    def _check(self, part: ModelPart, offset: int) -> None:
        if self._next == 0 and offset > self.start.offset:
            raise StreamBrokenError(f"it begins at {offset}, not at {self.start.offset}")
        if part.model_digest != self._digest:
            raise StreamBrokenError(f"another model stands at {offset}")
        if part.index != self._next:
            raise StreamBrokenError(f"expected part {self._next}, came part {part.index}")
        if (part.parts, part.model_bytes) != (self.start.parts, self.start.model_bytes):
            raise StreamBrokenError(
                f"expected {self.start.parts} parts of {self.start.model_bytes} bytes in all, "
                f"came {part.parts} of {part.model_bytes}"
            )

    def _finish(self) -> None:
        assert self._file is not None
        found = self._sha.hexdigest()
        if found != self._digest or self._bytes != self.start.model_bytes:
            raise StreamBrokenError(f"expected digest {self._digest:.12}…, came {found:.12}…")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        os.replace(self._temporary, self.cache.path_of(self._digest))
        sync_folder(self.cache.folder)
        self.cache.trim(spare=self._digest)
