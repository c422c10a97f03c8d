"""The ledger as a list: every update that came, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from coordinator.accounts import Accounts, Wanted, each_stray, each_update
from coordinator.records import LedgerRow, StrayRow
from coordinator.store import Store


class Listing:
    """A list of updates and strays; a row at a time, whatever their number.

    Args:
        state_dir: The coordinator's folder.
        run: Only of this run: its id or how it begins. "": of all, but of the newest if a round
            is asked for.
        round_version: Only what met the round of this version.
        worker_id: Only of this worker; a stray that says it is of it, too.
        verdict: Only with this verdict.

    Raises:
        StoreError: If the coordinator has never run there.
        RunError: If there is no such run.
    """

    def __init__(
        self,
        state_dir: Path,
        run: str = "",
        round_version: int | None = None,
        worker_id: str | None = None,
        verdict: str | None = None,
    ) -> None:
        self._store = Store.open_to_read(state_dir / "coordinator.db")
        try:
            self._wanted = self._want(run, round_version, worker_id, verdict)
        except BaseException:
            self.close()
            raise

    def _want(
        self, run: str, round_version: int | None, worker_id: str | None, verdict: str | None
    ) -> Wanted:
        if not run and round_version is None:
            return Wanted(worker_id=worker_id, verdict=verdict)
        with self._store.reading() as work:
            accounts = Accounts(work)
            row = accounts.run(run)
            after = accounts.run_after(row) if round_version is not None else None
        # What comes for a run when the next has begun meets a round of that one.
        until = None if after is None else after.started_at
        return Wanted(row.run_id, round_version, worker_id, verdict, until=until)

    def __iter__(self) -> Iterator[LedgerRow | StrayRow]:
        """Updates in the order of their arrival, then strays, which have neither run nor round."""
        strays = each_stray(self._store, self._wanted) if self._wanted.strays_too else iter(())
        return chain(each_update(self._store, self._wanted), strays)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


def facts_of(row: LedgerRow | StrayRow) -> dict[str, Any]:
    """A row as JSON has it.

    Of a stray nothing is sure but its digest; one that was accepted later has no verdict but that
    of its update, and `refused_as` is what it was first.
    """
    if isinstance(row, StrayRow):
        return _facts_of_stray(row)
    return {
        "id": row.update_id,
        "stray": False,
        "worker": row.worker_id,
        "task": row.task_id,
        "run": row.run_id,
        "kind": row.kind,
        "base_version": row.base_version,
        "verdict": row.verdict,
        "round": row.round_version,
        "weight": row.weight,
        "staleness": row.staleness,
        "copies": row.copies,
        "reason": row.reason,
        "num_examples": row.num_examples,
        "received_at": row.received_at,
    }


def _facts_of_stray(row: StrayRow) -> dict[str, Any]:
    accepted = row.accepted_at is not None
    return {
        "id": None,
        "stray": True,
        "digest": row.digest,
        "claims": dict(row.claims),
        "worker": None,
        "task": None,
        "run": None,
        "kind": None,
        "base_version": None,
        "verdict": None if accepted else row.verdict,
        "refused_as": row.verdict,
        "accepted_at": row.accepted_at,
        "round": None,
        "weight": 0.0,
        "staleness": None,
        "copies": row.copies,
        "reason": row.reason,
        "num_examples": None,
        "num_bytes": row.num_bytes,
        "received_at": row.received_at,
    }
