"""Federations over a real RabbitMQ, in the processes that users start."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pika
import pytest
from safetensors.numpy import load_file

from learning.learner import TrainRequest, parameters_of
from learning.loading import load_learner
from tests.e2e.services import Federation, wait_until
from tests.learning.optional import needs
from tests.support.rabbitmq_node import RabbitmqNode

EXAMPLES = Path(__file__).parents[2] / "examples"
AGENT_KIB_MAX = 60 * 1024  # beside its training process
LINEAR = f"{EXAMPLES / 'linear_numpy.py'}:learner"

SLEEPER = """
import sys, time
from pathlib import Path
import numpy as np
from fedmq import TrainResult

class Sleeper:
    def initial_parameters(self):
        return {"w": np.zeros(3, np.float32)}

    def train(self, parameters, request):
        assert "torch" not in sys.modules
        Path(request.data).write_text(str(__import__("os").getpid()))
        while not Path(request.data + ".go").exists():
            time.sleep(0.02)
        return TrainResult({"w": parameters["w"] + 1}, 1)

learner = Sleeper
"""

Make = Callable[..., Federation]


@pytest.fixture
def make(tmp_path: Path, amqp_url: str, federation_name: str) -> Iterator[Make]:
    made: list[Federation] = []

    def begin(learner: str, **rounds: object) -> Federation:
        made.append(Federation(tmp_path, amqp_url, federation_name, learner, **rounds))
        return made[-1]

    yield begin
    for federation in made:
        federation.close()


def exported(federation: Federation, name: str = "final.safetensors") -> dict[str, Any]:
    path = federation.folder / name
    done = federation.run("export", "--config", str(federation.config), "-o", str(path))
    assert done.returncode == 0, done.stderr
    return load_file(path)


def test_started_in_any_order_and_the_broker_last_the_mean_is_that_by_hand(
    make: Make, rabbitmq_node: RabbitmqNode, tmp_path: Path
) -> None:
    if os.environ.get("FEDMQ_TEST_AMQP_URL"):
        pytest.skip("needs a broker that it may stop")
    federation = make(LINEAR, rounds=1, goal=3, quorum=3)
    names = {"till": 7, "boat": 31, "ward": 12}
    for name, rows in names.items():
        data = np.random.default_rng(rows).normal(size=(rows, 3))
        np.savetxt(tmp_path / f"{name}.csv", data, delimiter=",")
    rabbitmq_node.kill()
    workers = [
        federation.worker(name, "--data", str(tmp_path / f"{name}.csv"), "--until-run-ends")
        for name in names
    ]
    coordinator = federation.coordinator()
    rabbitmq_node.restart()
    result = federation.ended(coordinator)
    assert result["version"] == 1
    assert result["updates"] == {"counted": 3}
    for worker in workers:
        assert federation.ended(worker)["sent"] == 1

    learner = load_learner(LINEAR)
    initial = parameters_of(learner)
    total = {name: np.zeros_like(value) for name, value in initial.items()}
    for name in names:
        request = TrainRequest(name, "0" * 32, 0, seed=0, data=str(tmp_path / f"{name}.csv"))
        trained = learner.train(initial, request)
        for array in total:
            total[array] += trained.num_examples * np.asarray(trained.parameters[array])
    final = exported(federation)
    for array, value in total.items():
        np.testing.assert_allclose(final[array], value / sum(names.values()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("profile", ["lan", "slow", "tiny"])
def test_a_federation_learns_over_a_narrow_link(make: Make, tmp_path: Path, profile: str) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "mark.go").touch()
    federation = make(str(tmp_path / "sleeper.py"), rounds=3, goal=2, quorum=2)
    coordinator = federation.coordinator(environ={"FEDMQ_WIRE_PROFILE": profile})
    mark = str(tmp_path / "mark")
    workers = [federation.worker(name, "--data", mark, "--until-run-ends") for name in "ab"]
    result = federation.ended(coordinator)
    assert (result["version"], result["updates"]["counted"]) == (3, 6)
    for worker in workers:
        federation.ended(worker)
    # Equal numbers arrive as they are, but for two bits: there they are nearer in larger groups.
    within = 2.0 if profile == "tiny" else 1e-6
    np.testing.assert_allclose(exported(federation)["w"], np.full(3, 3.0), rtol=0, atol=within)
    replayed = federation.run("replay", "--config", str(federation.config))
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def test_in_direct_dispatch_workers_are_drawn_and_all_take_part(make: Make, tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    chosen = {"dispatch": "direct", "deadline": "10m", "lease": "10m"}
    learner = str(tmp_path / "sleeper.py")
    federation = make(learner, rounds=6, goal=2, quorum=2, concurrency=2, **chosen)
    coordinator, mark = federation.coordinator(), tmp_path / "mark"
    workers = [federation.worker(name, "--data", str(mark), "--until-run-ends") for name in "abcd"]
    # Nobody trains to an end before all are there, or the first two would do all of it.
    wait_until(lambda: len(_status(federation).get("workers", [])) == 4, "four workers")
    (tmp_path / "mark.go").touch()
    result = federation.ended(coordinator)
    assert (result["version"], result["updates"]["counted"]) == (6, 12)
    for worker in workers:
        federation.ended(worker)
    took_part = _status(federation)["participation"]
    assert (took_part["workers"], took_part["updates"]) == (4, 12)
    assert took_part["jain"] > 0.5, "the less served of two is drawn, so nobody does it all"
    records = [version["participation"] for version in _status(federation)["versions"][1:]]
    assert [record["updates"] for record in records] == [2, 4, 6, 8, 10, 12]
    said = federation.run("status", "--config", str(federation.config)).stdout
    assert f"fairness Jain index {took_part['jain']:.3f}; workers counted" in said


def test_a_torch_learner_of_two_files_with_a_data_loader_trains(make: Make) -> None:
    needs("torch")
    learner = f"{EXAMPLES / 'torch_two_files' / 'learner.py'}:learner"
    federation = make(learner, rounds=2, goal=2, evaluate=True)
    coordinator = federation.coordinator()
    workers = [federation.worker(name, "--until-run-ends") for name in ("a", "b")]
    result = federation.ended(coordinator)
    assert result["updates"]["counted"] == 4
    assert result["metrics"]["accuracy"] > 0.7
    for worker in workers:
        federation.ended(worker)


def test_a_killed_agent_leaves_no_orphan_and_its_successor_finishes(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    mark = tmp_path / "training"
    federation = make(str(tmp_path / "sleeper.py"), rounds=1, goal=1)
    coordinator = federation.coordinator()
    agent = federation.worker("a", "--data", str(mark))
    wait_until(lambda: mark.exists() and mark.read_text() != "", "training to begin")
    child = int(mark.read_text())
    assert _memory_kib(agent.pid) < AGENT_KIB_MAX
    agent.kill()
    agent.wait()
    wait_until(lambda: not _lives(child), "the training process to end")

    mark.unlink()
    (tmp_path / "training.go").touch()
    successor = federation.worker("a", "--data", str(mark), "--until-run-ends")
    result = federation.ended(coordinator)
    assert result["updates"] == {"counted": 1}
    assert federation.ended(successor)["trained"] == 1
    assert exported(federation)["w"].tolist() == [1.0, 1.0, 1.0]


def test_a_killed_coordinator_goes_on_with_the_same_round(make: Make, tmp_path: Path) -> None:
    federation = make(LINEAR, rounds=2, goal=2)
    first = federation.coordinator()
    a = federation.worker("a", "--once", "--wait", "60s")
    assert federation.ended(a)["sent"] == 1
    wait_until(lambda: _status(federation).get("counted") == 1, "the first update to be counted")
    first.kill()
    first.wait()

    second = federation.coordinator()
    workers = [federation.worker(name, "--until-run-ends") for name in ("a", "b")]
    result = federation.ended(second)
    assert result["version"] == 2
    assert result["updates"]["counted"] == 4
    for worker in workers:
        federation.ended(worker)
    again = federation.coordinator()
    out, _ = again.communicate(timeout=60)
    assert again.returncode == 0
    assert "had ended" in out


def test_drawn_workers_and_their_coordinator_may_be_killed_and_each_update_counts_once(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    marks = {name: tmp_path / name for name in ("a", "b")}
    chosen = {"dispatch": "direct", "lease": "10m", "deadline": "10m"}
    federation = make(str(tmp_path / "sleeper.py"), rounds=1, goal=2, quorum=2, **chosen)
    coordinator = federation.coordinator()
    agents = {n: federation.worker(n, "--data", str(mark)) for n, mark in marks.items()}
    wait_until(lambda: all(m.exists() and m.read_text() for m in marks.values()), "two trainings")
    for process in (coordinator, agents["a"]):
        process.kill()
        process.wait()
    for name in marks:
        (tmp_path / f"{name}.go").touch()
    again = federation.coordinator()
    successor = federation.worker("a", "--data", str(marks["a"]), "--until-run-ends")
    result = federation.ended(again)
    assert (result["version"], result["updates"]) == (1, {"counted": 2})
    assert federation.ended(successor)["trained"] == 1
    assert exported(federation)["w"].tolist() == [1.0, 1.0, 1.0]


def test_a_direct_task_waits_for_its_worker_in_the_workers_own_queue(
    make: Make, amqp_url: str, federation_name: str
) -> None:
    federation = make(LINEAR, rounds=2, goal=1, dispatch="direct", lease="10m", deadline="10m")
    coordinator = federation.coordinator()
    assert federation.ended(federation.worker("a", "--once", "--wait", "60s"))["sent"] == 1
    wait_until(lambda: _waiting(amqp_url, f"fedmq.{federation_name}.w.a") == 1, "the next task")
    assert _waiting(amqp_url, f"fedmq.{federation_name}.tasks.pool") == 0
    assert federation.ended(federation.worker("a", "--once", "--wait", "60s"))["sent"] == 1
    result = federation.ended(coordinator)
    assert (result["version"], result["updates"]) == (2, {"counted": 2})


def test_a_coordinator_that_is_killed_again_and_again_forgets_nothing_it_remembered(
    make: Make,
) -> None:
    federation = make(LINEAR, rounds=20, goal=2, quorum=2)
    remembers = {
        "FEDMQ_ALGORITHM_RULE": "ca2fl",
        "FEDMQ_ALGORITHM_OPTIMIZER": "adam",
        "FEDMQ_COORDINATOR_SPOOL_KEEP_ROUNDS": "all",
    }
    workers = [federation.worker(name, "--until-run-ends") for name in ("a", "b", "c")]
    for version in (2, 5, 8):
        coordinator = federation.coordinator(environ=remembers)
        wait_until(partial(_has_made, federation, version), "more versions")
        coordinator.kill()
        coordinator.wait()
    assert federation.ended(federation.coordinator(environ=remembers))["version"] == 20
    for worker in workers:
        federation.ended(worker)
    done = federation.run("replay", "--config", str(federation.config), "--json")
    assert done.returncode == 0, done.stdout
    found = [row["outcome"] for row in json.loads(done.stdout)["versions"]]
    assert found == ["initial", *20 * ["the same"]]


def test_a_worker_for_once_leaves_when_nothing_is_due(make: Make) -> None:
    federation = make(LINEAR, rounds=1, goal=2)
    federation.coordinator()
    first = federation.worker("a", "--once", "--wait", "60s")
    assert federation.ended(first)["sent"] == 1
    # It has answered for this version: there is nothing for it until the next.
    second = federation.worker("a", "--once", "--wait", "2s")
    assert federation.ended(second)["sent"] == 0


def test_ctrl_c_stops_coordinator_and_worker_in_good_order(make: Make) -> None:
    federation = make(LINEAR, rounds=1, goal=2)
    coordinator, worker = federation.coordinator(), federation.worker("a")
    wait_until(lambda: _status(federation).get("counted") == 1, "an update to be counted")
    for process in (worker, coordinator):
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    assert worker.returncode == 0
    assert coordinator.returncode == 130
    assert "Traceback" not in federation.logs()


def test_a_hangup_signal_has_the_coordinator_read_its_settings_again(make: Make) -> None:
    federation = make(LINEAR, rounds=2, goal=2)
    coordinator = federation.coordinator()
    federation.ended(federation.worker("a", "--once", "--wait", "60s"))
    wait_until(lambda: _status(federation).get("counted") == 1, "an update to be counted")
    settings = federation.config.read_text()
    federation.config.write_text(settings.replace("goal = 2", "goal = 1"))
    coordinator.send_signal(signal.SIGHUP)
    said = "a setting is changed, with the next version: rounds.goal: was 2, now 1"
    wait_until(lambda: said in federation.logs(), "the settings to be read again")
    assert _status(federation)["goal"] == 2
    federation.ended(federation.worker("b", "--once", "--wait", "60s"))
    wait_until(lambda: _status(federation).get("goal") == 1, "the next version to open")
    federation.ended(federation.worker("a", "--once", "--wait", "60s"))
    assert federation.ended(coordinator)["version"] == 2
    assert [row["counted"] for row in _status(federation)["versions"]] == [0, 2, 1]


def test_a_wrong_password_is_one_line_and_not_shown(
    make: Make, amqp_url: str, tmp_path: Path
) -> None:
    federation = make(LINEAR)
    url = amqp_url.replace("guest:guest", "guest:wr0ng")
    if url == amqp_url:
        pytest.skip("needs a broker whose user is guest")
    text = federation.config.read_text().replace(amqp_url, url)
    federation.config.write_text(text)
    for words in (("coordinator",), ("worker", "--id", "a")):
        done = federation.run(*words, "--config", str(federation.config))
        assert done.returncode != 0
        assert len(done.stderr.strip().splitlines()) == 1
        assert "wr0ng" not in done.stderr + done.stdout


def _waiting(url: str, queue: str) -> int:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        declared = connection.channel().queue_declare(queue, passive=True)
        count: int = declared.method.message_count
        return count


def _status(federation: Federation) -> dict[str, Any]:
    done = federation.run("status", "--config", str(federation.config), "--json")
    return json.loads(done.stdout) if done.returncode == 0 else {}


def _has_made(federation: Federation, version: int) -> bool:
    """Looked at on disk: a command would take so long that a run might end meanwhile."""
    models = federation.folder / "coordinator" / "models"
    return any(int(path.stem) >= version for path in models.glob("*/0*.safetensors"))


def _memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
