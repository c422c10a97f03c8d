"""A whole federation in this process: for demos, tests, and trying a learner out.

The coordinator and the workers are the real ones; only the broker is in memory, and the workers
share a few training processes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from broker.memory import MemoryBroker, MemoryTransport
from broker.transport import Post, Transport
from coordinator.errors import RunError
from coordinator.models import from_safetensors, to_safetensors
from coordinator.progress import Observer, ignore
from coordinator.reports import export_model, status_of
from coordinator.service import CoordinatorService
from learning.learner import Parameters
from schemas.tensors import flatten, layout_of
from settings import Settings, load
from worker.config import WorkerConfig, worker_config
from worker.service import WorkerService
from worker.trainer import ProcessTrainer

TRAINING_PROCESSES = 2


class LocalFederation:
    """A coordinator and its workers in this process.

    Args:
        settings: Of the federation; each worker's folder is one in `worker.state_dir`.
        data: Each worker's id and its `data` setting.
        observer: Looks on while it runs.
        training_processes: How many processes the workers share to train in.
    """

    def __init__(
        self,
        settings: Settings,
        data: Mapping[str, str],
        observer: Observer = ignore,
        training_processes: int = TRAINING_PROCESSES,
    ) -> None:
        self._broker = MemoryBroker()
        self._trainer = ProcessTrainer(training_processes)
        self._configs = {name: _config(settings, name, text) for name, text in data.items()}
        self.workers: dict[str, WorkerService] = {}
        self.coordinator = CoordinatorService(
            settings, lambda post: self._connect(post, "coordinator"), observer
        )

    def __enter__(self) -> Self:
        for name in self._configs:
            self.begin(name)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def begin(self, name: str) -> None:
        """Start a worker, on the folder as it left it."""
        config = self._configs[name]
        worker = WorkerService(config, lambda post: self._connect(post, name), self._trainer)
        worker.start()
        self.workers[name] = worker

    def stop_if_hopeless(self) -> None:
        """Stop the run if every worker has given a task up and none has ever trained."""
        reports = [worker.report for worker in self.workers.values()]
        if reports and all(report.declined and not report.trained for report in reports):
            self.coordinator.stop()

    def close(self) -> None:
        """End everything; the folders stay."""
        for worker in self.workers.values():
            worker.kill()
        self._trainer.close()
        self.coordinator.close()

    def _connect(self, post: Post, name: str) -> Transport:
        return MemoryTransport(self._broker, post, name)


@dataclass(frozen=True, slots=True)
class LocalResult:
    """What a federation in this process came to.

    Attributes:
        parameters: Of the last version.
        updates: Verdict to count.
        metrics: Of the last version, if the learner evaluates.
    """

    parameters: Parameters
    updates: Mapping[str, int]
    metrics: Mapping[str, float]


def run_local(
    learner: str | Path,
    data: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
    initial: Parameters | None = None,
) -> LocalResult:
    """Run a federation in this process until its last round.

    Args:
        learner: "file.py:name", as `learner.path` of the settings.
        data: Each worker's id and its `data` setting.
        settings: More settings by their dotted names, such as {"run.rounds": 10}. Unless they say
            otherwise, a round closes when all workers have answered.
        initial: The model to begin with; the learner's own if None.

    Raises:
        SettingsError: If a setting is wrong.
        CoordinatorError: If the run cannot begin, or every worker gives up and none has trained.
    """
    with tempfile.TemporaryDirectory(prefix="fedmq-local-") as name:
        folder = Path(name)
        overrides: dict[str, object] = {
            "broker.url": "memory://",
            "learner.path": str(learner),
            "rounds.goal": len(data),
            "rounds.concurrency": len(data),
            "rounds.drain": "1ms",
            "worker.presence": "1s",
            "coordinator.state_dir": str(folder / "coordinator"),
            "worker.state_dir": str(folder / "workers"),
            **(settings or {}),
        }
        if initial is not None:
            overrides["run.initial"] = str(_write_initial(folder, initial))
        chosen = load(None, {}, overrides)
        with LocalFederation(chosen, data, lambda _: federation.stop_if_hopeless()) as federation:
            federation.coordinator.run()
        status = status_of(chosen)
        if status["state"] != "ended":
            reasons = "; ".join(status["declined"]) or "stopped"
            raise RunError(f"no worker can train: {reasons}")
        export_model(chosen, folder / "final.safetensors")
        parameters = from_safetensors((folder / "final.safetensors").read_bytes())
        return LocalResult(parameters, status["updates"], status["metrics"])


def _write_initial(folder: Path, parameters: Parameters) -> Path:
    layout = layout_of(parameters)
    path = folder / "initial.safetensors"
    path.write_bytes(to_safetensors(flatten(parameters, layout), layout))
    return path


def _config(settings: Settings, name: str, data: str) -> WorkerConfig:
    config = worker_config(settings, name)
    return replace(config, folder=config.folder / name, data=data)
