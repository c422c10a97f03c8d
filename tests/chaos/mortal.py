"""A coordinator process that is started again each time that it was killed, and what it leaves.

life 1 ── step 1 · stride ─▶ SIGKILL ─▶ life 2 ── step 2 · stride ─▶ SIGKILL ─▶ … ─▶ the end
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults import until
from tests.chaos.stage import LEARNERS
from tests.support.rabbitmq_node import RabbitmqNode

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 4
GOAL = 3
LIVES_MAX = 120
LIMIT_S = 120.0


@dataclass(frozen=True)
class Left:
    """What must be the same: the files of all versions, and the ledger in the order of arrival."""

    models: Mapping[str, bytes]
    ledger: tuple[tuple[object, ...], ...]


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

    def offers(self, task_id: str, version: int) -> bool:
        """Whether a task was offered and a version made, so that the task can be answered."""
        known = self._ask("SELECT 1 FROM tasks WHERE task_id = ?", task_id)
        return bool(known) and self.version() >= version

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
