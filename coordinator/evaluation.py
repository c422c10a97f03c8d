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
from learning.process import ChildProcess
from learning.seeding import derive_seed
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
    model: bytes


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
            return Initial(Layout.from_rows(answer["layout"]), file.read_bytes())
    finally:
        child.close()


class Evaluation:
    """Evaluates model versions one after another, beside the rounds.

    Args:
        settings: Of the run.
        layout: Of the model.
        on_metrics: Takes (version, metrics) on a thread of this object.
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
        self._failures = 0
        self._stopped = not settings.run.evaluate
        self._child: ChildProcess | None = None

    def evaluate(self, version: int, file: Path) -> None:
        """Evaluate a version when its turn comes."""
        with self._lock:
            if not self._stopped:
                self._pending.append((version, file))
                self._next()

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
        if self._busy is not None or not self._pending or self._stopped:
            self._idle.notify_all()
            return
        version, file = self._pending.popleft()
        self._busy = version
        if self._child is None:
            self._child = ChildProcess(_MODULE, self._take, self._ended)
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
        with self._lock:
            version, self._busy = self._busy, None
            metrics = answer.get("metrics")
            if "error" in answer:
                self._fail(answer["error"])
            elif metrics is None:
                self._stop()  # the learner has no evaluate
            else:
                self._failures = 0
        if version is not None and metrics is not None:
            self._on_metrics(version, metrics)
        with self._lock:
            self._next()

    def _ended(self, how: str) -> None:
        with self._lock:
            self._child = None
            if self._busy is not None and not self._stopped:
                self._busy = None
                self._fail(f"its process {how}")
            self._next()

    def _fail(self, why: str) -> None:
        self._failures += 1
        _log.warning("evaluation failed: %s", why)
        if self._failures >= FAILURES_MAX:
            _log.warning("evaluation failed %d times in a row; no more is tried", FAILURES_MAX)
            self._stop()
