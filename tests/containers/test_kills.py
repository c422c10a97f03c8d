"""Worker, coordinator and broker are killed in the middle of a round; everything counts once.

The learner and its settings are a folder of one's own, as a user would mount it.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import MakeStack
from tests.containers.stack import CONFIG, Stack, state_of, wait_until
from tests.support.rabbitmq_container import docker

ROUNDS = 6
GOAL = 2
WORKERS = 3

SETTINGS = f"""
[federation]
name = "killed"
[learner]
path = "learner.py"
[run]
rounds = {ROUNDS}
[rounds]
goal = {GOAL}
quorum = {GOAL}
concurrency = {WORKERS}
deadline = "10m"
lease = "10m"
drain = "1h"
[algorithm]
staleness = "constant"
[coordinator]
spool_keep_rounds = "all"
[worker]
presence = "2s"
"""

# One more folder than deploy/compose.yaml has: what the learner writes down for this test.
NOTES = """
services:
  worker:
    volumes:
      - {notes}:/notes
"""

READ_SLOTS = """
import json
from safetensors.numpy import load_file
print(json.dumps(load_file("/tmp/model.safetensors")["slots"].tolist()))
"""


class Killed:
    """A federation whose trainings end when it is said."""

    def __init__(self, folder: Path, make_stack: MakeStack) -> None:
        federation, self.notes = folder / "federation", folder / "notes"
        federation.mkdir()
        self.notes.mkdir()
        self.notes.chmod(0o777)  # the containers' user is none of this machine
        (federation / "federation.toml").write_text(SETTINGS)
        (federation / "learner.py").write_text((Path(__file__).with_name("learner.py")).read_text())
        on_top = folder / "notes.yaml"
        on_top.write_text(NOTES.format(notes=self.notes))
        self.stack: Stack = make_stack([on_top], FEDERATION=str(federation), WORKER_DATA="*")
        self.stack.up(WORKERS)

    def go(self, name: object) -> None:
        """Let trainings end: "all", a version, or "version-worker"."""
        (self.notes / f"go-{name}").touch()

    def trainings(self) -> list[dict[str, Any]]:
        file = self.notes / "trainings"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    def workers_at(self, version: int) -> list[str]:
        """Who trains, or has trained, on a version."""
        return [each["worker"] for each in self.trainings() if each["version"] == version]

    def await_version(self, version: int) -> None:
        self.stack.wait_for(f"version {version}", lambda now: now["version"] >= version)

    def await_one_counted(self, version: int) -> str:
        """Be in the middle of a round: one update is counted, the round waits for another."""
        wait_until(lambda: len(self.workers_at(version)) >= GOAL, f"two to train on {version}")
        first = self.workers_at(version)[0]
        self.go(f"{version}-{first}")
        self.stack.wait_for("one update of two", lambda now: self.is_in_the_middle(now, version))
        return first

    def is_in_the_middle(self, now: dict[str, Any], version: int) -> bool:
        return (now["version"], now["counted"], now["state"]) == (version, 1, "collecting")

    def containers(self) -> dict[str, str]:
        """The container of each worker, by the id that it has."""
        found = {}
        for container in self.stack.containers("worker"):
            found[self.stack.health(container).partition(":")[0]] = container
        return found


@pytest.fixture
def killed(tmp_path: Path, make_stack: MakeStack) -> Killed:
    return Killed(tmp_path, make_stack)


def test_whoever_is_killed_in_a_round_everything_is_counted_once(killed: Killed) -> None:
    stack = killed.stack

    # A worker, while it trains: the others' updates are still to come.
    wait_until(lambda: len(killed.workers_at(0)) == WORKERS, "all workers to train")
    victim = killed.workers_at(0)[0]
    container = killed.containers()[victim]
    assert stack.health(container) == f"{victim}: online, training"
    assert stack.status()["counted"] == 0
    stack.kill(container)
    wait_until(lambda: killed.workers_at(0).count(victim) == 2, "the task to be trained again")
    killed.go(f"0-{victim}")
    killed.go(f"0-{killed.workers_at(0)[1]}")  # the third one comes late
    killed.await_version(1)

    # The coordinator, with one update of two counted.
    killed.await_one_counted(1)
    before = set(accounts(stack))
    stack.kill(stack.one("coordinator"))
    now = stack.wait_for("the coordinator to be back", lambda now: now["state"] == "collecting")
    assert killed.is_in_the_middle(now, 1)
    assert before <= set(accounts(stack))
    killed.go(1)
    killed.await_version(2)

    # The broker, likewise.
    killed.await_one_counted(2)
    stack.kill(stack.one("broker"))
    assert killed.is_in_the_middle(stack.status(), 2)
    killed.go("all")
    stack.wait_for("the end", lambda now: now["state"] == "draining")
    wait_until(
        lambda: all(health.endswith("idle") for health in map(stack.health, workers(stack))),
        "all workers to have nothing in hand",
    )
    check_the_accounts(killed)
    check_that_it_stops_in_good_order(stack)


def workers(stack: Stack) -> list[str]:
    return stack.containers("worker")


def accounts(stack: Stack) -> dict[str, dict[str, Any]]:
    """The ledger, by update."""
    listed = json.loads(stack.fedmq("updates", *CONFIG, "--json"))
    assert not [row for row in listed if row["stray"]]
    return {row["id"]: row for row in listed}


def check_the_accounts(killed: Killed) -> None:
    """Totals, ledger and model say the same; no training is in the model twice."""
    stack, status = killed.stack, killed.stack.status()
    ledger = accounts(stack)
    assert status["version"] == ROUNDS
    assert Counter(row["verdict"] for row in ledger.values()) == status["updates"]
    counted = [row for row in ledger.values() if row["verdict"] == "counted"]
    assert len(counted) == ROUNDS * GOAL
    rounds = Counter(row["round"] for row in counted)
    assert rounds == Counter(dict.fromkeys(range(ROUNDS), GOAL))
    once = Counter((row["base_version"], row["worker"]) for row in counted)
    assert set(once.values()) == {1}
    slots = model_of(stack)
    trained: Counter[tuple[str, str]] = Counter()
    for training in killed.trainings():
        if slots[training["slot"]]:
            trained[training["task"], training["worker"]] += 1
    assert trained == Counter((row["task"], row["worker"]) for row in counted)
    assert sorted(value for value in slots if value) == [1 / GOAL] * len(counted)
    stack.fedmq("replay", *CONFIG)  # ends with 1 if a version cannot be made again


def model_of(stack: Stack) -> list[float]:
    stack.fedmq("export", *CONFIG, "-o", "/tmp/model.safetensors")
    said = docker("exec", stack.one("coordinator"), "python", "-c", READ_SLOTS)
    slots: list[float] = json.loads(said)
    return slots


def check_that_it_stops_in_good_order(stack: Stack) -> None:
    """SIGTERM is enough: nobody has to be killed after the grace period."""
    coordinator, all_workers = stack.one("coordinator"), workers(stack)
    stack.compose("stop", "coordinator", "worker")
    assert [state_of(worker)["ExitCode"] for worker in all_workers] == [0] * WORKERS
    assert state_of(coordinator)["ExitCode"] == 130  # it was stopped before the end of its drain
