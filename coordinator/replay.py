"""Making model versions again from ledger and spool, to prove that they are what they should be.

    version v-1, its stored file ─┐
    what it handed on            ─┤
    ledger: who counted, weights ─┼─▶ sum ─▶ version v again ─▶ the digests that the store has of v?
    spool: the updates' bytes    ─┘

Rules: the sum is made by the code that makes it again after a crash (`coordinator.spooled`), by the
policy that the version's row names; what the version hands on must be the same as well; the
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
from coordinator.aggregation.aggregation import Made
from coordinator.aggregation.aggregator import ServerState
from coordinator.aggregation.beginning import begin
from coordinator.aggregation.cache import Cache
from coordinator.aggregation.optimizers import as_of
from coordinator.errors import NotKept, RunError, StoreError
from coordinator.handover import cached_updates
from coordinator.intake import KIND
from coordinator.models import ModelFolder, first_kept, to_safetensors_of
from coordinator.policy import RoundPolicy
from coordinator.records import CachedRow, LedgerRow, RunRow, VersionRow
from coordinator.shelf import ShelfToLookAt
from coordinator.spool import Spool
from coordinator.spooled import SpooledUpdates, counted_again, payload_of
from coordinator.store import Store
from disk import chunks_of
from schemas.digest import digest_of, digest_of_stream
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
            # The folders are there since the coordinator's first start: nothing is made here.
            self._spool = Spool(state_dir / "spool")
            self._models = ModelFolder(state_dir / "models")
            self._cached_folder = state_dir / "cached"
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
        made: tuple[int, Made] | None = None
        for row in rows:
            before = made[1] if made is not None and made[0] == row.version - 1 else None
            replayed, again = self._again(row, before, watch)
            made = None if again is None else (row.version, again)
            yield replayed

    def _again(
        self, row: VersionRow, before: Made | None, watch: Callable[[int], None]
    ) -> tuple[Replayed, Made | None]:
        """What a version is found to be, and what it is if that is sure to have its digests."""
        file, model = self._file(row)
        if row.version == 0:
            outcome: Outcome = "initial" if file in ("whole", "damaged") else "not recomputed"
            return self._found(row, outcome, file), None if model is None else Made({}, (), model)
        del model  # one model less in memory while the sum is made
        base = self._rows.get(row.version - 1)
        try:
            if base is None:
                raise NotKept(f"the store has no version {row.version - 1}")
            start = before if before is not None else self._handed_on(base)
            if row.rolled_back_to >= 0:
                count, weight, again = 0, 0.0, self._made_again(row, base, start)
            else:
                count, weight, again = self._aggregate(row, base, start, watch)
        except NotKept as error:
            return self._found(row, "not recomputed", file, str(error)), None
        except StoreError as error:
            return self._found(row, "damaged", file, str(error)), None
        came = digest_of_stream(chunks_of(again.model))
        if (count, weight) != (row.counted, row.weight):
            detail = (
                f"the ledger counts {count} updates of weight {weight:g} in it, the store made it "
                f"of {row.counted} of weight {row.weight:g}"
            )
        elif came == row.digest and row.state_digest != _digest_of_state(again):
            detail = "what it hands to the next version differs"
        else:
            detail = ""
        if came == row.digest and not detail:
            if row.rolled_back_to >= 0:
                detail = f"it has the parameters of version {row.rolled_back_to} again"
            return self._found(row, "the same", file, detail, came), again
        return self._found(row, "differs", file, detail, came), None

    def _handed_on(self, row: VersionRow) -> Made:
        """A version's model, and what it handed on."""
        model = self._models.read(row.file, self._layout, row.digest)
        state: ServerState = {}
        if row.state_file:
            state = self._models.read_state(row.state_file, row.state_digest)
        return Made(state, (), model)

    def _made_again(self, row: VersionRow, base: VersionRow, start: Made) -> Made:
        """The version that has an earlier one's parameters.

        Raises:
            NotKept: If the earlier one is gone.
            StoreError: If it is damaged.
        """
        like = self._rows[row.rolled_back_to]
        if like.version == base.version:
            return start
        then = self._handed_on(like)
        return Made(as_of(start.state, then.state), (), then.model)

    def _aggregate(
        self, row: VersionRow, base: VersionRow, start: Made, watch: Callable[[int], None]
    ) -> tuple[int, float, Made]:
        """The round that a version was made of: how many updates, their weight, what they make.

        Raises:
            NotKept: If something that it needs is gone.
            StoreError: If something is damaged.
        """
        cache, cached = self._cache_of(base)
        algorithm = RoundPolicy.from_json(row.policy).algorithm
        aggregation = begin(algorithm, self._layout, start.state, cache)
        payloads = []
        for update, where in counted_again(self._counted(base.version, watch), self._spool):
            aggregation.add(update)
            payloads.append(payload_of(update, where))
        updates = SpooledUpdates(self._spool, payloads, self._layout)
        made = aggregation.result(start.model, updates)
        # Only now: a coordinator that goes on may have written over what was read.
        if self._cached(base) != cached:
            raise NotKept(f"the updates that were cached in the round of {base.version} are gone")
        return aggregation.count, aggregation.total_weight, made

    def _cache_of(self, base: VersionRow) -> tuple[Cache, list[CachedRow]]:
        """What was cached in the round of a version."""
        cached = self._cached(base)
        if len(cached) != base.cached:
            raise NotKept(f"the updates that were cached in the round of {base.version} are gone")
        shelf = ShelfToLookAt(self._cached_folder, self.run.run_id, self._layout.num_floats)
        return Cache(shelf, cached_updates(cached)), cached

    def _cached(self, base: VersionRow) -> list[CachedRow]:
        if not base.cached:
            return []
        with self._store.reading() as work:
            return work.cached_as_of(self.run.run_id, base.version)

    def _file(self, row: VersionRow) -> tuple[FileState, memoryview | None]:
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

    def _counted(self, version: int, watch: Callable[[int], None]) -> Iterator[LedgerRow]:
        """The updates of a version's round, in the order of their arrival."""
        run_id = self.run.run_id
        wanted = Wanted(run_id=run_id, round_version=version, verdict="counted", kind=KIND)
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


def _digest_of_state(made: Made) -> str:
    return digest_of(to_safetensors_of(made.state)) if made.state else ""
