"""Making model versions again from ledger and spool, to prove that they are what they should be.

    version v-1, its stored file ─┐
    ledger: who counted, weights ─┼─▶ sum ─▶ version v again ─▶ the digest that the store has of v?
    spool: the updates' bytes    ─┘

Rules: the sum is made by the code that makes it again after a crash (`coordinator.versions`); the
state folder is only read; memory is that of one sum and two models, however many updates a round
has. A predecessor whose file is not kept may stand in as it was just made again, if that had its
digest: then its bytes are the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coordinator.accounts import Accounts, Wanted, each_update
from coordinator.errors import NotKept, RunError, StoreError
from coordinator.models import ModelFolder, first_kept
from coordinator.records import LedgerRow, RunRow, VersionRow
from coordinator.spool import Spool
from coordinator.store import Store
from coordinator.versions import result_of, sum_of
from schemas.buffer import Buffer
from schemas.digest import digest_of
from schemas.layout import Layout

Outcome = Literal["the same", "initial", "differs", "damaged", "not recomputed"]
FileState = Literal["whole", "damaged", "missing", "not kept"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a version is found to be.

    Attributes:
        outcome: "the same" bytes were made again; it "differs"; what it is made of is "damaged" or
            not kept, so that it is "not recomputed". Version 0 is "initial": it is made of nothing.
        file: Whether its own file has its digest; "missing" is one that should be kept still.
        digest: What the store says of it.
        came: The digest of what was made again, "" if nothing was.
        updates: How many updates the ledger counts in it.
        detail: What is wrong or missing, in words; "" if nothing is.
    """

    version: int
    outcome: Outcome
    file: FileState
    digest: str
    came: str
    updates: int
    detail: str

    @property
    def proved(self) -> bool:
        """It was made again and is the same."""
        return self.outcome == "the same"

    @property
    def wrong(self) -> bool:
        """It is not what it should be, or something of it is damaged."""
        return self.outcome in ("differs", "damaged") or self.file == "damaged"


def ignore(updates: int) -> None:
    """A watcher that does not look."""


class Replay:
    """Making versions of one run again.

    Args:
        state_dir: The coordinator's folder.
        run: Its id or how it begins; the newest if "".
        keep_versions: Of how many of its last versions the files should be there.

    Raises:
        StoreError: If the coordinator has never run there.
        RunError: If there is no such run.
    """

    def __init__(self, state_dir: Path, run: str = "", keep_versions: int = 1) -> None:
        self._keep_versions = keep_versions
        with contextlib.ExitStack() as opened:
            self._store = Store.open_to_read(state_dir / "coordinator.db")
            opened.callback(self._store.close)
            with self._store.reading() as work:
                self.run: RunRow = Accounts(work).run(run)
                self._rows = {row.version: row for row in work.versions(self.run.run_id)}
            self._layout = Layout.from_rows(self.run.layout)
            # Both folders are there since the coordinator's first start: nothing is made here.
            self._spool = Spool(state_dir / "spool")
            self._models = ModelFolder(state_dir / "models")
            opened.pop_all()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def select(self, first: int | None, last: int | None) -> list[VersionRow]:
        """The versions from `first` to `last`, both included; None: from the start, to the end.

        Raises:
            RunError: If the run has none of them.
        """
        newest = max(self._rows, default=-1)
        low, high = first or 0, newest if last is None else last
        rows = [row for version, row in self._rows.items() if low <= version <= high]
        if not rows:
            raise RunError(
                f"expected versions from 0 to {newest}, which run {self.run.run_id[:8]} has made, "
                f"came {low} to {high}"
            )
        return rows

    def replay(
        self, rows: Iterable[VersionRow], watch: Callable[[int], None] = ignore
    ) -> Iterator[Replayed]:
        """Make versions again, one after another.

        Args:
            rows: Which, in their order.
            watch: Told how many more updates have been added.
        """
        made: tuple[int, Buffer] | None = None
        for row in rows:
            before = made[1] if made is not None and made[0] == row.version - 1 else None
            replayed, model = self._again(row, before, watch)
            made = None if model is None else (row.version, model)
            yield replayed

    def _again(
        self, row: VersionRow, before: Buffer | None, watch: Callable[[int], None]
    ) -> tuple[Replayed, Buffer | None]:
        """What a version is found to be, and its bytes if they are sure to have its digest."""
        file, model = self._file(row)
        if row.version == 0:
            outcome: Outcome = "initial" if file in ("whole", "damaged") else "not recomputed"
            return self._found(row, outcome, file), model if file == "whole" else None
        del model  # one model less in memory while the sum is made
        base = self._rows.get(row.version - 1)
        try:
            if base is None:
                raise NotKept(f"the store has no version {row.version - 1}")
            start = before if before is not None else self._base(base)
            counted = self._counted(base.version, watch)
            mean = sum_of(counted, self._layout, self._spool)
        except NotKept as error:
            return self._found(row, "not recomputed", file, str(error)), None
        except StoreError as error:
            return self._found(row, "damaged", file, str(error)), None
        count, weight = mean.count, mean.total_weight
        again = result_of(mean, start, self._layout)
        came = digest_of(again)
        if came == row.digest:
            return self._found(row, "the same", file, came=came), again
        detail = ""
        if (count, weight) != (row.counted, row.weight):
            detail = (
                f"the ledger counts {count} updates of weight {weight:g} in it, the store made it "
                f"of {row.counted} of weight {row.weight:g}"
            )
        return self._found(row, "differs", file, detail, came), None

    def _file(self, row: VersionRow) -> tuple[FileState, Buffer | None]:
        """Whether a version's file has its digest, and what is in it."""
        try:
            return "whole", self._models.read(row.file, self._layout, row.digest)
        except NotKept:
            # Only now: a coordinator that goes on may just have deleted it.
            kept = row.version >= first_kept(self._newest(), self._keep_versions)
            return "missing" if kept else "not kept", None
        except StoreError:
            return "damaged", None

    def _newest(self) -> int:
        with self._store.reading() as work:
            return Accounts(work).run(self.run.run_id).version

    def _base(self, row: VersionRow) -> Buffer:
        return self._models.read(row.file, self._layout, row.digest)

    def _counted(self, version: int, watch: Callable[[int], None]) -> Iterator[LedgerRow]:
        """The updates of a version's round, in the order of their arrival."""
        wanted = Wanted(run_id=self.run.run_id, round_version=version, verdict="counted")
        for row in each_update(self._store, wanted):
            yield row
            watch(1)

    @staticmethod
    def _found(
        row: VersionRow, outcome: Outcome, file: FileState, detail: str = "", came: str = ""
    ) -> Replayed:
        of_file = {
            "damaged": [f"{row.file} is damaged: it does not have its digest"],
            "missing": [f"{row.file} is missing: coordinator.keep_versions keeps it"],
        }
        text = "; ".join([*[detail] * bool(detail), *of_file.get(file, [])])
        return Replayed(row.version, outcome, file, row.digest, came, row.counted, text)
