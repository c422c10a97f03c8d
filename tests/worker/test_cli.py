"""The worker's command: arguments in this process, the rest as a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.connect import open_transport
from broker.topology import Names, is_worker_id
from settings import SettingsError, load
from settings.health import ask_health
from tests.worker.learners import Adder
from tests.worker.scripted import LEARNERS, ScriptedCoordinator
from worker import cli
from worker.config import default_worker_id
from worker.options import Forever, Once, UntilRunEnds
from worker.store import Store

FEDMQ = "import sys; from fedmq.cli import main; sys.exit(main())"
ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(words)


def config_from(tmp_path: Path, *words: str) -> Any:
    arguments = parsed("--state-dir", str(tmp_path), *words)
    given = {"learner.path": str(LEARNERS), **cli.overrides_of(arguments)}
    return cli.config_of(load(None, {}, given), arguments)


def test_a_worker_keeps_its_state_in_a_folder_of_its_name(tmp_path: Path) -> None:
    config = config_from(tmp_path, "--id", "till-17", "--data", "part 3")
    assert config.folder == tmp_path / "till-17"
    assert (config.worker_id, config.data) == ("till-17", "part 3")


@pytest.mark.parametrize(
    ("words", "plan"),
    [
        ((), Forever()),
        (("--once",), Once(30.0)),
        (("--once", "--wait", "5m"), Once(300.0)),
        (("--until-run-ends",), UntilRunEnds()),
    ],
)
def test_plans(tmp_path: Path, words: tuple[str, ...], plan: object) -> None:
    assert config_from(tmp_path, *words).options.plan == plan


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--id", "a b"), "--id: expected 1 to 64 of"),
        (("--id", ""), "--id: expected 1 to 64 of"),
        (("--once", "--wait", "soon"), "--wait: expected a duration"),
        (("--once", "--until-run-ends"), "expected one of"),
        (("--wait", "5s"), "--wait: expected --once with it, got"),
        (("--wait", "30s", "--until-run-ends"), "--wait: expected --once with it, got"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        config_from(tmp_path, *words)


def test_a_learner_that_is_not_there_is_said_before_any_task_comes(tmp_path: Path) -> None:
    arguments = parsed("--state-dir", str(tmp_path), "--id", "w1")
    settings = load(None, {}, {"learner.path": str(tmp_path / "nothing.py:it")})
    with pytest.raises(SettingsError, match=r"a file that exists.*nothing\.py"):
        cli.config_of(settings, arguments)


@pytest.mark.parametrize("name", ["till-17.shop.example", "bücher", "a" * 100, "", "ok_1"])
def test_the_machines_name_makes_a_worker_id(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: name)
    assert is_worker_id(default_worker_id())


def test_the_agent_brings_no_arrays_no_database_and_no_terminal() -> None:
    code = (
        "import sys, worker.cli, broker.rabbitmq\n"
        "print([m for m in ('numpy', 'torch', 'sqlalchemy', 'tqdm', 'hypothesis', 'safetensors')"
        " if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


# As a process.


@dataclass
class Command:
    """`fedmq-worker`, started and stopped by a test."""

    folder: Path
    url: str
    federation: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *words: str, learner: str = "Adder", **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", FEDMQ, "worker", "--id", "w1", "--json", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONFAULTHANDLER": "1",
                "FEDMQ_BROKER_URL": self.url,
                "FEDMQ_FEDERATION_NAME": self.federation,
                "FEDMQ_LEARNER_PATH": f"{LEARNERS}:{learner}",
                "FEDMQ_WORKER_STATE_DIR": str(self.folder),
                **environ,
            },
        )
        self.processes.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON of the last line, and stderr."""
        try:
            out, err = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # it tells where each of its threads is
            raise AssertionError(f"it does not end: {process.communicate()[1]}") from None
        last = out.strip().splitlines()[-1] if out.strip() else "{}"
        return process.returncode, json.loads(last), err

    def run(self, *words: str, **environ: str) -> tuple[int, dict[str, Any], str]:
        return self.end(self.start(*words, **environ))

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[Command]:
    made = Command(tmp_path, "amqp://guest:secret@127.0.0.1:9/", "test")
    yield made
    made.close()


@pytest.fixture
def command(tmp_path: Path, amqp_url: str, federation_name: str) -> Iterator[Command]:
    made = Command(tmp_path, amqp_url, federation_name)
    yield made
    made.close()


@contextmanager
def coordinating(command: Command) -> Iterator[ScriptedCoordinator]:
    coordinator = ScriptedCoordinator(
        lambda post: open_transport(command.url, post, "coordinator"),
        Adder(),
        names=Names(command.federation),
    )
    try:
        yield coordinator
    finally:
        coordinator.transport.stop()


def wait_until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def test_once_without_a_broker_exits_1_with_one_line_and_no_password(nowhere: Command) -> None:
    code, report, err = nowhere.run("--once", "--wait", "300ms", "--log-level", "error")
    assert code == 1
    (line,) = err.strip().splitlines()
    assert "the broker was not reached" in line
    assert "secret" not in line
    assert report["exit_code"] == 1


@pytest.mark.parametrize(
    "words", [("--id", "no good"), ("--wait", "soon"), ("--config", "none.toml")]
)
def test_a_wrong_setting_exits_2_with_one_line(nowhere: Command, words: tuple[str, ...]) -> None:
    code, _, err = nowhere.run(*words)
    assert code == 2
    assert len(err.strip().splitlines()) == 1


def test_a_depot_that_cannot_be_used_is_a_wrong_setting(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    settings = load(None, {}, {"depot.url": "s3://bucket", "depot.credentials": missing})
    with pytest.raises(SettingsError, match=r"^depot\.url: expected a depot.*none: No such file"):
        cli._depot_of(settings)
    assert cli._depot_of(load(None, {})) is None


def test_a_folder_in_use_exits_2(nowhere: Command) -> None:
    first = nowhere.start()
    wait_until((nowhere.folder / "w1" / "worker.sqlite").exists)
    code, _, err = nowhere.run()
    assert code == 2
    assert "in use by another worker" in err
    first.send_signal(signal.SIGTERM)
    assert nowhere.end(first)[0] == 0


def test_a_state_folder_that_cannot_be_made_exits_2_with_one_line(nowhere: Command) -> None:
    nowhere.folder = nowhere.folder / "file"
    nowhere.folder.touch()
    code, _, err = nowhere.run("--once")
    assert code == 2
    (line,) = err.strip().splitlines()
    assert "expected a folder that can be written" in line


def test_outside_of_its_hours_once_has_nothing_to_do(nowhere: Command) -> None:
    now = time.localtime()
    hour = (now.tm_hour + 12) % 24
    code, report, _ = nowhere.run("--once", FEDMQ_WORKER_HOURS=f"{hour:02}:00-{hour:02}:30")
    assert (code, report["trained"]) == (0, 0)


def test_once_over_rabbitmq(command: Command) -> None:
    with coordinating(command) as coordinator:
        coordinator.offer()
        coordinator.publish_version(0)
        code, report, err = command.run("--once")
        assert code == 0, err
        assert (report["trained"], report["sent"], report["outbox"]) == (1, 1, 0)
        wait_until(lambda: coordinator.updates)


def test_a_worker_started_before_its_coordinator_and_stopped_by_a_signal(command: Command) -> None:
    process = command.start()
    with coordinating(command) as coordinator:
        for version in range(2):
            coordinator.offer()
            coordinator.publish_version(version)
        wait_until(lambda: coordinator.updates)
        process.send_signal(signal.SIGINT)
        code, report, err = command.end(process)
        assert code == 0, err
        assert report["reason"] == "told to stop"
        wait_until(lambda: coordinator.presences[-1].leaving)


def test_a_signal_does_not_throw_away_an_update_that_is_being_written(command: Command) -> None:
    says, writes = command.folder / "pid", command.folder / "writes"
    config = json.dumps({"says": str(says), "writes": str(writes)})
    with coordinating(command) as coordinator:
        coordinator.offer()
        coordinator.publish_version(0)
        process = command.start(learner="Lingering", FEDMQ_LEARNER_CONFIG=config)
        wait_until(writes.exists)
        process.send_signal(signal.SIGTERM)
        code, _, err = command.end(process)
        assert code == 0, err
    store = Store(command.folder / "w1")
    assert len(store.parcels()) == 1
    assert store.inbox.held() is None
    store.close()


def test_kill_minus_9_leaves_no_orphan_and_the_next_start_goes_on(command: Command) -> None:
    pid_file = command.folder / "pid"
    config = json.dumps({"says": str(pid_file)})
    with coordinating(command) as coordinator:
        task = coordinator.offer()
        coordinator.publish_version(0)
        process = command.start("--data", "deaf", learner="Waiting", FEDMQ_LEARNER_CONFIG=config)
        wait_until(lambda: pid_file.exists() and pid_file.read_text())
        process.kill()
        wait_until(lambda: is_gone(int(pid_file.read_text())))
        store = Store(command.folder / "w1")
        held = store.inbox.held()
        store.close()
        assert held is not None
        assert (held.task, held.attempts) == (task, 1)
        code, _, err = command.run("--once")
        assert code == 0, err
        wait_until(lambda: coordinator.updates)
        assert [update.task_id for update, _ in coordinator.updates] == [task.task_id]


def test_replicas_take_numbers_and_the_data_that_go_with_them(command: Command) -> None:
    with coordinating(command) as coordinator:
        replicas = [command.start("--id", "till-*", "--data", "*") for _ in range(3)]
        names = {"till-1", "till-2", "till-3"}
        wait_until(lambda: names <= {seen.worker_id for seen in coordinator.presences})
        for replica in replicas:
            replica.terminate()
        assert {command.end(replica)[1]["worker"] for replica in replicas} == names
    assert {folder.name for folder in command.folder.iterdir()} == names


@pytest.mark.parametrize("worker_id", ["a b-*", "x" * 60 + "*"])
def test_an_id_with_a_star_is_one_with_any_number(tmp_path: Path, worker_id: str) -> None:
    with pytest.raises(SettingsError, match="--id: expected 1 to 64 of"):
        config_from(tmp_path, "--id", worker_id)


def test_a_worker_is_asked_how_it_is_over_its_socket(nowhere: Command) -> None:
    socket = str(nowhere.folder / "health")
    process = nowhere.start("--health", socket)
    wait_until(lambda: "does not reach the broker" in ask_health(socket).words)
    assert not ask_health(socket).well
    process.terminate()
    assert nowhere.end(process)[0] == 0
    assert not Path(socket).exists()


def test_a_socket_that_cannot_be_ends_it_with_one_line(nowhere: Command) -> None:
    code, _, err = nowhere.run("--health", "/proc/none", "--log-level", "error")
    assert code == 2
    (line,) = err.strip().splitlines()
    assert "--health: expected a path where a socket can be made" in line
