"""What a federation has on disk, read with sqlite3 and safetensors alone.

Not with the code under test; and also while it runs, since the databases are opened to read only.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.chaos.oracle import Mark, Training, Verdict


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands.

    Attributes:
        version: The newest version, -1 before the first.
        state: "collecting", "draining" …; "" if there is none yet.
        lapsed: Leases that ended before an answer came.
    """

    version: int = -1
    state: str = ""
    updates: int = 0
    copies: int = 0
    lapsed: int = 0


def read_standing(state: Path) -> Standing:
    """How the run stands, by the coordinator's store."""
    if not (state / "coordinator.db").exists():
        return Standing()
    try:
        with closing(_open(state / "coordinator.db")) as store:
            run = store.execute("SELECT version, state FROM runs").fetchone()
            if run is None:
                return Standing()
            counts = store.execute("SELECT count(*), coalesce(sum(copies), 0) FROM ledger")
            # A task that has another in its place was given up: its lease ended, or it declined.
            lapsed = store.execute("SELECT count(*) FROM tasks WHERE replaces != ''")
            return Standing(*run, *counts.fetchone(), *lapsed.fetchone())
    except sqlite3.OperationalError:  # its tables are being made
        return Standing()


def read_trainings(file: Path) -> list[Training]:
    """What the learners wrote down."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [Training(**json.loads(line)) for line in lines]


def read_ledger(state: Path) -> tuple[list[Verdict], int]:
    """The coordinator's ledger in the order of arrival, and the number of strays."""
    with closing(_open(state / "coordinator.db")) as store:
        rows = store.execute(
            "SELECT update_id, task_id, worker_id, base_version, verdict, round_version, weight, "
            "copies FROM ledger ORDER BY arrival"
        ).fetchall()
        (strays,) = store.execute("SELECT count(*) FROM strays").fetchone()
    return [Verdict(*row) for row in rows], strays


def read_models(state: Path) -> list[NDArray[np.float32]]:
    """The slots of every version."""
    files = sorted((state / "models").glob("*/*.safetensors"))
    return [load_file(file)["slots"] for file in files]


@dataclass(frozen=True, slots=True)
class Device:
    """What a worker has on disk.

    Attributes:
        held: Tasks in the inbox.
        waiting: Updates in the outbox.
    """

    marks: tuple[Mark, ...] = ()
    held: int = 0
    waiting: int = 0


def read_device(folder: Path) -> Device:
    """A worker's store."""
    if not (folder / "worker.sqlite").exists():
        return Device()
    try:
        with closing(_open(folder / "worker.sqlite")) as store:
            store.execute("BEGIN")  # of one moment
            marks = store.execute(
                "SELECT update_id, task_id, base_version, verdict FROM marks"
            ).fetchall()
            (held,) = store.execute("SELECT count(*) FROM inbox").fetchone()
            (waiting,) = store.execute("SELECT count(*) FROM outbox").fetchone()
    except sqlite3.OperationalError:  # its tables are being made
        return Device()
    return Device(tuple(Mark(folder.name, *row) for row in marks), held, waiting)


def _open(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)
