"""The coordinator's side of its learner: initial parameters once, evaluation beside the rounds."""

from __future__ import annotations

import logging
import queue
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coordinator.errors import RunError
from disk import OS_DISK
from learning.process import ChildProcess
from learning.seeding import derive_seed
from schemas.buffer import Buffer
from schemas.layout import Layout
from settings import Settings

_log = logging.getLogger(__name__)

PENDING_MAX = 256  # versions waiting to be evaluated; the oldest give way
FAILURES_MAX = 3  # in a row, then evaluation stops

_MODULE = "coordinator.hosting"


@dataclass(frozen=True, slots=True)
class Initial:
    """What a learner begins with."""

    layout: Layout
    model: Buffer


def initial_of(settings: Settings) -> Initial:
    """Ask the learner, in a child process, for its initial parameters and their layout.

    Raises:
        RunError: If the learner cannot be loaded or gives none.
    """
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    child = ChildProcess(
        _MODULE, answers.put, lambda how: answers.put({"error": f"its process {how}"})
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "initial"
            child.send(
                {
                    "do": "initial",
                    "learner": settings.learner.path,
                    "seed": derive_seed(settings.run.seed, "initial"),
                    "file": str(file),
                }
            )
            answer = answers.get()
            if "error" in answer:
                raise RunError(f"the learner gives no initial parameters: {answer['error']}")
            # The bytes are there as long as somebody looks at them, whatever becomes of the file.
            return Initial(Layout.from_rows(answer["layout"]), OS_DISK.map(file))
    finally:
        child.close()


class Evaluation:
    """Evaluates model versions one after another, beside the rounds.

    Args:
        settings: Of the run.
        layout: Of the model.
        on_metrics: Takes (version, metrics) on a thread of this object, which it must not call.
    """

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        on_metrics: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        self._settings = settings
        self._layout = layout
        self._on_metrics = on_metrics
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._pending: deque[tuple[int, Path]] = deque(maxlen=PENDING_MAX)
        self._busy: int | None = None
        self._file = Path()  # of the version that it is busy with
        self._heard = False  # something of the process
        self._unnoted: set[int] = set()
        self._failures = 0
        self._stopped = not settings.run.evaluate
        self._child: ChildProcess | None = None

    def evaluate(self, version: int, file: Path) -> None:
        """Evaluate a version when its turn comes; once, though it be asked for again."""
        with self._lock:
            known = {self._busy, *(pending for pending, _ in self._pending)}
            if not self._stopped and version not in known:
                self._pending.append((version, file))
                self._next()

    def in_hand(self) -> set[int]:
        """Versions that are being evaluated, or whose metrics were not noted yet.

        Those that are only pending are no such: if their file goes, they are not evaluated.
        """
        with self._lock:
            return self._unnoted | (set() if self._busy is None else {self._busy})

    def noted(self, version: int) -> None:
        """The metrics of a version were noted."""
        with self._lock:
            self._unnoted.discard(version)

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is pending; False if it takes longer."""
        with self._idle:
            return self._idle.wait_for(
                lambda: self._stopped or (self._busy is None and not self._pending), timeout_s
            )

    def close(self) -> None:
        """End the child; what is pending is not evaluated."""
        with self._lock:
            self._stop()
            child = self._child
        if child is not None:
            child.close()

    def _stop(self) -> None:
        self._stopped = True
        self._pending.clear()
        self._idle.notify_all()

    def _next(self) -> None:
        while self._busy is None and self._pending and not self._stopped:
            version, file = self._pending.popleft()
            if file.exists():  # or so many versions were made meanwhile that it is not kept
                self._begin(version, file)
        self._idle.notify_all()

    def _begin(self, version: int, file: Path) -> None:
        if self._child is None:
            try:
                self._child = ChildProcess(_MODULE, self._take, self._ended)
            except OSError as error:
                self._fail(f"no process can be started: {error}")
                return
        self._busy, self._file = version, file
        self._child.send(
            {
                "do": "evaluate",
                "learner": self._settings.learner.path,
                "model": str(file),
                "layout": self._layout.rows(),
                "version": version,
                "seed": derive_seed(self._settings.run.seed, "evaluate"),
                "data": self._settings.learner.data,
                "config": dict(self._settings.learner.config),
            }
        )

    def _take(self, answer: dict[str, Any]) -> None:
        metrics = answer.get("metrics")
        with self._lock:
            self._heard = True
            if "error" in answer:
                self._fail(answer["error"])
            elif metrics is None:
                self._stop()  # the learner has no evaluate
            elif self._busy is not None:
                self._failures = 0
                self._unnoted.add(self._busy)
                self._on_metrics(self._busy, metrics)  # before it is idle, or `wait` would miss it
            self._busy = None
            self._next()

    def _ended(self, how: str) -> None:
        with self._lock:
            died_idle = self._heard and self._child is not None and self._child.left_unread
            self._child, self._heard = None, False
            if self._busy is not None and not self._stopped:
                version, self._busy = self._busy, None
                if died_idle and len(self._pending) < PENDING_MAX:  # else the oldest give way
                    self._pending.appendleft((version, self._file))
                elif not died_idle:
                    self._fail(f"its process {how}")
            self._next()

    def _fail(self, why: str) -> None:
        self._failures += 1
        _log.warning("evaluation failed: %s", why)
        if self._failures >= FAILURES_MAX:
            _log.warning("evaluation failed %d times in a row; no more is tried", FAILURES_MAX)
            self._stop()
