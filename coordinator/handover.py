"""What a model version hands to the next: the state of the optimiser, and the cached updates.

    version v ──▶ round of v ──▶ version v + 1
    its state     read by it      its state         a file beside the model's, named in its row
    cached as     read by it      cached as of it   slots of one file, named by rows of the store
    of it

Rules: both are on disk before the row of their version is written, in the same transaction as the
rows of what is newly cached; what an earlier version has is only read. So a process that ends at any
step, and begins again, has what the last version handed on, and makes the same of it.
"""  # noqa: E501 - a diagram

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from coordinator import shelf
from coordinator.aggregation.aggregation import Aggregation, Handed
from coordinator.aggregation.aggregator import ServerState
from coordinator.aggregation.beginning import begin
from coordinator.aggregation.cache import Cache, CachedUpdate
from coordinator.aggregation.groups import Room
from coordinator.aggregation.optimizers import as_of
from coordinator.algorithm import Algorithm
from coordinator.models import ModelFolder
from coordinator.records import CachedRow, VersionRow
from coordinator.shelf import ShelfOnDisk
from coordinator.work import Work
from disk import Disk
from schemas.layout import Layout


class Handover:
    """What the versions of one run hand on.

    Args:
        run_id: The run.
        layout: Of its model.
        models: Where the states are, beside the models.
        folder: Where the slots of cached updates are.
        disk: Of both folders.
    """

    def __init__(
        self, run_id: str, layout: Layout, models: ModelFolder, folder: Path, disk: Disk
    ) -> None:
        self._run_id = run_id
        self._layout = layout
        self._models = models
        self._folder = folder
        self._disk = disk
        self._shelf = ShelfOnDisk(folder, run_id, layout.num_floats, disk)
        self._state: ServerState = {}
        self._cache = Cache(self._shelf)
        self._made: Handed | None = None
        self._freed: list[int] = []
        self._forgotten = -1

    def load(self, row: VersionRow | None, work: Work) -> None:
        """Take up what a version has handed on; None: there is no version yet.

        Raises:
            Damaged: If it is not there any more, or not what was written.
        """
        self._made, self._freed, self._forgotten = None, [], -1
        self._state, self._cache = {}, Cache(self._shelf)
        if row is None:
            return
        if row.state_file:
            self._state = self._models.read_state(row.state_file, row.state_digest)
        if row.cached:
            in_force = cached_updates(work.cached_as_of(self._run_id, row.version))
            needed = work.cached_slots(self._run_id)
            self._cache = Cache(self._shelf, in_force, needed)

    def begin(self, algorithm: Algorithm, room: Room | None = None) -> Aggregation:
        """Begin the round of the version whose handover this is. Its state is used up by that.

        Args:
            algorithm: How its updates become the next version.
            room: Memory of the round before, which may be written over.
        """
        return begin(algorithm, self._layout, self._state, self._cache, room)

    def keep(self, row: VersionRow, made: Handed) -> VersionRow:
        """Have on disk what a version hands on; the version's row, which says so."""
        state_file = state_digest = ""
        if made.state:
            state_file, state_digest = self._models.write_state(
                self._run_id, row.version, made.state
            )
        if made.cached:
            self._shelf.sync()
        self._made = made
        known = self._cache.in_force
        first = sum(cached.worker_id not in known for cached in made.cached)
        return replace(
            row,
            state_file=state_file,
            state_digest=state_digest,
            cached=len(known) + first,
        )

    def again(self, base: VersionRow, like: VersionRow) -> Handed:
        """What a version hands on that has an earlier one's parameters, right after `load`.

        The optimiser goes on from where it was then. What is cached of the workers stays as it is,
        and so does what the rule keeps of it.

        Args:
            base: The version before, which was loaded.
            like: The earlier version, or the one before.
        """
        if like.version == base.version:
            return Handed(self._state)
        then = (
            self._models.read_state(like.state_file, like.state_digest) if like.state_file else {}
        )
        return Handed(as_of(self._state, then))

    def write(self, work: Work, version: int, first_needed: int) -> None:
        """Write what is newly cached, and forget what no round needs, with the version's row.

        Args:
            work: The transaction that the version's row is written in.
            version: The version.
            first_needed: The first version whose round is to be made again if somebody asks.
        """
        if self._made is None or not self._made.cached:
            return
        work.insert_cached(
            CachedRow(
                run_id=self._run_id,
                worker_id=cached.worker_id,
                version=version,
                base_version=cached.base_version,
                slot=cached.slot,
                scale=cached.scale,
                examples=cached.examples,
            )
            for cached in self._made.cached
        )
        if first_needed > self._forgotten:
            self._freed = work.forget_cached(self._run_id, self._forgotten, first_needed)
            self._forgotten = first_needed

    def hand_on(self) -> None:
        """The version was committed: the next round begins with what it has."""
        made, self._made = self._made, None
        if made is not None:
            self._state = made.state
            self._cache.replace(made.cached)
            self._cache.free(self._freed)
            self._freed = []

    def forget_others(self, work: Work) -> None:
        """Forget what is cached for other runs."""
        # The file before the commit: rows without one are forgotten at the next start, but nothing
        # would ever find a file without rows. `replay` of that run says that it is not kept.
        for run_id in work.forget_cached_of_others(self._run_id):
            shelf.forget(self._folder, run_id, self._disk)

    def close(self) -> None:
        """Let go of the file of slots. Safe to call twice."""
        self._shelf.close()


def cached_updates(rows: Iterable[CachedRow]) -> list[CachedUpdate]:
    """Rows of the store as the rules know them."""
    return [
        CachedUpdate(row.worker_id, row.base_version, row.slot, row.scale, row.examples)
        for row in rows
    ]
