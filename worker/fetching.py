"""Reading one model from the depot into the cache, range by range.

Rules:

- Its size is looked at before anything is read, its digest before the file has its name. What does
  not hold is not the model: it is gone, as on a stream.
- One range is on its way at a time, so a model of any size takes no memory. What was read stays on
  disk when the reading ends early, also by a restart, and the next one of the same model goes on
  behind it.
- Whoever waits for the depot is the porter; here only what came is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from depot import RANGE_BYTES, Depot, DepotError, NotInDepot, model_name
from depot.porter import Porter
from schemas.buffer import Buffer
from schemas.messages import Start
from worker.models import ModelCache, ModelGoneError, PartialModel


@dataclass(frozen=True, slots=True)
class RangeCame:
    """The next bytes of a model have come from the depot.

    Attributes:
        reading: Which reading asked for them.
    """

    reading: int
    data: Buffer


@dataclass(frozen=True, slots=True)
class RangeMissed:
    """They have not.

    Attributes:
        reading: Which reading asked for them.
        reason: Why, in words.
        gone: The model is not there; else it may be tried again.
    """

    reading: int
    reason: str
    gone: bool


FromDepot = RangeCame | RangeMissed
Taken = Literal["range", "whole"]


class ModelFetcher:
    """Reads models from the depot, one at a time.

    Args:
        depot: Where they lie.
        porter: Waits for it.
        cache: Where they go.
        tell: Takes what came, from any thread, to be handed to `take`.
    """

    def __init__(
        self,
        depot: Depot,
        porter: Porter,
        cache: ModelCache,
        tell: Callable[[FromDepot], object],
    ) -> None:
        self._depot = depot
        self._porter = porter
        self._cache = cache
        self._tell = tell
        self._start: Start | None = None
        self._reading = 0
        self._looked = False  # at its size, in this reading
        self._begun: PartialModel | None = None

    @property
    def start(self) -> Start | None:
        """What is being read, None if nothing is."""
        return self._start

    def fetch(self, start: Start) -> None:
        """Begin to read a model, or go on where its last reading ended."""
        self.stop()
        if self._begun is not None and self._begun.digest != start.model_digest:
            self.drop()
        if self._begun is None:
            self._begun = PartialModel(self._cache, _digest_of(start), start.model_bytes)
        self._start, self._looked = start, False
        self._ask(start)

    def stop(self) -> None:
        """End the reading; what was read is kept for the next one. Safe to call twice."""
        self._start = None
        self._reading += 1

    def close(self) -> None:
        """End the reading, and let go of the file. Safe to call twice."""
        self.stop()
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.close()

    def drop(self) -> None:
        """End the reading, and remove what was read. Safe to call twice."""
        self.stop()
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.drop()

    def is_due(self, event: FromDepot) -> bool:
        """Whether what came was asked for by the reading under way."""
        return self._start is not None and event.reading == self._reading

    def take(self, data: Buffer) -> Taken:
        """Write the next bytes and ask for more; "whole" if they were the last.

        Raises:
            ModelGoneError: What was read is not the model; it is dropped.
            OSError: The disk does not take it, or has changed what it took; it is dropped.
        """
        start = self._start
        assert start is not None, "only what is due is taken"
        try:
            whole = self._write(start, memoryview(data))
        except (ModelGoneError, OSError):
            self.drop()
            raise
        if whole:
            self.stop()
            return "whole"
        self._ask(start)
        return "range"

    def _ask(self, start: Start) -> None:
        depot, name = self._depot, model_name(_digest_of(start))
        reading, num_bytes = self._reading, start.model_bytes
        begin = 0 if self._begun is None else self._begun.num_bytes
        length, look, self._looked = min(RANGE_BYTES, num_bytes - begin), not self._looked, True

        def read() -> Buffer:
            if look:
                _require_size(depot, name, num_bytes)
            return depot.read(name, begin, length)

        def tell(came: Buffer | DepotError) -> None:
            if isinstance(came, DepotError):
                gone = isinstance(came, NotInDepot)
                self._tell(RangeMissed(reading, str(came), gone))
            else:
                self._tell(RangeCame(reading, came))

        self._porter.do_instead(read, tell)

    def _write(self, start: Start, data: memoryview) -> bool:
        begun = self._begun
        assert begun is not None, "it was looked for when the reading began"
        if not data.nbytes:
            raise ModelGoneError(f"it ends after {begun.num_bytes} of {start.model_bytes} bytes")
        begun.write(data)
        if begun.num_bytes < start.model_bytes:
            return False
        begun.finish()
        self._begun = None
        return True


def _digest_of(start: Start) -> str:
    assert start.model_digest is not None, "only a wanted start is fetched"
    return start.model_digest


def _require_size(depot: Depot, name: str, num_bytes: int) -> None:
    found = depot.size(name)
    if found is None:
        raise NotInDepot("it is not in the depot")
    if found != num_bytes:
        raise NotInDepot(f"expected {num_bytes} bytes in the depot, found {found}")
