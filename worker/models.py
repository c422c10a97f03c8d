"""The model cache: files named by the digest of their bytes, and reading one from the stream.

Rules of the file:

- The digest is the name, the offset a hint. A file has its name only once all of it was verified
  and synced.
- The model must begin where it was said to or a little later (`OFFSETS_SKIPPED_MAX`), and go on
  without a gap: anything else means that it is gone (retention may delete what was confirmed),
  never that something else is taken.
- Nothing is larger than was announced, and what was announced was allowed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from broker.topology import OFFSETS_SKIPPED_MAX
from disk import OS_DISK, Disk, File
from disk.durable import PARTIAL
from schemas.buffer import Buffer
from schemas.digest import RunningDigest
from schemas.messages import ModelPart, Start
from worker.disk import make_folder

MODELS_KEPT = 2

Taken = Literal["nothing", "part", "whole"]


class StreamBrokenError(Exception):
    """The stream does not hold the model where it was said to be."""


@dataclass(frozen=True)
class ModelCache:
    """The newest models, each a file named by its digest. `prepare` it once, at start."""

    folder: Path
    disk: Disk = OS_DISK

    def path_of(self, digest: str) -> Path:
        """Where a model lies, if it does."""
        return self.folder / digest

    def has(self, digest: str | None, model_bytes: int) -> bool:
        """Whether a model of that name and size is at hand."""
        try:
            return digest is not None and self.disk.size(self.path_of(digest)) == model_bytes
        except OSError:
            return False

    def read(self, digest: str) -> bytes:
        """A model's bytes.

        Raises:
            OSError: It cannot be read.
        """
        return self.disk.read(self.path_of(digest))

    def touch(self, digest: str) -> None:
        """Count a model as the newest."""
        with suppress(OSError):  # it only orders what is trimmed
            self.disk.touch(self.path_of(digest))

    def discard(self, digest: str) -> None:
        """Forget a model that turned out damaged."""
        with suppress(OSError):  # its digest is looked at before each training
            self.disk.remove(self.path_of(digest))

    def trim(self, spare: str, keep: int = MODELS_KEPT) -> None:
        """Remove all but the newest models.

        Args:
            spare: The digest of one that is kept even if a clock that was wrong, now or before,
                makes it the oldest.
            keep: How many are kept, that one included.
        """
        with suppress(OSError):  # tried again with the next model
            others = [
                self.folder / name
                for name in self.disk.names(self.folder)
                if not name.startswith(PARTIAL) and name != spare
            ]
            others.sort(key=self.disk.touched_ns, reverse=True)
            for file in others[keep - 1 :]:
                self.disk.remove(file)

    def prepare(self) -> None:
        """Make the folder, and remove what a crash left unfinished.

        Raises:
            StoreError: The folder cannot be made.
        """
        make_folder(self.disk, self.folder)
        with suppress(OSError):  # the next start tries again
            for name in self.disk.names(self.folder):
                if name.startswith(PARTIAL):
                    self.disk.remove(self.folder / name)


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
    _running: RunningDigest = field(default_factory=RunningDigest)
    _file: File | None = None

    @property
    def left(self) -> int:
        """Parts that are still to come."""
        return self.start.parts - self._next

    def take(self, part: ModelPart, payload: Buffer, offset: int) -> Taken:
        """Write the next part; "whole" if it was the last and the file has its name.

        "nothing" is a part that was read before, or stands before the first.

        Raises:
            StreamBrokenError: The stream does not hold this model here.
        """
        if offset < self.start.offset or self._is_repeated(part):
            return "nothing"
        begins_here = part.model_digest == self._digest and part.index == 0
        if self._next == 0 and offset - self.start.offset < OFFSETS_SKIPPED_MAX and not begins_here:
            return "nothing"  # of the version before: the offset was counted, and is too small
        self._check(part, offset)
        view = memoryview(payload)
        self._bytes += view.nbytes
        if self._bytes > self.start.model_bytes:
            raise StreamBrokenError(f"expected {self.start.model_bytes} bytes, came more")
        if self._file is None:
            self._file = self.cache.disk.create(self._partial)
        self._file.write(view)
        self._running.update(view)
        self._next += 1
        if self._next < self.start.parts:
            return "part"
        self._finish()
        return "whole"

    def close(self) -> None:
        """Drop what is unfinished. Safe to call twice, and after the end; raises nothing."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()
            with suppress(OSError):  # swept at the next start
                self.cache.disk.remove(self._partial)

    @property
    def _digest(self) -> str:
        assert self.start.model_digest is not None, "only a wanted start is fetched"
        return self.start.model_digest

    @property
    def _partial(self) -> Path:
        return self.cache.folder / f"{PARTIAL}{self._digest}"

    def _is_repeated(self, part: ModelPart) -> bool:
        """A part whose publish was in doubt stands twice in the stream."""
        return part.model_digest == self._digest and part.index < self._next

    def _check(self, part: ModelPart, offset: int) -> None:
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
        found = self._running.digits()
        if found != self._digest or self._bytes != self.start.model_bytes:
            raise StreamBrokenError(f"expected digest {self._digest:.12}…, came {found:.12}…")
        self._file.sync()
        self._file.close()
        self._file = None
        self.cache.disk.move(self._partial, self.cache.path_of(self._digest))
        self.cache.disk.sync_folder(self.cache.folder)
        self.cache.trim(spare=self._digest)
