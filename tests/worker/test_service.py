from __future__ import annotations

from pathlib import Path

import numpy as np

from broker.memory import MemoryBroker
from tests.worker.learners import Adder
from tests.worker.scripted import Clock, ScriptedCoordinator, config_for, reached_by
from worker.service import WorkerService
from worker.trainer import InlineTrainer


def test_a_worker_takes_a_task_trains_and_sends_its_update(tmp_path: Path) -> None:
    broker, clock = MemoryBroker(), Clock()
    coordinator = ScriptedCoordinator(broker, Adder())
    service = WorkerService(
        config_for(tmp_path, data="3"), reached_by(broker), InlineTrainer(), clock=clock
    )
    service.open()
    service.drain()
    coordinator.offer()
    coordinator.publish_version(0)
    service.drain()
    ((_, payload),) = coordinator.updates
    assert np.frombuffer(payload, "<f4").tolist() == [3.0] * 4
    assert service.report.verdicts == {"counted": 1}
    assert service.stop()
