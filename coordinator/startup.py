"""Beginning a run, and going on with one: from settings and store to a state of the machine."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from coordinator.accounts import Accounts
from coordinator.choosing import algorithm_of, weighing_of
from coordinator.cohort import Cohort
from coordinator.enrolment import Enrolment
from coordinator.errors import Damaged, InUse, RunError, StoreError
from coordinator.evaluation import Initial, initial_of
from coordinator.handover import Handover
from coordinator.models import ModelFolder, load_initial, require_finite
from coordinator.policy import RoundPolicy
from coordinator.records import RunRow, VersionRow
from coordinator.spool import SEGMENT_BYTES, Spool
from coordinator.store import Store
from coordinator.uploads import PARTS_MAX
from coordinator.versions import streamed
from coordinator.work import Work
from depot import Depot, depot_of
from depot.porter import Porter, ThreadPorter
from disk import OS_DISK, Disk, chunks_of, make_folders
from schemas.buffer import Buffer
from schemas.layout import Layout
from schemas.messages import part_count
from settings import Settings
from settings.frozen import changed, frozen_fields

_log = logging.getLogger(__name__)


class StateFolder:
    """The coordinator's folder, held by one process at a time.

    Raises:
        InUse: If another process has it.
        StoreError: If it is no folder.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        try:
            make_folders(disk, path)
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(
                f"coordinator.state_dir: expected a folder, {path} is none: set another"
            ) from error
        self.store = path / "coordinator.db"
        self.spool = path / "spool"
        self.models = path / "models"
        self.cached = path / "cached"
        try:
            self._lock = disk.lock(path / "lock")
        except BlockingIOError:
            raise InUse(
                f"another coordinator is running on {path}: stop it, or set another "
                "coordinator.state_dir"
            ) from None

    def close(self) -> None:
        """Let another process have it. Safe to call twice."""
        self._lock.close()


def draw_id() -> str:
    """128 random bits, as 32 hexadecimal digits."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a coordinator finds around it and a test or a simulation brings of its own.

    Attributes:
        disk: Where its state folder is.
        initial_of: Asks the learner for its initial parameters.
        draw_id: Draws the id of a new run, and the salt of a process.
        depot_of: Opens the depot that is set, None if none is.
        porter_of: Makes who goes there, by the name of its thread.
        segment_bytes: From how many on a segment of the spool is full.
    """

    disk: Disk = OS_DISK
    initial_of: Callable[[Settings], Initial] = initial_of
    draw_id: Callable[[], str] = draw_id
    depot_of: Callable[[Settings], Depot | None] = depot_of
    porter_of: Callable[[str], Porter] = ThreadPorter
    segment_bytes: int = SEGMENT_BYTES


ORDINARY = Surroundings()


@dataclass(frozen=True, slots=True)
class OpenedState:
    """A state folder with a run to go on with.

    Attributes:
        row: The run's row at this start.
        finished_before: The run had ended before this start.
        salt: Of the tasks that this process makes.
    """

    store: Store
    spool: Spool
    models: ModelFolder
    handover: Handover
    row: RunRow
    finished_before: bool
    salt: str


def open_state(
    settings: Settings,
    now: float,
    opened: ExitStack,
    around: Surroundings = ORDINARY,
    *,
    new_run: bool,
    restored: bool,
) -> OpenedState:
    """Open the state folder, and begin a run if there is none to go on with.

    Args:
        settings: Of the federation.
        now: The coordinator's time.
        opened: Takes what closes it again, also if this fails half-way.
        around: Disk and learner.
        new_run: Begin another run even if the last is not finished.
        restored: Go on in a new incarnation.

    Raises:
        CoordinatorError: If the folder or the run cannot be used.
    """
    disk = around.disk
    folder = StateFolder(settings.coordinator.state_dir, disk)
    opened.callback(folder.close)
    _require_store(folder, disk)
    store = Store.create_or_open(folder.store, settings.federation.name, now, disk)
    opened.callback(store.close)
    store.take_epoch()
    spool = Spool(folder.spool, disk, around.segment_bytes)
    opened.callback(spool.close)
    models = ModelFolder(folder.models, disk)
    with store.reading() as work:
        row = find_run(work, settings, new_run)
        _warn_of_few_workers(settings, Enrolment(work))
    if restored:
        store.take_incarnation(0, now)
    finished_before = row is not None and row.state in ("draining", "ended")
    if row is None or restored:
        spool.parts.forget_all()  # of tasks that nobody waits for any more
    if row is None:
        row = begin_run(store, models, settings, now, around)
    layout = Layout.from_rows(row.layout)
    _require_few_parts(layout, settings.rounds.part_bytes)
    handover = Handover(row.run_id, layout, models, folder.cached, disk)
    opened.callback(handover.close)
    wire = settings.wire
    _log.info("updates are asked for in %s, models travel in %s", wire.codec, wire.model_codec)
    return OpenedState(store, spool, models, handover, row, finished_before, around.draw_id())


def _require_store(folder: StateFolder, disk: Disk) -> None:
    """Refuse to begin anew where a run was whose store is gone: its updates were counted."""
    if disk.size(folder.store):
        return
    left = [path.name for path in (folder.models, folder.spool) if disk.names(path)]
    if left:
        raise StoreError(
            f"{folder.store} is gone, and {' and '.join(left)} of a run are there: put a backup "
            "of the folder back and start with --restored, or use another coordinator.state_dir"
        )


def _require_few_parts(layout: Layout, part_bytes: int) -> None:
    """Check that the file of an upload has room to say which of its parts are here."""
    parts = part_count(layout.update_bytes, part_bytes)
    if parts > PARTS_MAX:
        raise RunError(
            f"an update of {layout.update_bytes} bytes would go in {parts} parts of "
            f"rounds.part_bytes, at most {PARTS_MAX} are possible: set it higher"
        )


def _warn_of_few_workers(settings: Settings, enrolment: Enrolment) -> None:
    seen, goal = enrolment.count(), settings.rounds.goal
    cohort = Cohort(settings.run.seed, settings.evaluation.cohort)
    if not seen:
        return  # where none was ever seen, there is nothing to compare with
    evaluate = sum(worker_id in cohort for worker_id in enrolment.ids()) if cohort.share else 0
    train = seen - evaluate
    if train < goal:
        _log.warning(
            "rounds.goal is %d and only %d workers were ever seen%s: a worker counts once in a "
            "version, so rounds close at their deadline until more come",
            goal,
            train,
            " that train" if cohort.share else "",
        )
    if cohort.share and evaluate < settings.evaluation.goal:
        _log.warning(
            "evaluation.goal is %d and only %d workers of the evaluation cohort were ever seen: "
            "evaluations close at their deadline until more come",
            settings.evaluation.goal,
            evaluate,
        )


def policy_of(settings: Settings) -> RoundPolicy:
    """The round policy that settings describe."""
    rounds = settings.rounds
    return RoundPolicy(
        rounds=settings.run.rounds,
        goal=rounds.goal,
        quorum=rounds.quorum,
        concurrency=rounds.tasks_in_flight,
        deadline_s=rounds.deadline_s,
        lease_s=rounds.lease_s,
        late=rounds.late,
        max_staleness=rounds.max_staleness,
        max_extensions=rounds.max_extensions,
        max_norm=rounds.max_norm,
        max_seconds=settings.run.max_seconds,
        drain_s=rounds.drain_s,
        dispatch=rounds.dispatch,
        adaptive_deadline=rounds.adaptive_deadline,
        deadline_floor_s=rounds.deadline_floor_s,
        weighing=weighing_of(settings.algorithm, rounds),
        algorithm=algorithm_of(settings.algorithm),
    )


def find_run(work: Work, settings: Settings, new_run: bool) -> RunRow | None:
    """The run to go on with, None if a new one is to begin.

    Raises:
        RunError: If settings that a run keeps have changed, naming them.
    """
    row = work.last_run()
    if row is None or new_run:
        return None
    differences = changed(row.settings, frozen_fields(settings))
    if differences:
        raise RunError(
            f"run {row.run_id[:8]} keeps these settings: {'; '.join(differences)}. Set them back, "
            "or start another run with --new-run"
        )
    return row


def begin_run(
    store: Store, models: ModelFolder, settings: Settings, now: float, around: Surroundings
) -> RunRow:
    """Begin a run: its row and version 0, in one transaction, the file on disk before it.

    Raises:
        RunError: If there is no initial model, or training could not begin with it.
    """
    initial = around.initial_of(settings)
    layout = initial.layout
    with store.reading() as work:
        model = _initial_model(settings, work, models, layout, initial.model)
        last = work.last_run()
    require_finite(model, layout)
    run_id = around.draw_id()
    row = RunRow(
        run_id=run_id,
        number=1 if last is None else last.number + 1,
        state="closed",
        version=-1,
        rounds=settings.run.rounds,
        goal=settings.rounds.goal,
        settings=frozen_fields(settings),
        policy=policy_of(settings).as_json(),
        layout=layout.rows(),
        layout_digest=layout.digest,
        opened_at=now,
        deadline_at=now,
        tries_after=0,
        extensions=0,
        until=0.0,
        why="",
        started_at=now,
        ran_s=0.0,
        ended_at=None,
    )
    file, digest = models.write(run_id, 0, chunks_of(model), layout)
    version = VersionRow(
        run_id=run_id,
        version=0,
        digest=digest,
        num_bytes=layout.num_bytes,
        file=file,
        stream_offset=None,
        counted=0,
        weight=0.0,
        why="initial",
        policy={},
        made_at=now,
        metrics={},
    )
    version = streamed(version, model, layout, settings.wire.model_codec)
    with store.transaction() as work:
        work.insert_run(row)
        work.insert_version(version)
    _log.info("run %s begins: %d parameters", run_id[:8], layout.num_floats)
    return row


def _initial_model(
    settings: Settings, work: Work, models: ModelFolder, layout: Layout, learners: Buffer
) -> Buffer:
    initial = settings.run.initial
    if initial == "learner":
        return learners
    if not initial.startswith("run:"):
        return load_initial(Path(initial), layout)
    prefix = initial.removeprefix("run:")
    if work.last_run() is None:
        raise RunError(
            f'run.initial: expected "learner" or a file, came {initial!r}: no run was ever begun '
            "in this state folder"
        )
    try:
        row = Accounts(work).run(prefix)
    except RunError as error:
        raise RunError(f"run.initial: {error}") from None
    last = work.version(row.run_id, row.version)
    if last is None:
        raise RunError(f"run.initial: run {prefix} made no version")
    try:
        models.read(last.file, Layout.from_rows(row.layout), last.digest)
    except Damaged as error:
        raise RunError(f"run.initial: {error}") from error
    return load_initial(models.path(last.file), layout)
