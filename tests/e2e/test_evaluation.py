"""A federation over RabbitMQ whose cohort stops it early, and whose coordinator is killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from coordinator.cohort import Cohort
from tests.e2e.services import Federation, wait_until

LEARNER = """
import numpy as np
from fedmq import TrainResult

class Climber:
    '''Each training goes one step up; three steps up is where to be.'''

    def initial_parameters(self):
        return {"w": np.zeros(3, np.float32)}

    def train(self, parameters, request):
        return TrainResult({"w": parameters["w"] + 1}, 1)

    def evaluate(self, parameters, request):
        assert request.worker_id, "the coordinator has no data"
        loss = abs(float(parameters["w"][0]) - 3.0) + 1.0
        return {"loss": loss, "num_examples": len(request.worker_id)}

learner = Climber
"""
SHARE = 0.4
NAMES = [f"w{number}" for number in range(30)]
EVALUATORS = [name for name in NAMES if name in Cohort(0, SHARE)][:3]
TRAINERS = [name for name in NAMES if name not in Cohort(0, SHARE)][:2]


@pytest.fixture
def federation(tmp_path: Path, amqp_url: str, federation_name: str) -> Iterator[Federation]:
    (tmp_path / "climber.py").write_text(LEARNER)
    made = Federation(tmp_path, amqp_url, federation_name, "climber.py", rounds=500, goal=2)
    made.config.write_text(
        made.config.read_text() + f"[evaluation]\ncohort = {SHARE}\ngoal = 2\npatience = 4\n"
        "smoothing = 1\n"
    )
    yield made
    made.close()


def status_of(federation: Federation) -> dict[str, Any]:
    done = federation.run("status", "--config", str(federation.config), "--json")
    return json.loads(done.stdout) if done.returncode == 0 else {"evaluations": []}


def until_evaluated(federation: Federation, least: int) -> None:
    def enough() -> bool:
        closed = [each for each in status_of(federation)["evaluations"] if each["closed_at"]]
        return len(closed) >= least

    wait_until(enough, f"{least} evaluations")


def updates_of(federation: Federation) -> list[dict[str, Any]]:
    done = federation.run("updates", "--config", str(federation.config), "--json")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_a_run_stops_early_at_the_best_version_though_its_coordinator_is_killed(
    federation: Federation,
) -> None:
    coordinator = federation.coordinator()
    workers = [federation.worker(name, "--until-run-ends") for name in (*EVALUATORS, *TRAINERS)]
    until_evaluated(federation, 2)
    coordinator.kill()
    coordinator.wait()
    result = federation.ended(federation.coordinator())
    for worker in workers:
        federation.ended(worker)

    status = status_of(federation)
    assert "no improvement" in status["stopped_early"]
    assert result["version"] < 500
    found = {
        each["version"]: each["scores"]["loss"]["mean"]
        for each in status["evaluations"]
        if each["conclusive"]
    }
    assert found == {version: abs(version - 3.0) + 1.0 for version in found}
    best = status["best_version"]
    assert found[best] == min(found.values())
    assert _exported(federation) == [float(best)] * 3

    rows = updates_of(federation)
    answers = Counter(
        (row["base_version"], row["worker"])
        for row in rows
        if row["kind"] == "evaluate" and row["verdict"] == "counted"
    )
    assert set(answers.values()) == {1}
    assert {worker for _, worker in answers} <= set(EVALUATORS)
    assert {row["worker"] for row in rows if row["kind"] == "train"} == set(TRAINERS)


def _exported(federation: Federation) -> list[float]:
    path = federation.folder / "best.safetensors"
    done = federation.run("export", "--config", str(federation.config), "-o", str(path))
    assert done.returncode == 0, done.stderr
    assert "the run stopped early" in done.stdout
    numbers: list[float] = load_file(path)["w"].tolist()
    return numbers
