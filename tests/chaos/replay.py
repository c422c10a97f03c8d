"""The same updates in the same order give the same bytes, however often the coordinator is killed.

A scripted feeder with one connection publishes updates, the next one only when the broker has
confirmed the last. Only the goal closes rounds, so no timing decides anything. What it published to
a coordinator that nobody disturbed is published again, byte for byte, to one that is killed again
and again: life n ends at step n of its own, or n times `stride`. Both go on from copies of one
state folder, so their tasks have the same ids.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from broker.connect import open_transport
from broker.topology import Names
from broker.transport import Confirmed, Connected, Outgoing, Returned
from schemas.digest import digest_of, update_id_of
from schemas.messages import Update, encode
from tests.chaos.faults import until
from tests.chaos.stage import LEARNERS
from tests.contracts.mailbox import Mailbox
from tests.support.rabbitmq_node import RabbitmqNode

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 4
GOAL = 3
LIVES_MAX = 120
LIMIT_S = 120.0
SLOTS = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of the log.

    Attributes:
        version: The run's when it was published.
        task_id: Offered by then.
    """

    version: int
    task_id: str
    message: Outgoing


@dataclass(frozen=True)
class Left:
    """What must be the same: the files of all versions, and the ledger in the order of arrival."""

    models: Mapping[str, bytes]
    ledger: tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Replayed:
    """What came of it.

    Attributes:
        died_at: The step at which each killed life ended.
    """

    undisturbed: Left
    disturbed: Left
    died_at: tuple[str, ...]


def replay(folder: Path, node: RabbitmqNode, stride: int) -> Replayed:
    """Feed a coordinator that nobody disturbs, and one that is killed at every `stride`-th step."""
    with closing(Coordinator(folder / "first", node)) as first:
        first.begin()
        shutil.copytree(first.folder, folder / "second")
        log = record(first)
        first.finish()
    with closing(Coordinator(folder / "second", node, stride)) as second:
        with closing(Publisher(second)) as publisher:
            for entry in log:
                second.wait(partial(second.offers, entry), "a task of the log")
                publisher.publish(entry.message)
        second.finish()
    return Replayed(first.left(), second.left(), second.died_at())


class Coordinator:
    """A coordinator process on a vhost of its own, started again when it was killed.

    Args:
        folder: Its settings and state.
        stride: Life n ends at step n times this; 0: nobody kills it.
    """

    name = "replay"

    def __init__(self, folder: Path, node: RabbitmqNode, stride: int = 0) -> None:
        self.folder = folder
        self.url = node.url(node.fresh_vhost())
        self._stride = stride
        self._lives = 0
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "federation.toml").write_text(
            f'[federation]\nname = "{self.name}"\n[broker]\nurl = "{self.url}"\n'
            f'[learner]\npath = "{LEARNERS}:learner"\n[run]\nrounds = {ROUNDS}\nevaluate = false\n'
            f"[rounds]\ngoal = {GOAL}\nquorum = {GOAL}\nconcurrency = {2 * GOAL}\n"
            'deadline = "1d"\nlease = "1d"\ndrain = "1s"\n[coordinator]\nstate_dir = "state"\n'
        )

    def begin(self) -> None:
        """Run it until version 0 is there, and no longer."""
        self._start(last=0)
        self.wait(lambda: bool(self.open_tasks()), "the first tasks")
        assert self._process is not None
        self._process.terminate()
        self._process.wait(LIMIT_S)
        self._process = None

    def finish(self) -> None:
        """Let it come to its end."""
        self.wait(lambda: self._process is not None and self._process.poll() == 0, "the end")

    def wait(self, there: Callable[[], bool], words: str) -> None:
        """Wait for something, and keep it running meanwhile."""
        assert until(lambda: self._tend() or there(), LIMIT_S), f"waited for {words}\n{self._log()}"

    def _tend(self) -> bool:
        code = None if self._process is None else self._process.poll()
        if self._process is None or code == -signal.SIGKILL:
            self._lives += 1
            assert self._lives < LIVES_MAX, "it does not come forward"
            self._start(self._lives * self._stride)
        else:
            assert code in (None, 0), f"it ended with code {code}\n{self._log()}"
        return False

    def _start(self, last: int) -> None:
        words = (str(self.folder / "federation.toml"), str(last), str(self.folder / "died"))
        with (self.folder / "stderr.txt").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.dying_coordinator", *words],
                cwd=ROOT,
                stderr=log,
            )

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _log(self) -> str:
        return (self.folder / "stderr.txt").read_text()[-3000:]

    def died_at(self) -> tuple[str, ...]:
        """The steps at which it was killed."""
        file = self.folder / "died"
        return tuple(file.read_text().splitlines()) if file.exists() else ()

    # What is stored.

    def _ask(self, question: str, *values: object) -> list[tuple[object, ...]]:
        file = self.folder / "state" / "coordinator.db"
        if not file.exists():
            return []
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as store:
                return store.execute(question, values).fetchall()
        except sqlite3.OperationalError:  # its tables are being made
            return []

    def version(self) -> int:
        """The newest version, -1 before the first."""
        found = self._ask("SELECT version FROM runs")
        return int(str(found[0][0])) if found else -1

    def open_tasks(self) -> list[str]:
        """Ids of the tasks that are offered, the first first."""
        rows = self._ask("SELECT task_id FROM tasks WHERE state = 'offered' ORDER BY number")
        return [str(task_id) for (task_id,) in rows]

    def is_in_round(self, version: int) -> bool:
        """Whether the tasks of a round are offered."""
        return self.version() == version and len(self.open_tasks()) >= 2 * GOAL

    def offers(self, entry: Entry) -> bool:
        """Whether it is where the log was when this was published, so that it can be answered."""
        known = self._ask("SELECT 1 FROM tasks WHERE task_id = ?", entry.task_id)
        return bool(known) and self.version() >= entry.version

    def run_facts(self) -> tuple[str, int, str]:
        """Run id, incarnation and layout digest."""
        ((run_id, layout),) = self._ask("SELECT run_id, layout_digest FROM runs")
        ((incarnation,),) = self._ask("SELECT incarnation FROM store")
        return str(run_id), int(str(incarnation)), str(layout)

    def model_digest(self, version: int) -> str:
        """The digest of a version."""
        ((digest,),) = self._ask("SELECT digest FROM versions WHERE version = ?", version)
        return str(digest)

    def left(self) -> Left:
        """What there is when it is over; only copies may differ."""
        files = sorted((self.folder / "state" / "models").glob("*/*.safetensors"))
        ledger = self._ask(
            "SELECT update_id, task_id, worker_id, base_version, payload_digest, verdict, reason, "
            "round_version, staleness, weight FROM ledger ORDER BY arrival"
        )
        return Left({file.name: file.read_bytes() for file in files}, tuple(ledger))


class Publisher:
    """One connection that publishes one message after another."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._mailbox = Mailbox()
        self._transport = open_transport(coordinator.url, self._mailbox.post, "feeder")
        self._transport.start()
        self._mailbox.take(Connected)

    def close(self) -> None:
        """Hang up."""
        self._transport.stop()

    def publish(self, message: Outgoing) -> None:
        """Publish until the broker confirms it; there is no exchange before the first declare."""

        def confirmed() -> bool:
            token = self._transport.publish(message)

            def is_outcome(event: object) -> bool:
                return isinstance(event, Confirmed | Returned) and event.token == token

            return isinstance(self._mailbox.take(object, is_outcome), Confirmed)

        self._coordinator.wait(confirmed, "an update to be taken")


def record(coordinator: Coordinator) -> list[Entry]:
    """Let workers answer as a script says; what they published, in order.

    In each round: the goal's updates with numbers whose sum depends on their order, a copy of the
    first, and another by the same worker for the same version. From the second round on also one
    that was trained on the version before, and one that holds NaN.
    """
    log: list[Entry] = []
    spare: list[str] = []
    with closing(Publisher(coordinator)) as publisher:
        for version in range(ROUNDS):
            coordinator.wait(partial(coordinator.is_in_round, version), f"round {version}")
            tasks = coordinator.open_tasks()
            answers = _script(version, tasks, spare.pop() if spare else "")
            spare.append(tasks[-1])
            for task_id, worker, base, is_finite in answers:
                message = _update(coordinator, task_id, worker, base, is_finite)
                publisher.publish(message)
                log.append(Entry(version, task_id, message))
    return log


def _script(version: int, tasks: list[str], spare: str) -> list[tuple[str, str, int, bool]]:
    """Task, worker, base version, and whether the numbers are finite, of each update of a round.

    The last one closes the round.
    """
    first = (tasks[0], "w0", version, True)
    answers = [first, first, (tasks[1], "w0", version, True)]
    if version > 0:
        answers += [(spare, "late", version - 1, True), (tasks[2], "broken", version, False)]
        return [*answers, (tasks[3], "w1", version, True)]
    return [*answers, (tasks[2], "w1", version, True), (tasks[3], "w2", version, True)]


def _update(
    coordinator: Coordinator, task_id: str, worker: str, base: int, is_finite: bool
) -> Outgoing:
    run_id, incarnation, layout = coordinator.run_facts()
    draw = np.random.default_rng([int(task_id[:8], 16), base])
    numbers = draw.normal(size=SLOTS).astype("<f4")
    if not is_finite:
        numbers[7] = np.nan
    payload = numbers.tobytes()
    update = Update(
        update_id=update_id_of(incarnation, task_id, worker),
        run_id=run_id,
        task_id=task_id,
        worker_id=worker,
        incarnation=incarnation,
        kind="train",
        base_version=base,
        base_digest=coordinator.model_digest(base),
        layout_digest=layout,
        codec="none",
        num_examples=int(draw.integers(1, 100)),
        metrics={},
        train_s=0.0,
        payload_digest=digest_of(payload),
        payload_bytes=len(payload),
        parts=0,
    )
    names = Names(coordinator.name)
    key = names.update_key(run_id, 0, worker)
    return Outgoing(names.update_exchange, key, encode(update, payload), update.update_id)
