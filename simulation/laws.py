"""What must hold in a world, whatever goes wrong.

Safety, after every step:

- A verdict is for ever: no row of the ledger changes but in its `copies`.
- A worker counts once for a base version, and a task once for a worker.
- Nothing finished is lost: an update that a training process committed is in its outbox, in the
  broker, or has its verdict. But for one whose payload the disk has changed: its worker may give it
  up, mark and all. If the task is trained again, what comes of that is finished like any other.
- No task of the pool is lost: one that the broker confirmed and nobody answered is in the broker,
  in an inbox, or known to be taken or ended.
- In direct dispatch a worker has one task at a time; nobody else's update of it counts, nor one of
  another version than it pins; and one message waits in a worker's own queue, at most.
- A new version is the one before it plus what the world's algorithm makes of exactly the updates
  that the ledger counts for it and for those before it: of the mean, weight / Σ weights in the slot
  of each (`simulation.reference`). Or it says that it is an earlier one again, and is.
- Who evaluates does not train, and who trains does not evaluate; a closed evaluation is made of
  exactly the answers that the ledger counts for its version.

A coordinator whose disk was restored from a backup begins another timeline, in which all of that
holds, but for what only the lost time knew:

- The ledger, the counts and the versions are as of the backup.
- An update that had its verdict in the lost time may be lost: a restore loses what was acked after
  the backup, and a worker may hear of such a verdict even later, and let the update go.
- A task that the backup has as offered, published or not, may have been answered in the lost time.

Liveness, some time after all was healed: the run ends, and every finished update that was neither
given up nor lost so has a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from broker.memory import MemoryBroker
from broker.topology import Names
from coordinator.models import from_safetensors
from simulation.ledger import Row, has_table, rows_of
from simulation.oracle import NAME, Oracle, loss_of
from simulation.platter import Platter
from simulation.reference import Name, UnitUpdate, change_of


class Broken(AssertionError):
    """A law does not hold."""


class Laws:
    """Looks at what is on the disks and in the broker of a world.

    Args:
        oracle: Knows which training made which payload.
        broker: The world's.
        coordinator: The coordinator's disk.
        workers: The workers' disks, by name.
        state: Where each keeps its state folder.
        names: The federation's.
        algorithm: By which the coordinator makes versions.
        evaluators: The workers that evaluate and never train.
    """

    def __init__(
        self,
        oracle: Oracle,
        broker: MemoryBroker,
        coordinator: Platter,
        workers: Mapping[str, Platter],
        state: Path,
        names: Names,
        algorithm: Name = "mean",
        evaluators: frozenset[str] = frozenset(),
    ) -> None:
        self._oracle = oracle
        self._broker = broker
        self._coordinator = coordinator
        self._workers = workers
        self._state = state
        self._refused = names.refused_queue.name
        self._own_queues = {name: names.worker_queue(name) for name in workers}
        self._algorithm: Name = algorithm
        self._evaluators = evaluators
        self._rows: dict[str, Row] = {}
        self._last_arrival = 0
        self._counted: set[tuple[str, str, int, str]] = set()
        self._counted_tasks: set[tuple[str, str]] = set()
        self._finished: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._rotten: dict[str, int] = {}  # and the number of the mark that stood for it then
        self._given_up: set[str] = set()
        self._lost: set[str] = set()  # by a restore
        self._judged: set[str] = set()  # in the lost time; a worker may be told so afterwards
        self._lost_offers: set[str] = set()  # tasks that may have been answered in the lost time
        self._last_mark = dict.fromkeys(workers, 0)
        self._last_version = 0

    @property
    def rows(self) -> Iterable[Row]:
        """The ledger, as it was seen."""
        return self._rows.values()

    @property
    def finished(self) -> int:
        """How many updates were finished, and neither given up nor lost by a restore."""
        return len(self._finished) - len(self._given_up) - len(self._lost)

    @property
    def given_up(self) -> int:
        """How many updates were given up for good, since the disk had changed them."""
        return len(self._given_up)

    @property
    def open_updates(self) -> Mapping[str, str]:
        """Finished updates without a verdict, and whose they are."""
        return self._open

    @property
    def newest_version(self) -> int:
        """Of the model, as far as the coordinator's disk has it."""
        return self._last_version

    @property
    def lost(self) -> int:
        """How many updates had a verdict that a restore lost, and were not sent again."""
        return len(self._lost)

    def has_verdict(self, update_id: str) -> bool:
        """Whether the ledger has a row of an update."""
        return update_id in self._rows

    def payload_changed(self, update_id: str) -> None:
        """The disk changed the payload of an open update: from here on it may be given up."""
        self._rotten[update_id] = self._last_mark[self._open[update_id]]

    def see_restored(self) -> None:
        """The coordinator's disk was restored: what that lost is excepted from here on."""
        before, self._rows = self._rows, {}
        self._last_arrival = self._last_version = 0
        self._counted, self._counted_tasks = set(), set()
        self._see_verdicts()
        self._lost_offers = self._offers("offered_at")
        self._judged |= before.keys() - self._rows.keys()
        for update_id in sorted(before.keys() - self._rows.keys()):
            name = self._finished[update_id]
            if self.in_outbox(update_id, name):
                self._open[update_id] = name
            else:  # a copy of it may come all the same, and get another verdict
                self._lost.add(update_id)

    def check_safety(self) -> None:
        """Look at what is new.

        Raises:
            Broken: If a law does not hold.
        """
        self._see_verdicts()
        self._see_finished()
        self._check_no_update_is_lost()
        self._check_no_task_is_lost()
        self._check_own_queues()
        self._check_versions()

    def check_history(self) -> None:
        """Look at all verdicts again: none may have changed, none may be gone.

        Raises:
            Broken: If one has.
        """
        now = {row.update_id: row for row in self._ledger(0)}
        if now != self._rows:
            changed = [i for i in self._rows if now.get(i) != self._rows[i]]
            raise Broken(f"verdicts changed: {[(self._rows[i], now.get(i)) for i in changed]}")
        self._check_evaluations()

    def _check_evaluations(self) -> None:
        database = self._coordinator.database(self._state / "coordinator.db")
        if database is None or not has_table(database, "evaluations"):
            return
        query = "SELECT version, answers, scores FROM evaluations WHERE closed_at IS NOT NULL"
        for version, answers, scores in database.execute(query):
            counted = [
                row
                for row in self._rows.values()
                if row.kind == "evaluate" and row.verdict == "counted"
                if row.base_version == version
            ]
            found = json.loads(scores).get("loss", {}).get("mean")
            if answers != len(counted) or (answers and found != loss_of(version)):
                raise Broken(f"version {version}: {answers} answers of {found}, came {counted}")

    def _ledger(self, after: int) -> list[Row]:
        database = self._coordinator.database(self._state / "coordinator.db")
        return [] if database is None else rows_of(database, after)

    def _see_verdicts(self) -> None:
        for row in self._ledger(self._last_arrival):
            if row.update_id in self._rows:
                raise Broken(f"update {row.update_id} has two verdicts")
            self._rows[row.update_id] = row
            self._last_arrival = row.arrival
            self._open.pop(row.update_id, None)
            for gone in (self._given_up, self._lost):
                gone.discard(row.update_id)  # a copy of it was in the broker
            if row.verdict == "counted":
                self._see_counted(row)

    def _see_counted(self, row: Row) -> None:
        once = (row.run_id, row.kind, row.base_version, row.worker_id)
        if once in self._counted or (row.task_id, row.worker_id) in self._counted_tasks:
            raise Broken(f"counted twice: {row}")
        self._counted.add(once)
        self._counted_tasks.add((row.task_id, row.worker_id))
        if (row.kind == "evaluate") != (row.worker_id in self._evaluators):
            raise Broken(f"who evaluates does not train, and who trains does not evaluate: {row}")
        if row.kind == "train":
            self._see_trained(row)
        asked = self._tasks("worker_id, base_version", f"direct AND task_id = '{row.task_id}'")
        if asked and asked != [(row.worker_id, row.base_version)]:
            raise Broken(f"counted as {row}, asked of {asked}")

    def _see_trained(self, row: Row) -> None:
        training = self._oracle.training_of(row.payload_digest)
        if training is None:
            raise Broken(f"counted, and no training made it: {row}")
        facts = (training.worker_id, training.task_id, training.base_version)
        if facts != (row.worker_id, row.task_id, row.base_version):
            raise Broken(f"counted as {row}, trained as {training}")

    def _see_finished(self) -> None:
        for name, platter in self._workers.items():
            database = platter.database(self._state / "worker.sqlite")
            if database is None or not has_table(database, "marks"):
                continue
            query = "SELECT number, update_id FROM marks WHERE number > ? ORDER BY number"
            for number, update_id in database.execute(query, (self._last_mark[name],)).fetchall():
                self._last_mark[name] = number
                self._finished[update_id] = name
                if number > self._rotten.get(update_id, number):  # it was trained again
                    del self._rotten[update_id]
                self._given_up.discard(update_id)
                self._lost.discard(update_id)
                if update_id not in self._rows:
                    self._open[update_id] = name

    def _check_no_update_is_lost(self) -> None:
        for update_id, name in list(self._open.items()):
            on_its_way = self._broker.holds(update_id, besides=self._refused)  # nobody takes those
            if on_its_way or self.in_outbox(update_id, name):
                continue
            if update_id in self._judged:
                del self._open[update_id]
                self._lost.add(update_id)
                continue
            if update_id not in self._rotten or self._is_marked(update_id, name):
                raise Broken(f"update {update_id} of {name} is lost")
            del self._open[update_id]
            self._given_up.add(update_id)

    def _offers(self, which: str) -> set[str]:
        """The tasks of the pool that nobody has taken, as far as the coordinator knows."""
        found = self._tasks("task_id", f"state = 'offered' AND NOT direct AND {which}")
        return {task_id for (task_id,) in found}

    def _tasks(self, columns: str, which: str) -> list[tuple[Any, ...]]:
        database = self._coordinator.database(self._state / "coordinator.db")
        if database is None or not has_table(database, "tasks"):
            return []
        return database.execute(f"SELECT {columns} FROM tasks WHERE {which}").fetchall()

    def _check_no_task_is_lost(self) -> None:
        for task_id in self._offers("published") - self._lost_offers:
            if not self._broker.holds(task_id) and not self._with_a_worker(task_id):
                raise Broken(f"task {task_id} is lost")

    def _check_own_queues(self) -> None:
        open_now = self._tasks("worker_id", "direct AND state IN ('offered', 'taken')")
        if len(set(open_now)) < len(open_now):
            raise Broken(f"a worker has two tasks at a time: {sorted(open_now)}")
        for name, queue in self._own_queues.items():
            if self._broker.ready(queue) > queue.max_length:
                raise Broken(f"{self._broker.ready(queue)} tasks wait in the queue of {name}")

    def _with_a_worker(self, task_id: str) -> bool:
        """Whether a task is in an inbox, or was done; of its update there is a law of its own."""
        for platter in self._workers.values():
            database = platter.database(self._state / "worker.sqlite")
            if database is not None and has_table(database, "inbox"):
                query = (
                    "SELECT task_id FROM inbox WHERE task_id = ?1 "
                    "UNION ALL SELECT task_id FROM marks WHERE task_id = ?1"
                )
                if database.execute(query, (task_id,)).fetchone():
                    return True
        return False

    def in_outbox(self, update_id: str, name: str) -> bool:
        """Whether an update is in a worker's outbox."""
        return self._is_in("outbox", update_id, name)

    def _is_marked(self, update_id: str, name: str) -> bool:
        return self._is_in("marks", update_id, name)

    def _is_in(self, table: str, update_id: str, name: str) -> bool:
        database = self._workers[name].database(self._state / "worker.sqlite")
        if database is None:
            return False
        query = f"SELECT 1 FROM {table} WHERE update_id = ?"
        return database.execute(query, (update_id,)).fetchone() is not None

    def _check_versions(self) -> None:
        database = self._coordinator.database(self._state / "coordinator.db")
        if database is None or not has_table(database, "versions"):
            return
        query = (
            "SELECT version, file, rolled_back_to FROM versions WHERE version >= ? ORDER BY version"
        )
        found = database.execute(query, (self._last_version,)).fetchall()
        for (_, before, _), (version, after, again) in pairwise(found):
            if again >= 0:
                self._check_made_again(version, after, again)
            else:
                self._check_version(version, before, after)
            self._last_version = version

    def _check_made_again(self, version: int, file: str, again: int) -> None:
        database = self._coordinator.database(self._state / "coordinator.db")
        assert database is not None
        query = "SELECT file FROM versions WHERE version = ?"
        ((earlier,),) = database.execute(query, (again,)).fetchall()
        if not np.array_equal(self._model(file), self._model(earlier)):
            raise Broken(f"version {version} is to be version {again} again, and is not")

    def _check_version(self, version: int, before: str, after: str) -> None:
        counted = [
            self._as_unit(row)
            for row in self._rows.values()
            if row.verdict == "counted" and row.kind == "train" and row.round_version < version
        ]
        change = self._model(after) - self._model(before)
        expected = change_of(self._algorithm, counted, version - 1, len(change))
        if not np.allclose(change, expected, rtol=0, atol=1e-6):
            wrong = np.flatnonzero(~np.isclose(change, expected, rtol=0, atol=1e-6))
            raise Broken(
                f"version {version}: slots {wrong[:8]} changed by {change[wrong[:8]]}, expected "
                f"{expected[wrong[:8]]}"
            )

    def _as_unit(self, row: Row) -> UnitUpdate:
        training = self._oracle.training_of(row.payload_digest)
        assert training is not None
        return UnitUpdate(
            row.round_version, row.base_version, row.worker_id, training.slot, row.weight
        )

    def _model(self, file: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        data = bytes(self._coordinator.file(self._state / "models" / file).data)
        model: np.ndarray[tuple[int], np.dtype[np.float32]] = from_safetensors(data)[NAME]
        return model
