"""The data plane of a run: the sum of the open round, and the model versions made of it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from coordinator.aggregation.aggregation import Aggregation
from coordinator.aggregation.checks import StepNorm
from coordinator.aggregation.counted import Counted
from coordinator.aggregation.groups import Room
from coordinator.algorithm import Algorithm
from coordinator.goingback import Trail
from coordinator.guard import norm_jump
from coordinator.handover import Handover
from coordinator.models import ModelFolder, first_kept
from coordinator.policy import RoundPolicy
from coordinator.records import LedgerRow, Place, VersionRow
from coordinator.spool import Spool
from coordinator.spooled import Payload, SpooledUpdates, counted_again, payload_of
from coordinator.store import Store
from coordinator.work import Work
from disk import chunks_of, letting_go
from schemas.buffer import Buffer
from schemas.codecs.model import ModelOnWire
from schemas.codecs.names import FP32
from schemas.digest import digest_of_stream
from schemas.layout import Layout
from settings.kept import ALL


def streamed(row: VersionRow, model: Buffer, layout: Layout, codec: str) -> VersionRow:
    """A version's row that says what of it goes over the stream."""
    if codec == FP32:
        return row
    on_wire = ModelOnWire(model, layout, codec)
    digest = digest_of_stream(letting_go(on_wire.model, on_wire.chunks()))
    return replace(row, stream_codec=codec, coded_digest=digest, coded_bytes=on_wire.num_bytes)


class Versions:
    """The versions of one run.

    Rules: the sum is a cache of the ledger and the spool, and is made again from them in the
    ledger's order; a version's file, and what it hands to the next, are on disk before its row is
    written.

    Args:
        run_id: The run.
        layout: Of its model.
        store: Where the rows are.
        spool: Where the updates are.
        models: Where the files are.
        handover: What its versions hand on.
    """

    def __init__(
        self,
        run_id: str,
        layout: Layout,
        store: Store,
        spool: Spool,
        models: ModelFolder,
        handover: Handover,
    ) -> None:
        self.layout = layout
        self._run_id = run_id
        self._store = store
        self._spool = spool
        self._models = models
        self._model = memoryview(b"")
        self._model_version = -1
        self._handover = handover
        self._algorithm: Algorithm
        self._sum: Aggregation
        self._room: Room | None = None
        self._payloads: list[Payload] = []
        self._is_alone = False
        with store.reading() as work:
            rows = work.versions(run_id)
        self._digests = {row.version: row.digest for row in rows}
        self._streamed = {row.version: row.stream_digest for row in rows}
        self._trail = Trail.of(rows)
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

    def newest(self, count: int) -> list[str]:
        """The digests of what travels of the newest versions, at most so many.

        Two may have the same.
        """
        return [self._streamed[version] for version in sorted(self._streamed)[-count:]]

    def model(self, row: VersionRow) -> memoryview:
        """A version's flat buffer, in place; the newest is kept open."""
        if self._model_version != row.version:
            self._model = self._models.read(row.file, self.layout, row.digest)
            self._model_version = row.version
        return self._model

    def add(self, update: Counted, where: Place) -> None:
        """Add a counted update, which lies in the spool, to the sum of the open round."""
        self._sum.add(update)
        self._payloads.append(payload_of(update, where))

    def load(self, version: int, algorithm: Algorithm, counted: Iterable[LedgerRow]) -> None:
        """Make the sum of the open round from what the store has, and the spool.

        Args:
            version: The version that the round is for; -1 before the first.
            algorithm: By which it was opened.
            counted: The updates that it counts, in the order of their arrival.

        Raises:
            Damaged: If something of it is not there any more, or not what was written.
        """
        with self._store.reading() as work:
            self._handover.load(work.version(self._run_id, version), work)
        self._begin(algorithm)
        for update, where in counted_again(counted, self._spool):
            self.add(update, where)

    def make(
        self, base: VersionRow, why: str, policy: RoundPolicy, now: float, guard_norm: float = 0.0
    ) -> VersionRow:
        """The version after `base`, from the sum; its files are on disk, its row not yet.

        Args:
            base: The version that the round was for.
            why: Why it closed.
            policy: What it went by at the end: a run that was paused may have taken another.
            now: The coordinator's time.
            guard_norm: By what factor the step may be longer than is usual, 0 for any; of a longer
                one, `base` is made again.
        """
        if policy.algorithm != self._algorithm:
            with self._store.reading() as work:
                counted = work.counted_in_round(self._run_id, base.version)
            self.load(base.version, policy.algorithm, counted)
        before, step = self.model(base), StepNorm() if guard_norm else None
        updates = SpooledUpdates(self._spool, self._payloads, self.layout)
        blocks = letting_go(before, self._sum.blocks(before, updates, step))
        row = self._written(base.version + 1, blocks, why, policy, now)
        norm = None if step is None else step.norm
        jump = "" if norm is None else norm_jump(norm, self._trail.norms, guard_norm)
        if jump:  # what was written gives way: no row names it
            return self.make_again(base, base, why, policy, now, jump, norm)
        row = replace(row, counted=self._sum.count, weight=self._sum.total_weight, norm=norm)
        return self._handover.keep(row, self._sum.handed())

    def make_again(
        self,
        base: VersionRow,
        like: VersionRow,
        why: str,
        policy: RoundPolicy,
        now: float,
        guard: str,
        norm: float | None = None,
    ) -> VersionRow:
        """The version after `base`, with the parameters of an earlier one, and no update in it.

        Args:
            base: The current version.
            like: The earlier one, or `base` itself.
            why: What closed its round.
            policy: What its round went by.
            now: The coordinator's time.
            guard: Why the sum is not taken, in words.
            norm: Of the step that is not taken, if it was made.
        """
        model = self.model(like)
        with self._store.reading() as work:  # the open round has used some of it up
            self._handover.load(work.version(self._run_id, base.version), work)
        handed = self._handover.again(base, like)
        row = self._written(base.version + 1, chunks_of(model), why, policy, now)
        row = replace(row, rolled_back_to=like.version, guard=guard, norm=norm)
        return self._handover.keep(row, handed)

    def _written(
        self, version: int, blocks: Iterable[Buffer], why: str, policy: RoundPolicy, now: float
    ) -> VersionRow:
        """A version's row, with no update in it; its model's file is on disk, and open."""
        file, digest = self._models.write(self._run_id, version, blocks, self.layout)
        self._model, self._model_version = self._models.view(file, self.layout), version
        return VersionRow(
            run_id=self._run_id,
            version=version,
            digest=digest,
            num_bytes=self.layout.num_bytes,
            file=file,
            stream_offset=None,
            counted=0,
            weight=0.0,
            why=why,
            policy=policy.as_json(),
            made_at=now,
            metrics={},
        )

    def write(
        self, work: Work, row: VersionRow, keep_versions: int, spool_keep_rounds: int
    ) -> None:
        """Write the row of a version that was just made, and what it hands on.

        Args:
            work: The transaction.
            row: The row.
            keep_versions: Of how many of the last versions the files are kept.
            spool_keep_rounds: Of how many of the last closed rounds the updates are kept.
        """
        work.insert_version(row)
        # A round can be made again as long as its updates and its base are there.
        rounds = min(spool_keep_rounds, keep_versions - 1)
        self._handover.write(work, row.version, row.version - rounds)

    def begin_round(self, row: VersionRow, algorithm: Algorithm) -> None:
        """Note that collecting for a version began: its sum is empty."""
        if row.version not in self._digests:
            self._trail.add(row)
        self._digests[row.version] = row.digest
        self._streamed[row.version] = row.stream_digest
        self._handover.hand_on()
        self._begin(algorithm)

    def _begin(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._sum = self._handover.begin(algorithm, self._room)
        self._room = self._sum.room
        self._payloads = []

    def left_behind(self, version: int) -> str:
        """Why no update that was trained on a version counts any more, "" if it may."""
        return self._trail.left_behind(version)

    def noted(self, version: int, metrics: Mapping[str, float]) -> None:
        """What the coordinator's own evaluation found of a version is in its row."""
        if version >= self.evaluated:
            self.evaluated, self.metrics = version, metrics

    def prune(
        self, version: int, keep_versions: int, spool_keep_rounds: int, but: Collection[int] = ()
    ) -> None:
        """Delete the model files and the spool segments that no setting keeps any more.

        Args:
            version: The current one.
            keep_versions: Of how many of the last versions the files are kept.
            spool_keep_rounds: Of how many of the last closed rounds the updates are kept.
            but: Versions that are kept however old they are.
        """
        if keep_versions < ALL:
            self._models.forget_before(self._run_id, first_kept(version, keep_versions), but)
        if spool_keep_rounds < ALL and self._spool.has_older:
            self._spool.forget(self._first_kept_segment(version, spool_keep_rounds))
        # Once so many rounds were closed, the last ones are all of this run.
        if version >= max(spool_keep_rounds, 1) and not self._is_alone:
            with self._store.transaction() as work:
                self._handover.forget_others(work)
            self._is_alone = True

    def _first_kept_segment(self, version: int, rounds: int) -> int:
        """The first spool segment that the last `rounds` closed rounds, or the open one, need.

        A young run has not closed so many itself: the others are the last of the runs before it.
        """
        with self._store.reading() as work:
            needed = [work.oldest_segment(self._run_id, version - rounds)]
            rounds -= version
            earlier = work.runs() if rounds > 0 else []
            while rounds > 0 and earlier:
                run = earlier.pop()
                if run.run_id != self._run_id:
                    needed.append(work.oldest_segment(run.run_id, run.version - rounds))
                    rounds -= max(run.version, 0)
        return min((segment for segment in needed if segment is not None), default=sys.maxsize)
