"""What is looked at of the coordinator's ledger."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

_LEDGER = (
    "SELECT arrival, update_id, run_id, kind, base_version, worker_id, task_id, verdict, reason, "
    "round_version, staleness, weight, payload_digest, num_examples FROM ledger "
)


@dataclass(frozen=True, slots=True)
class Row:
    """What of a ledger's row must never change."""

    arrival: int
    update_id: str
    run_id: str
    kind: str
    base_version: int
    worker_id: str
    task_id: str
    verdict: str
    reason: str
    round_version: int
    staleness: int
    weight: float
    payload_digest: str
    num_examples: int


def rows_of(database: sqlite3.Connection, after: int) -> list[Row]:
    """The rows that came after an arrival number, in their order."""
    if not has_table(database, "ledger"):
        return []
    query = _LEDGER + "WHERE arrival > ? ORDER BY arrival"
    return [Row(*values) for values in database.execute(query, (after,))]


def has_table(database: sqlite3.Connection, name: str) -> bool:
    """Whether its process has come so far as to make a table."""
    query = "SELECT 1 FROM sqlite_master WHERE name = ?"
    return bool(database.execute(query, (name,)).fetchall())
