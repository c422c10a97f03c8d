"""The data plane of a run: the sum of the open round, and the model versions made of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from coordinator.aggregation.aggregation import Aggregation
from coordinator.aggregation.algorithm import Algorithm
from coordinator.aggregation.counted import Counted, UpdatesInMemory
from coordinator.errors import StoreError
from coordinator.models import ModelFolder, first_kept
from coordinator.policy import RoundPolicy
from coordinator.records import LedgerRow, VersionRow
from coordinator.spool import Spool
from coordinator.store import Store
from schemas.buffer import Buffer
from schemas.digest import digest_of
from schemas.errors import DecodeError
from schemas.layout import Layout
from schemas.messages import decode
from settings.kept import ALL

ALGORITHM = Algorithm()


class Versions:
    """The versions of one run.

    Rules: the sum is a cache of the ledger and the spool, and is made again from them in the
    ledger's order; a version's file is on disk before its row is written.
    """

    def __init__(
        self, run_id: str, layout: Layout, store: Store, spool: Spool, models: ModelFolder
    ) -> None:
        self.layout = layout
        self._run_id = run_id
        self._store = store
        self._spool = spool
        self._models = models
        self._model: bytes | bytearray = b""
        self._model_version = -1
        self._sum = ALGORITHM.begin(layout)
        with store.reading() as work:
            rows = work.versions(run_id)
        self._digests = {row.version: row.digest for row in rows}
        known = [row for row in rows if row.metrics]
        self.evaluated = known[-1].version if known else -1
        self.metrics: Mapping[str, float] = known[-1].metrics if known else {}

    def row(self, version: int) -> VersionRow | None:
        """A version, None if it was never made."""
        with self._store.reading() as work:
            return work.version(self._run_id, version)

    def digest_of(self, version: int) -> str | None:
        """The digest of a version's parameters, None if it was never made."""
        return self._digests.get(version)

    def model(self, row: VersionRow) -> bytes | bytearray:
        """A version's flat buffer; the newest is kept in memory."""
        if self._model_version != row.version:
            self._model = self._models.read(row.file, self.layout, row.digest)
            self._model_version = row.version
        return self._model

    def add(self, payload: Buffer, weight: float) -> None:
        """Add a counted update to the sum of the open round."""
        self._sum.add(Counted(payload, "", 0, weight, weight))

    def add_again(self, counted: Iterable[LedgerRow]) -> None:
        """Make the sum of the open round from the spool."""
        self._sum = sum_of(counted, self.layout, self._spool)

    def make(self, base: VersionRow, why: str, policy: RoundPolicy, now: float) -> VersionRow:
        """The version after `base`, from the sum; its file is on disk, its row not yet."""
        version, model = base.version + 1, result_of(self._sum, self.model(base), self.layout)
        row = VersionRow(
            run_id=self._run_id,
            version=version,
            digest=digest_of(model),
            num_bytes=len(model),
            file=self._models.write(self._run_id, version, model, self.layout),
            stream_offset=None,
            counted=self._sum.count,
            weight=self._sum.total_weight,
            why=why,
            policy=policy.as_json(),
            made_at=now,
            metrics={},
        )
        self._model, self._model_version = model, version
        return row

    def begin_round(self, row: VersionRow) -> None:
        """Note that collecting for a version began: its sum is empty."""
        self._digests[row.version] = row.digest
        self._sum = ALGORITHM.begin(self.layout)

    def note_metrics(self, version: int, metrics: Mapping[str, float]) -> None:
        """Write what an evaluation found."""
        with self._store.transaction() as work:
            work.update_version(self._run_id, version, metrics=dict(metrics))
        if version >= self.evaluated:
            self.evaluated, self.metrics = version, metrics

    def prune(self, version: int, keep_versions: int, spool_keep_rounds: int) -> None:
        """Delete the model files and the spool segments that no setting keeps any more."""
        if keep_versions < ALL:
            self._models.forget_before(self._run_id, first_kept(version, keep_versions))
        if spool_keep_rounds < ALL:
            self._spool.forget(self._first_kept_segment(version, spool_keep_rounds))

    def _first_kept_segment(self, version: int, rounds: int) -> int:
        """The first spool segment that the last `rounds` closed rounds, or the open one, need.

        A young run has not closed so many itself: the others are the last of the runs before it.
        """
        with self._store.reading() as work:
            needed = [work.oldest_segment(self._run_id, version - rounds)]
            rounds -= version
            earlier = [row for row in work.runs() if row.run_id != self._run_id]
            while rounds > 0 and earlier:
                run = earlier.pop()
                needed.append(work.oldest_segment(run.run_id, run.version - rounds))
                rounds -= max(run.version, 0)
        return min((segment for segment in needed if segment is not None), default=sys.maxsize)


def sum_of(counted: Iterable[LedgerRow], layout: Layout, spool: Spool) -> Aggregation:
    """The sum of a round, made again from the spool, one update in memory at a time.

    Args:
        counted: The round's counted updates, in the order of their arrival.
        layout: The run's.
        spool: Where their bytes are.

    Raises:
        NotKept: If a segment of the spool is gone.
        StoreError: If the spool does not hold what was received.
    """
    aggregation = ALGORITHM.begin(layout)
    for row in counted:
        payload = _read_again(row, spool)
        aggregation.add(Counted(payload, row.worker_id, row.base_version, row.weight, row.weight))
    return aggregation


def result_of(aggregation: Aggregation, base: Buffer, layout: Layout) -> bytearray:
    """The next version from the one that a round is for."""
    return aggregation.result(base, UpdatesInMemory([], layout)).model


def _read_again(row: LedgerRow, spool: Spool) -> Buffer:
    try:
        _, payload = decode(spool.read(row.where))
    except DecodeError as error:
        raise StoreError(f"the spool is damaged: update {row.update_id}: {error}") from error
    if digest_of(payload) != row.payload_digest:
        raise StoreError(f"the spool is damaged: update {row.update_id} has another digest")
    return payload
