"""Models in the depot: putting a version there once, and knowing whether the current one is.

    away ── publish, connect ──▶ putting ── it is there, all of it ──▶ ready ── doubt ──▶ putting
                                   ▲  │ the depot did not take it
                                   ╰──╯ after a while, longer each time

Rules: nobody is told of a version before it is there, which its size says; its digest the worker
looks at. Who does not find it there, or finds something else, has it put again, over what is there,
but not more often than every `DOUBT_S`. Whatever the broker does is of no matter here.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from broker.topology import Queue
from broker.transport import Event
from coordinator.mailbox import ModelPut
from coordinator.modelstream import ModelVersion
from depot import Depot, DepotError, model_name, put_whole
from depot.porter import Porter

_log = logging.getLogger(__name__)

KEPT = 4  # versions, as on the stream
DOUBT_S = 60.0
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
LEFTOVER_S = 86_400.0  # then an object that no kept version names is somebody's who has died


class ModelObjects:
    """Puts versions into the depot. It stands where a `ModelStream` stands.

    Args:
        depot: Where they lie.
        porter: Does what has to wait for it.
        post: Takes a `ModelPut`, from any thread, to be handed to `handle`.
        now: The coordinator's time.
        on_ready: Called with the version and an offset of 0 each time the current version is known
            to be in the depot.
        newest: The digests of the newest versions, as many as asked for.

    Attributes:
        lost: Never: it goes on by itself.
        trouble: Why the current version is not there, "" if it is or is on its way.
    """

    def __init__(
        self,
        depot: Depot,
        porter: Porter,
        post: Callable[[ModelPut], object],
        now: Callable[[], float],
        on_ready: Callable[[int, int], None],
        newest: Callable[[int], Sequence[str]],
    ) -> None:
        self._depot = depot
        self._porter = porter
        self._post = post
        self._now = now
        self._on_ready = on_ready
        self._newest = newest
        self._current: ModelVersion | None = None
        self._attempt = 0  # the last; what comes of an earlier one is of no matter
        self._ready = False
        self._ready_at = 0.0
        self._retry_at: float | None = None
        self._failures = 0
        self._known: set[str] = set()  # digests of what lies there, as far as it is ours
        self._recent: deque[str] = deque(maxlen=KEPT)  # of the last that were put
        self._swept = False
        self.lost = False
        self.trouble = ""

    @property
    def offset(self) -> int | None:
        """0 while the current version is in the depot, else None."""
        return 0 if self._ready else None

    def connect(self, queue: Queue, version: ModelVersion, hint: int | None) -> None:
        """The broker is reached: make sure of the current version, if that is not under way."""
        if self._current is None or self._current.version != version.version:
            self._current, self._failures = version, 0
            self._put(again=False)

    def disconnected(self) -> None:
        """The broker is not reached; what lies in the depot lies there all the same."""

    def publish(self, version: ModelVersion) -> None:
        """Put the next version; `on_ready` follows."""
        self._current, self._failures = version, 0
        self._put(again=False)

    def doubt(self) -> None:
        """A worker did not find the model: put it again."""
        if self._ready and self._now() - self._ready_at >= DOUBT_S:
            self._put(again=True)

    def wake_at(self) -> float | None:
        """When to call `tick`, None if nothing is awaited."""
        return self._retry_at

    def tick(self) -> None:
        """Try again what the depot did not take."""
        if self._retry_at is not None and self._now() >= self._retry_at:
            self._put(again=self._failures > 1)

    def handle(self, event: Event | ModelPut) -> bool:
        """Take an event that is ours; False if it is not."""
        if not isinstance(event, ModelPut):
            return False
        if event.attempt == self._attempt:
            if event.error:
                self._failed(event.error)
            else:
                self._there()
        return True

    def _put(self, *, again: bool) -> None:
        """Put the current version, also over one that has its size if it is put again."""
        version = self._current
        assert version is not None
        self._ready, self._retry_at = False, None
        self._attempt += 1
        attempt = self._attempt

        def tell(came: DepotError | None) -> None:
            self._post(ModelPut(attempt, "" if came is None else str(came)))

        name, num_bytes = model_name(version.digest), version.num_bytes
        read = partial(version.model.read, 0, num_bytes)
        self._porter.do(lambda: put_whole(self._depot, name, num_bytes, read, again=again), tell)

    def _failed(self, error: str) -> None:
        wait_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        self._retry_at = self._now() + wait_s
        self.trouble = error
        log = _log.warning if self._failures == 1 else _log.info
        log("version %d is not in the depot: %s; again in %.0f s", self._version(), error, wait_s)

    def _there(self) -> None:
        assert self._current is not None
        if self._failures:
            _log.warning("version %d is in the depot now", self._version())
        self._ready, self._ready_at, self._failures = True, self._now(), 0
        self.trouble = ""
        self._known.add(self._current.digest)
        if self._current.digest not in list(self._recent)[-1:]:
            self._recent.append(self._current.digest)
        self._forget_old()
        self._on_ready(self._version(), 0)

    def _version(self) -> int:
        return -1 if self._current is None else self._current.version

    def _forget_old(self) -> None:
        """Delete what no kept version names; what cannot be deleted now goes at the next start."""
        kept = {*self._recent, *self._newest(KEPT)}
        gone = sorted(self._known - kept)
        self._known &= kept
        for digest in gone:
            self._porter.do(partial(self._depot.delete, model_name(digest)), _complain)
        if not self._swept:
            self._swept = True
            names, before_s = {model_name(digest) for digest in kept}, self._now() - LEFTOVER_S
            self._porter.do(
                lambda: self._depot.expire("models", before_s, names.__contains__), _complain
            )


def _complain(came: object) -> None:
    if isinstance(came, DepotError):
        _log.info("an old model is not deleted from the depot: %s", came)
