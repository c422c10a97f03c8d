"""Evaluation beside the rounds: whatever user code does there, the rounds go on."""

from __future__ import annotations

import os
import queue
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from coordinator.evaluation import FAILURES_MAX, Evaluation, initial_of
from coordinator.mailbox import Evaluated
from coordinator.models import ModelFolder
from schemas.layout import Layout
from schemas.tensors import unflatten
from settings import Settings, load
from tests.coordinator.world import MakeWorld, World
from tests.learning.test_process import wait_until
from tests.support.rabbitmq_node import stands_still

WAIT_S = 30.0

LEARNER = """
import os, time
import numpy as np

class Learner:
    def initial_parameters(self):
        return {"w": np.ones((3, 2), np.float32), "b": np.zeros(2, np.float64)}

    def train(self, parameters, request):
        raise NotImplementedError

    def evaluate(self, parameters, request):
        version = request.model_version
        EVALUATE

learner = Learner()
"""

MEASURES = 'return {"w": float(parameters["w"].sum()), "nan": float("nan")}'
RAISES = 'raise ValueError("no hold-out here")'
DIES = "os._exit(7)"
HANGS = "time.sleep(1000)"
RAISES_AT_FIRST = 'if version == 0: raise ValueError("not yet")\n        ' + MEASURES


class Bench:
    """An evaluation, and what came of it."""

    def __init__(self, folder: Path, evaluate: str) -> None:
        self.learner = folder / "learner.py"
        self.learner.write_text(LEARNER.replace("EVALUATE", evaluate))
        self.models = ModelFolder(folder / "models")
        initial = initial_of(self.settings())
        self.layout: Layout = initial.layout
        self.model = bytearray(initial.model)
        self.came: queue.SimpleQueue[tuple[int, Mapping[str, float]]] = queue.SimpleQueue()
        self.evaluation = Evaluation(
            self.settings(), self.layout, lambda version, metrics: self.came.put((version, metrics))
        )

    def settings(self, **overrides: object) -> Settings:
        return load(None, {}, {"learner.path": str(self.learner), **overrides})

    def version(self, version: int, value: float = 1.0) -> Path:
        unflatten(self.model, self.layout)["w"][...] = np.float32(value)
        return self.models.path(self.models.write("run", version, [self.model], self.layout).file)

    def evaluate(self, version: int, value: float = 1.0) -> None:
        self.evaluation.evaluate(version, self.version(version, value))

    def all(self) -> list[tuple[int, Mapping[str, float]]]:
        assert self.evaluation.wait(WAIT_S)
        came = []
        while not self.came.empty():
            came.append(self.came.get())
        return came


@pytest.fixture
def folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Path]:
    yield tmp_path
    capfd.readouterr()  # the tracebacks of learners


def test_each_version_is_measured_once_and_in_order(folder: Path) -> None:
    bench = Bench(folder, MEASURES)
    for version, value in enumerate((1.0, 2.0, 3.0)):
        bench.evaluate(version, value)
    bench.evaluation.evaluate(2, bench.models.path("run/000002.safetensors"))
    assert bench.all() == [(0, {"w": 6.0}), (1, {"w": 12.0}), (2, {"w": 18.0})]
    bench.evaluation.close()


def test_a_version_is_in_hand_until_its_metrics_are_noted(folder: Path) -> None:
    bench = Bench(folder, MEASURES)
    assert bench.evaluation.in_hand() == set()
    bench.evaluate(3)
    assert bench.evaluation.in_hand() == {3}
    bench.all()
    assert bench.evaluation.in_hand() == {3}
    bench.evaluation.noted(3)
    bench.evaluation.noted(7)
    assert bench.evaluation.in_hand() == set()
    bench.evaluation.close()


def test_a_version_whose_file_is_gone_is_skipped(folder: Path) -> None:
    bench = Bench(folder, MEASURES)
    for version in range(FAILURES_MAX + 1):
        bench.evaluation.evaluate(version, folder / "pruned.safetensors")
    bench.evaluate(9, 1.0)
    assert bench.all() == [(9, {"w": 6.0})]
    bench.evaluation.close()


def test_a_learner_that_raises_is_asked_again_for_the_next_version(folder: Path) -> None:
    bench = Bench(folder, RAISES_AT_FIRST)
    bench.evaluate(0)
    bench.evaluate(1)
    assert bench.all() == [(1, {"w": 6.0})]
    bench.evaluation.close()


@pytest.mark.parametrize("how", [RAISES, DIES])
def test_a_learner_that_fails_again_and_again_is_left_alone(folder: Path, how: str) -> None:
    bench = Bench(folder, how)
    for version in range(FAILURES_MAX + 2):
        bench.evaluate(version)
    assert bench.all() == []
    bench.evaluation.close()


def test_a_version_that_an_idle_process_died_before_is_evaluated_in_another(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(folder, MEASURES)
    bench.evaluate(0)
    assert len(bench.all()) == 1
    assert bench.evaluation._child is not None
    pid = bench.evaluation._child.pid
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: stands_still(pid))  # it does not read what it is sent
    bench.evaluate(1)
    os.kill(pid, signal.SIGKILL)
    assert [version for version, _ in bench.all()] == [1]
    assert "failed" not in caplog.text
    bench.evaluation.close()


def test_a_learner_that_cannot_evaluate_is_asked_once(folder: Path) -> None:
    bench = Bench(folder, MEASURES)
    bench.learner.write_text(
        LEARNER.replace("EVALUATE", MEASURES).replace("def evaluate", "def other")
    )
    bench.evaluate(0)
    bench.evaluate(1)
    assert bench.all() == []
    bench.evaluation.close()


def test_a_learner_that_hangs_is_ended_with_the_coordinator(folder: Path) -> None:
    bench = Bench(folder, HANGS)
    bench.evaluate(0)
    assert not bench.evaluation.wait(0.0)
    bench.evaluation.close()
    assert bench.evaluation.wait(WAIT_S)


def test_nothing_is_evaluated_where_that_is_switched_off(folder: Path) -> None:
    bench = Bench(folder, MEASURES)
    settings = bench.settings(**{"run.evaluate": False})
    off = Evaluation(settings, bench.layout, lambda version, metrics: bench.came.put((0, {})))
    off.evaluate(0, bench.version(0))
    assert off.wait(WAIT_S)
    assert bench.came.empty()
    off.close()


# in the service


def in_service(make_world: MakeWorld, evaluate: str, **options: object) -> World:
    world = make_world(begin=False, run__evaluate=True, **options)
    world.learner(LEARNER.replace("EVALUATE", evaluate))
    world.begin()
    return world


def wait_for(world: World, version: int) -> None:
    """Hand in what comes until a version has been evaluated."""
    while world.service.look().evaluated < version:
        event = world.service._mailbox.get(timeout=WAIT_S)
        world.service.handle([event])


@pytest.mark.usefixtures("folder")
def test_metrics_of_each_version_are_stored(make_world: MakeWorld) -> None:
    world = in_service(make_world, MEASURES)
    wait_for(world, 0)
    world.round(1.0, 1.0)
    wait_for(world, 1)
    assert world.version_row(0).metrics == {"w": 6.0}
    assert world.version_row(1).metrics == {"w": 12.0}
    assert world.service.look().metrics == {"w": 12.0}
    world.restart()
    assert world.service.look().metrics == {"w": 12.0}


@pytest.mark.usefixtures("folder")
def test_the_newest_version_is_evaluated_after_a_restart(make_world: MakeWorld) -> None:
    world = in_service(make_world, HANGS)
    world.round(1.0, 1.0)
    world.kill()
    world.learner(LEARNER.replace("EVALUATE", MEASURES))
    world.begin()
    wait_for(world, 1)
    assert world.version_row(1).metrics == {"w": 12.0}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("how", [RAISES, DIES, HANGS])
def test_rounds_go_on_whatever_the_evaluation_does(make_world: MakeWorld, how: str) -> None:
    world = in_service(make_world, how)
    for _ in range(3):
        world.round(1.0, 1.0)
    assert (world.state, world.version) == ("draining", 3)


@pytest.mark.usefixtures("folder")
def test_a_stop_does_not_wait_for_an_evaluation_that_hangs(make_world: MakeWorld) -> None:
    world = in_service(make_world, HANGS, run__rounds=1, rounds__drain="0s")
    world.round(1.0, 1.0)
    world.pass_time(1.0)
    assert world.state == "ended"
    world.service.stop()
    assert world.service.run().state == "ended"


@pytest.mark.usefixtures("folder")
def test_metrics_that_cannot_be_written_stop_nothing(make_world: MakeWorld) -> None:
    world = in_service(make_world, HANGS)
    world.steps.trouble["before commit"] = OSError(28, "No space left on device")
    world.service._mailbox.put(Evaluated(0, {"w": 1.0}))
    world.step()
    assert world.seen[-1].state == "connecting"
    world.steps.trouble.clear()
    world.pass_to_wake()
    world.round(1.0, 1.0)
    assert world.version == 1


def test_no_child_is_left_when_the_initial_model_was_given(folder: Path) -> None:
    bench = Bench(folder, MEASURES)
    shutil.rmtree(folder / "models", ignore_errors=True)
    assert initial_of(bench.settings()).model == bytes(bench.model)
    bench.evaluation.close()
