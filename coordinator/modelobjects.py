"""Models in the depot: putting a version there once, and knowing whether the current one is.

    away ── publish, connect ──▶ putting ── it is there, all of it ──▶ ready ── doubt ──▶ looking
                                   ▲  │ the depot did not take it      ▲                     │
                                   ├──╯ after a while, longer          ╰── it holds ─────────┤
                                   ╰───────────── it is not there, or something else ────────╯

Rules:

- Nobody is told of a version before it is there, which its size says; its digest the worker looks
  at.
- Who does not find it, or finds something else, has it looked for, but not more often than every
  `DOUBT_S`; its bytes are read for that once, and then every `READ_AGAIN_S` at most. Meanwhile it
  counts as there, since the depot of that one worker may be another. Only what does not hold is put
  again, over what is there.
- A depot that does not answer raises nothing: after `SILENCE_S` that is said, and waited for.
- What is deleted goes by a porter of its own, so that no version waits for that.
- Whatever the broker does is of no matter here.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from broker.topology import Queue
from broker.transport import Event
from coordinator.mailbox import AboutModel, ModelPut, ModelSeen
from coordinator.modelstream import ModelVersion
from depot import Depot, DepotError, fault_of, model_name, put_whole
from depot.patience import Patience
from depot.porter import Porter

_log = logging.getLogger(__name__)

KEPT = 4  # versions, as on the stream
DOUBT_S = 60.0
READ_AGAIN_S = 600.0
SILENCE_S = 60.0
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
LEFTOVER_S = 86_400.0  # then an object that no kept version names is somebody's who has died


class ModelObjects:
    """Puts versions into the depot. It stands where a `ModelStream` stands.

    Args:
        depot: Where they lie.
        porter: Puts there.
        cleaner: Deletes there, and looks for what was not found.
        post: Takes what came of it, from any thread, to be handed to `handle`.
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
        cleaner: Porter,
        post: Callable[[AboutModel], object],
        now: Callable[[], float],
        on_ready: Callable[[int, int], None],
        newest: Callable[[int], Sequence[str]],
    ) -> None:
        self._depot = depot
        self._porter = porter
        self._cleaner = cleaner
        self._post = post
        self._now = now
        self._on_ready = on_ready
        self._newest = newest
        self._current: ModelVersion | None = None
        self._attempt = 0  # the last; what comes of an earlier one is of no matter
        self._ready = False
        self._putting = Patience(now, SILENCE_S)
        self._looking = Patience(now, SILENCE_S)
        self._doubter = ""  # who has it looked for, "" if nobody has
        self._looked_at = self._read_at = -math.inf
        self._retry_at: float | None = None
        self._failures = 0
        self._known: set[str] = set()  # digests of what lies there, as far as it is ours
        self._recent: deque[str] = deque(maxlen=KEPT)  # of the last that were put
        self._going: set[str] = set()  # digests of what the cleaner deletes
        self._spared: frozenset[str] = frozenset()  # names of what a sweep leaves
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

    def doubt(self, worker_id: str) -> None:
        """A worker did not find the model: look whether it is there."""
        now = self._now()
        if not self._ready or self._doubter or now - self._looked_at < DOUBT_S:
            return
        assert self._current is not None, "it is there"
        self._doubter, self._looked_at = worker_id, now
        self._look(self._current, reads=now - self._read_at >= READ_AGAIN_S)

    def wake_at(self) -> float | None:
        """When to call `tick`, None if nothing is awaited."""
        retry_at = math.inf if self._retry_at is None else self._retry_at
        earliest = min(retry_at, self._putting.ends_at, self._looking.ends_at)
        return None if earliest == math.inf else earliest

    def tick(self) -> None:
        """Try again what the depot did not take; say so if it does not answer."""
        if self._retry_at is not None and self._now() >= self._retry_at:
            self._put(again=self._failures > 1)
        silence = f"the depot has not answered for {SILENCE_S:.0f} s"
        if self._putting.has_ended():
            self._failures += 1
            self.trouble = silence
            _log.warning("version %d is not in the depot: %s; waiting", self._version(), silence)
        if self._looking.has_ended():
            _log.warning("version %d is looked for: %s; waiting", self._version(), silence)

    def handle(self, event: Event | AboutModel) -> bool:
        """Take an event that is ours; False if it is not."""
        if not isinstance(event, ModelPut | ModelSeen):
            return False
        if event.attempt == self._attempt:
            if isinstance(event, ModelSeen):
                self._seen(event)
            elif event.error:
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
        self._doubter = ""
        self._looking.end()
        self._putting.begin()
        attempt, moved = self._attempt, self._putting.moved
        name, num_bytes = model_name(version.digest), version.num_bytes
        read = partial(version.model.read, 0, num_bytes)
        self._spared |= {name}

        def put() -> None:
            put_whole(self._depot, name, num_bytes, read, moved, again=again)

        def tell(came: DepotError | None) -> None:
            self._post(ModelPut(attempt, "" if came is None else str(came)))

        if version.digest in self._going:  # after that, or it would be deleted again
            self._cleaner.do(put, tell)
        else:
            self._porter.do_instead(put, tell)

    def _look(self, version: ModelVersion, *, reads: bool) -> None:
        self._looking.begin()
        if reads:
            self._read_at = self._now()
        attempt, digest = self._attempt, version.digest if reads else None
        name, num_bytes = model_name(version.digest), version.num_bytes

        def is_wanted() -> bool:
            self._looking.moved()
            return attempt == self._attempt

        def tell(came: str | DepotError) -> None:
            if isinstance(came, str):
                self._post(ModelSeen(attempt, came))
            else:
                self._post(ModelSeen(attempt, "", str(came)))

        self._cleaner.do(lambda: fault_of(self._depot, name, num_bytes, digest, is_wanted), tell)

    def _seen(self, event: ModelSeen) -> None:
        """What a worker did not find was looked for."""
        self._looking.end()
        worker_id, self._doubter = self._doubter, ""
        if event.fault:
            what = "version %d in the depot does not hold, and is put again: %s"
            _log.warning(what, self._version(), event.fault)
            self._put(again=True)
        elif event.error:
            self._read_at = -math.inf
            _log.warning("version %d is not looked for: %s", self._version(), event.error)
        else:
            level = logging.WARNING if self._read_at == self._looked_at else logging.INFO
            what = "worker %s does not find version %d, which is in the depot: is its depot ours?"
            _log.log(level, what, worker_id, self._version())

    def _failed(self, error: str) -> None:
        self._putting.end()
        wait_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        self._retry_at = self._now() + wait_s
        self.trouble = error
        log = _log.warning if self._failures == 1 else _log.info
        log("version %d is not in the depot: %s; again in %.0f s", self._version(), error, wait_s)

    def _there(self) -> None:
        assert self._current is not None
        self._putting.end()
        if self._failures:
            _log.warning("version %d is in the depot now", self._version())
        self._ready, self._failures = True, 0
        self._looked_at, self._read_at = self._now(), -math.inf
        self.trouble = ""
        if not self._swept:  # an earlier process put those
            self._known.update(self._newest(2 * KEPT))
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
        self._spared = frozenset(map(model_name, kept))
        gone = sorted(self._known - kept)
        self._known &= kept
        for digest in gone:
            self._delete(digest)
        if not self._swept:
            self._swept = True
            before_s = self._now() - LEFTOVER_S
            self._cleaner.do(
                lambda: self._depot.expire("models", before_s, self._spares), _complain
            )

    def _delete(self, digest: str) -> None:
        def tell(came: object) -> None:
            self._going.discard(digest)
            _complain(came)

        self._going.add(digest)
        self._cleaner.do(lambda: self._depot.delete(model_name(digest)), tell)

    def _spares(self, name: str) -> bool:
        """Whether the sweep leaves an object: asked on the cleaner's thread."""
        return name in self._spared


def _complain(came: object) -> None:
    if isinstance(came, DepotError):
        _log.info("an old model is not deleted from the depot: %s", came)
