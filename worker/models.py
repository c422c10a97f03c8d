"""The model cache: files named by the digest of their bytes, and reading one from the stream.

Rules of the file:

- The digest is the name, the offset a hint. A file has its name only once all of it was verified.
- Nothing is synced: it is a cache. What a power cut leaves of a file fails its digest, which is
  looked at before it is trained on, unless all of it was read just before; it is read again.
- The model must begin where it was said to or a little later (`OFFSETS_SKIPPED_MAX`), and go on
  without a gap: anything else means that it is gone (retention may delete what was confirmed),
  never that something else is taken.
- Nothing is larger than was announced, and what was announced was allowed.
- What was read stays when the reading is interrupted, also by a restart, and the next one of the
  same model goes on behind it. Its digest, at the end, is that of all.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from broker.topology import OFFSETS_SKIPPED_MAX
from disk import OS_DISK, Disk, File, chunks_of
from disk.durable import PARTIAL
from schemas.buffer import Buffer
from schemas.digest import RunningDigest
from schemas.messages import ModelPart, Start
from worker.disk import make_folder

MODELS_KEPT = 2
VIEWED_BYTES = 1024 * 1024  # what is larger is mapped, and not copied

Taken = Literal["nothing", "part", "whole"]


class ModelGoneError(Exception):
    """What is there under the model's name is not the model."""


class StreamBrokenError(ModelGoneError):
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

    def view(self, digest: str) -> Buffer:
        """A model's bytes, a large one's in place.

        Raises:
            OSError: It cannot be read.
        """
        path = self.path_of(digest)
        is_large = (self.disk.size(path) or 0) > VIEWED_BYTES
        return self.disk.map(path) if is_large else self.disk.read(path)

    def copy(self, digest: str, view: Buffer) -> Buffer:
        """The bytes of a view, to be written to; a large model's are copied as they are.

        Raises:
            OSError: It cannot be read.
        """
        if memoryview(view).nbytes > VIEWED_BYTES:
            return self.disk.map_private(self.path_of(digest))
        return bytearray(view)

    def keep(self, partial: Path, digest: str) -> None:
        """Give a file its name, now that all of it was verified, and forget older models.

        Raises:
            OSError: It has gone.
        """
        self.disk.move(partial, self.path_of(digest))
        self.trim(spare=digest)

    def touch(self, digest: str) -> None:
        """Count a model as the newest."""
        with suppress(OSError):  # it only orders what is trimmed
            self.disk.touch(self.path_of(digest))

    def discard(self, digest: str) -> None:
        """Forget a model that turned out damaged."""
        with suppress(OSError):  # its digest is looked at before it is trained on again
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
        """Make the folder, and remove what is unfinished but for the newest.

        Raises:
            StoreError: The folder cannot be made.
        """
        make_folder(self.disk, self.folder)
        with suppress(OSError):  # the next start tries again
            unfinished = [
                self.folder / name
                for name in self.disk.names(self.folder)
                if name.startswith(PARTIAL)
            ]
            unfinished.sort(key=self.disk.touched_ns)
            for file in unfinished[:-1]:
                self.disk.remove(file)


class PartialModel:
    """What is on disk of a model that is being read, and its digest so far.

    What was there before counts: another process may have been reading it. Errors are those of
    `OSError`; after one, `drop` it.

    Attributes:
        num_bytes: How much is there.
    """

    def __init__(self, cache: ModelCache, digest: str, model_bytes: int) -> None:
        self.digest = digest
        self.num_bytes = 0
        self._cache = cache
        self._path = cache.folder / f"{PARTIAL}{digest}"
        self._model_bytes = model_bytes
        self._running = RunningDigest()
        self._file: File | None = None
        self._found = False  # some of it was there before: a power cut may have changed that
        with suppress(OSError):  # then all of it is read
            self._find()

    def write(self, data: memoryview) -> None:
        """Add the next bytes."""
        if self._file is None:
            disk = self._cache.disk
            self._file = (disk.append if self.num_bytes else disk.create)(self._path, lasting=False)
        self._file.write(data)
        self._running.update(data)
        self.num_bytes += data.nbytes

    def finish(self) -> None:
        """Give it its name: all of it is here.

        Raises:
            ModelGoneError: It is not the model.
            OSError: The disk has changed what was kept of it: it may be read again.
        """
        found = self._running.digits()
        if found != self.digest or self.num_bytes != self._model_bytes:
            if self._found:
                raise OSError(errno.EIO, "what was kept of the model is damaged")
            raise ModelGoneError(f"expected digest {self.digest:.12}…, came {found:.12}…")
        if self._file is not None:
            self._file.flush()  # else a full disk could refuse the end of it without a word
            self._file.close()
            self._file = None
        self._cache.keep(self._path, self.digest)

    def close(self) -> None:
        """Let go of the file; what has come stays for who reads on. Safe to call twice."""
        if self._file is None:
            return
        file, self._file = self._file, None
        file.close()
        with suppress(OSError):
            if self._cache.disk.size(self._path) == self.num_bytes:
                return
        self.drop()  # a full disk did not take what was held back

    def drop(self) -> None:
        """Remove it; then it is as if nothing had come. Safe to call twice; raises nothing."""
        if self._file is not None:
            self._file.close()
        self._file, self._running, self._found, self.num_bytes = None, RunningDigest(), False, 0
        with suppress(OSError):  # who reads it anew writes over it
            self._cache.disk.remove(self._path)

    def _find(self) -> None:
        disk = self._cache.disk
        size = disk.size(self._path) or 0
        if not 0 < size < self._model_bytes:
            disk.remove(self._path)
            return
        for chunk in chunks_of(disk.map(self._path, 0, size)):
            self._running.update(chunk)
        self._found, self.num_bytes = True, size


@dataclass
class ModelReader:
    """Reads one model from its stream into the cache, part by part.

    Raises:
        OSError: From `take`: the disk is full, or worse.
    """

    cache: ModelCache
    start: Start
    _next: int = 0  # the part that is due
    _part_bytes: int = 0  # 0 until it is known
    _begun: bool = False  # this reading has come to it
    _partial: PartialModel = field(init=False)

    def __post_init__(self) -> None:
        self._partial = PartialModel(self.cache, self._digest, self.start.model_bytes)
        # How large a part is is not known; this is never too far.
        self._next = self._bytes * (self.start.parts - 1) // max(1, self.start.model_bytes)

    @property
    def offset(self) -> int:
        """Where to read from: at or before the first part that is missing."""
        return self.start.offset + self._next

    @property
    def left(self) -> int:
        """Parts that are still to come."""
        return self.start.parts - self._next

    def go_on(self, start: Start) -> None:
        """Read the rest of the same model, wherever it stands by now."""
        self.start, self._begun = start, False

    def take(self, part: ModelPart, payload: Buffer, offset: int) -> Taken:
        """Write the next part; "whole" if it was the last and the file has its name.

        "nothing" is a part that was read before, or stands before the first.

        Raises:
            StreamBrokenError: The stream does not hold this model here.
            ModelGoneError: What it holds is not the model.
        """
        view = memoryview(payload)
        ours, begin = part.model_digest == self._digest, self._place(part, view.nbytes)
        if offset < self.start.offset or (ours and begin + view.nbytes <= self._bytes):
            return "nothing"  # or a part whose publish was in doubt stands twice
        due = ours and begin <= self._bytes
        skips = offset - self.start.offset < OFFSETS_SKIPPED_MAX
        if skips and not self._begun and not due:
            return "nothing"  # of the version before: the offset was counted, and is too small
        self._check(part, begin, offset)
        if begin + view.nbytes > self.start.model_bytes:
            raise StreamBrokenError(f"expected {self.start.model_bytes} bytes, came more")
        self._partial.write(view[self._bytes - begin :])
        self._begun, self._next = True, part.index + 1
        if self._next < self.start.parts:
            self._part_bytes = view.nbytes
            return "part"
        self._partial.finish()
        return "whole"

    def stop(self) -> None:
        """Let go of the file; what has come stays for who reads on. Safe to call twice."""
        self._partial.close()
        if not self._bytes:
            self._next = 0

    def drop(self) -> None:
        """Remove what is unfinished. Safe to call twice, and after the end; raises nothing."""
        self._partial.drop()
        self._next = 0

    @property
    def _digest(self) -> str:
        assert self.start.model_digest is not None, "only a wanted start is fetched"
        return self.start.model_digest

    @property
    def _bytes(self) -> int:
        """How much of it is here."""
        return self._partial.num_bytes

    def _place(self, part: ModelPart, num_bytes: int) -> int:
        """Where a part begins in the model: all but the last are of one size."""
        if part.index == 0 or part.index < self.start.parts - 1:
            return part.index * num_bytes
        return part.index * self._part_bytes or self.start.model_bytes - num_bytes

    def _check(self, part: ModelPart, begin: int, offset: int) -> None:
        if part.model_digest != self._digest:
            raise StreamBrokenError(f"another model stands at {offset}")
        if begin > self._bytes:
            raise StreamBrokenError(f"expected part {self._next}, came part {part.index}")
        if (part.parts, part.model_bytes) != (self.start.parts, self.start.model_bytes):
            raise StreamBrokenError(
                f"expected {self.start.parts} parts of {self.start.model_bytes} bytes in all, "
                f"came {part.parts} of {part.model_bytes}"
            )
