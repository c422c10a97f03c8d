from __future__ import annotations

import contextlib
import errno
import itertools
import math
import os
import random
import shutil
import sqlite3
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from disk import OS_DISK, OsDisk, durable, os_disk
from disk.os_disk import OsFile
from disk.spares import SPARE
from schemas.digest import digest_of
from simulation.disk import SimulatedDisk
from simulation.mishaps import Mishaps
from simulation.platter import Platter
from tests.worker.examples import a_start, a_task, an_update
from worker import database, inbox, payloads, store
from worker import disk as worker_disk
from worker.disk import FolderLock
from worker.errors import (
    PayloadLostError,
    StateInUseError,
    StoreError,
    TaskGoneError,
    WrongStateError,
)
from worker.parcel import Parcel, Trained
from worker.rows import ASKS, GOES_ON, SAID, HeldTask
from worker.store import Store

TASK = a_task()
UPDATE = an_update(TASK)
SMALL, LARGE = b"s" * 64, b"l" * 65


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path)
    yield found
    found.close()


def finished(store: Store, payload: bytes = SMALL, number: int = 0, version: int = 0) -> str:
    task = a_task(number)
    store.inbox.keep_task(task)
    return store.finish(an_update(task, version), task.part_bytes, payload).update_id


def test_a_new_store_holds_nothing(opened: Store) -> None:
    assert opened.inbox.held() is None
    assert opened.parcels() == ()
    assert opened.last_trained() == Trained()
    assert opened.known(TASK.task_id) == "new"


def test_a_task_its_start_and_its_attempts_are_there_after_a_restart(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.inbox.keep_task(TASK)
    assert first.inbox.begin_attempt(a_start(TASK))
    assert first.inbox.begin_attempt(a_start(TASK))
    first.inbox.forgive_attempt(TASK.task_id)
    first.close()
    held = Store(tmp_path).inbox.held()
    assert held is not None
    assert (held.task, held.start, held.attempts) == (TASK, a_start(TASK), 1)


def test_a_task_kept_again_keeps_its_start_and_attempts(opened: Store) -> None:
    opened.inbox.keep_task(TASK)
    opened.inbox.begin_attempt(a_start(TASK))
    opened.inbox.keep_task(TASK)
    held = opened.inbox.held()
    assert held is not None
    assert held.start == a_start(TASK)


def test_a_task_is_begun_in_one_step_and_nobody_knows_of_it(opened: Store) -> None:
    opened.inbox.keep_task(a_task(1))
    assert opened.inbox.begin(TASK, a_start(TASK))
    assert opened.inbox.held() == HeldTask(TASK, a_start(TASK), attempts=1, said=ASKS)
    assert opened.inbox.begin(TASK, a_start(TASK, 1))
    assert opened.inbox.held() == HeldTask(TASK, a_start(TASK, 1), attempts=2, said=ASKS)


def test_what_a_task_was_begun_on_is_kept_whether_or_not_training_began(opened: Store) -> None:
    opened.inbox.keep_task(a_task(1))
    assert opened.inbox.keep_start(TASK, a_start(TASK))
    assert opened.inbox.held() == HeldTask(TASK, a_start(TASK), attempts=0, said=SAID)
    opened.inbox.begin(TASK, a_start(TASK))
    opened.inbox.keep_start(TASK, a_start(TASK, 1))
    assert opened.inbox.held() == HeldTask(TASK, a_start(TASK, 1), attempts=1, said=SAID)


def test_an_attempt_at_a_task_that_was_asked_for_is_one_of_a_task_that_is_known(
    opened: Store,
) -> None:
    opened.inbox.begin(TASK, a_start(TASK))
    assert opened.inbox.begin_attempt(a_start(TASK))
    held = opened.inbox.held()
    assert held is not None
    assert held.said == SAID


def test_an_attempt_at_a_task_that_goes_on_leaves_it_to_be_said(opened: Store) -> None:
    opened.inbox.keep_start(TASK, a_start(TASK), said=False)
    assert opened.inbox.begin_attempt(a_start(TASK))
    assert opened.inbox.held() == HeldTask(TASK, a_start(TASK), attempts=1, said=GOES_ON)


def test_what_was_done_is_not_begun_nor_kept_again(opened: Store) -> None:
    finished(opened)
    assert not opened.inbox.begin(TASK, a_start(TASK))
    assert not opened.inbox.keep_start(TASK, a_start(TASK))
    assert opened.inbox.held() is None


@pytest.mark.parametrize("change", ["begin", "keep_start"])
def test_a_crash_while_a_task_is_begun_begins_it_or_not(tmp_path: Path, change: str) -> None:
    def act(store: Store) -> None:
        getattr(store.inbox, change)(TASK, a_start(TASK))

    for found in crashes(lambda s: s.inbox.keep_task(a_task(1)), act, tmp_path):
        held = found.inbox.held()
        assert held is not None
        assert held.task in (TASK, a_task(1))
        assert (held.start is None) == (held.task == a_task(1))


def test_a_kept_task_is_the_only_one(opened: Store) -> None:
    opened.inbox.keep_task(a_task(1))
    opened.inbox.keep_task(a_task(2))
    held = opened.inbox.held()
    assert held is not None
    assert held.task == a_task(2)
    assert opened.known(a_task(1).task_id) == "new"


def test_a_finished_task_moves_from_the_inbox_to_the_outbox(opened: Store) -> None:
    update_id = finished(opened)
    assert opened.inbox.held() is None
    assert opened.known(TASK.task_id) == "open"
    (parcel,) = opened.parcels()
    assert (parcel.update_id, parcel.parts, parcel.sent) == (update_id, 0, False)
    header, _ = opened.update(update_id)
    assert header.payload_digest == digest_of(SMALL)
    assert opened.payload(update_id, 0, len(SMALL)) == SMALL
    assert opened.last_trained() == Trained(TASK.run_id, 0, TASK.incarnation)


def test_an_update_above_the_part_size_goes_in_parts(opened: Store) -> None:
    header, part_bytes = opened.update(finished(opened, LARGE))
    assert (header.parts, part_bytes, header.payload_bytes) == (2, 64, 65)


def test_a_task_given_up_cannot_be_finished(opened: Store) -> None:
    opened.inbox.keep_task(TASK)
    opened.inbox.drop_task(TASK.task_id)
    with pytest.raises(TaskGoneError):
        opened.finish(UPDATE, 64, SMALL)
    assert opened.parcels() == ()


def test_a_task_finished_twice_is_finished_as_it_was_first(opened: Store) -> None:
    update_id = finished(opened)
    again = opened.finish(UPDATE, 64, b"other bytes")
    assert opened.parcels() == (again,)
    assert opened.payload(update_id, 0, len(SMALL)) == SMALL
    assert len(payload_files(opened)) == 1


@pytest.mark.parametrize("released", [False, True])
def test_a_task_kept_again_after_it_was_done_leaves_the_inbox(
    opened: Store, released: bool
) -> None:
    update_id = finished(opened)
    if released:
        opened.release(update_id)
    opened.inbox.keep_task(TASK)
    again = opened.finish(UPDATE, 64, b"other bytes")
    assert (again.update_id, again.sent) == (update_id, released)
    assert opened.inbox.held() is None
    assert len(opened.parcels()) == len(payload_files(opened)) == (not released)


def test_a_task_given_up_leaves_no_file(opened: Store) -> None:
    with pytest.raises(TaskGoneError):
        opened.finish(UPDATE, 64, SMALL)
    assert payload_files(opened) == []


def test_a_commit_is_synced_before_it_is_one(opened: Store) -> None:
    """As only a power cut of a real machine would show."""
    full, write_ahead = 2, "wal"
    assert opened._db.connection.execute("PRAGMA synchronous").fetchone() == (full,)
    assert opened._db.connection.execute("PRAGMA journal_mode").fetchone() == (write_ahead,)


@pytest.mark.parametrize("seed", range(10))
def test_a_new_stores_first_task_outlives_a_power_cut(seed: int) -> None:
    folder, platter = Path("/state/w1"), Platter()
    first = Store(folder, SimulatedDisk(platter, Mishaps()))
    first.inbox.keep_task(TASK)
    platter.cut_power(random.Random(seed))
    held = Store(folder, SimulatedDisk(platter, Mishaps())).inbox.held()
    assert held is not None, "the name of the database was gone, and all that it holds"
    assert held.task == TASK


def test_a_small_payload_lies_in_its_row(opened: Store) -> None:
    opened.inbox.keep_task(TASK)
    opened.finish(UPDATE, 1024, SMALL, inline_bytes=len(SMALL))
    assert payload_files(opened) == []
    opened.sweep()
    update, payload = opened.to_send(UPDATE.update_id)
    assert (update.payload_bytes, payload) == (len(SMALL), SMALL)
    assert opened.payload(UPDATE.update_id, 3, 5) == SMALL[3:5]
    assert opened.payload_age_s(UPDATE.update_id) == math.inf, "it is never new"
    opened.release(UPDATE.update_id)
    assert opened.parcels() == ()


@pytest.mark.parametrize(("payload", "part_bytes"), [(LARGE, 1024), (SMALL, 32)])
def test_a_payload_that_is_large_or_goes_in_parts_is_a_file(
    opened: Store, payload: bytes, part_bytes: int
) -> None:
    opened.inbox.keep_task(TASK)
    opened.finish(UPDATE, part_bytes, payload, inline_bytes=64)
    assert len(payload_files(opened)) == 1
    assert opened.payload(UPDATE.update_id, 0, len(payload)) == payload


@pytest.mark.parametrize("payload", [b"other" + SMALL[5:], SMALL[1:], b""])
def test_a_payload_in_a_row_that_is_not_what_was_written_is_lost(
    opened: Store, payload: bytes
) -> None:
    opened.inbox.keep_task(TASK)
    opened.finish(UPDATE, 1024, SMALL, inline_bytes=len(SMALL))
    opened._db.execute("UPDATE outbox SET payload = ?", (payload,))
    with pytest.raises(PayloadLostError):
        opened.to_send(UPDATE.update_id)
    opened.forget(UPDATE.update_id)
    assert opened.known(TASK.task_id) == "new"


def test_no_attempt_is_counted_of_a_task_that_is_not_there(opened: Store) -> None:
    assert not opened.inbox.begin_attempt(a_start(TASK))
    finished(opened)
    assert not opened.inbox.begin_attempt(a_start(TASK))
    assert opened.inbox.held() is None


def test_what_is_known_of_a_task_comes_with_its_update(opened: Store) -> None:
    assert opened.outcome(TASK.task_id) == ("new", None)
    opened.inbox.keep_task(TASK)
    assert opened.outcome(TASK.task_id) == ("held", None)
    update_id = finished(opened)
    assert opened.outcome(TASK.task_id) == ("open", opened.parcel(update_id))
    opened.release(update_id)
    assert opened.outcome(TASK.task_id) == ("done", None)


def test_what_waits_for_the_disk_still_does_after_what_does_not(opened: Store) -> None:
    opened.release(finished(opened))
    opened.settle(finished(opened, number=1), "counted")
    assert opened._db.connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_what_waits_for_the_disk_still_does_after_what_could_not_begin(opened: Store) -> None:
    update_id = finished(opened)
    opened._db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(opened.path / "worker.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # as the training process does
    with pytest.raises(StoreError, match="locked"):
        opened.release(update_id)
    other.close()
    assert opened._db.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    opened.release(update_id)
    assert opened.parcels() == ()


@pytest.mark.parametrize("seed", range(10))
def test_a_finished_update_outlives_a_power_cut(seed: int) -> None:
    folder, platter = Path("/state/w1"), Platter()
    update_id = finished(Store(folder, SimulatedDisk(platter, Mishaps())), LARGE)
    platter.cut_power(random.Random(seed))
    after = Store(folder, SimulatedDisk(platter, Mishaps()))
    after.sweep()
    assert after.payload(update_id, 0, len(LARGE)) == LARGE
    assert [parcel.update_id for parcel in after.parcels()] == [update_id]


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    agent, training = Store(tmp_path), Store(tmp_path)
    agent.inbox.keep_task(TASK)
    with agent.snapshot():
        assert agent.inbox.held() is not None
        training.finish(UPDATE, 64, SMALL)
        assert agent.parcels() == ()
    assert len(agent.parcels()) == 1
    agent.close()
    training.close()


def test_a_released_update_leaves_its_mark(opened: Store) -> None:
    update_id = finished(opened)
    opened.release(update_id)
    assert opened.parcels() == ()
    assert opened.known(TASK.task_id) == "done"
    assert opened.unheard(10) == (update_id,)


def test_the_file_of_a_released_update_goes_with_the_next_that_is_durable(opened: Store) -> None:
    opened.release(finished(opened))
    opened.mark_sent("unknown", True)  # changes nothing, and so waits for nothing
    assert len(payload_files(opened)) == 1, "a power cut may bring back the row that names it"
    opened.inbox.keep_task(a_task(9))
    assert payload_files(opened) == []


def test_the_next_payload_is_written_over_a_sent_one(opened: Store) -> None:
    opened.release(finished(opened))
    number = payload_files(opened)[0].stat().st_ino
    opened.inbox.keep_task(a_task(9))
    update_id = finished(opened, number=8)
    (file,) = payload_files(opened)
    assert file.stat().st_ino == number
    update, _ = opened.update(update_id)
    assert bytes(opened.payload(update_id, 0, update.payload_bytes)) == file.read_bytes()
    opened.sweep()
    assert payload_files(opened) == [file]


def test_a_payload_that_is_being_read_is_not_written_over(opened: Store) -> None:
    update_id = finished(opened)
    with OS_DISK.map(payload_files(opened)[0]) as view:
        before = bytes(view)
        opened.release(update_id)
        opened.inbox.keep_task(a_task(9))
        finished(opened, number=8)
        assert bytes(view) == before


def test_where_room_is_missing_no_spare_payload_is_kept(opened: Store) -> None:
    opened.release(finished(opened))
    opened.inbox.keep_task(a_task(9))
    assert list((opened.path / "outbox").iterdir())
    opened.make_room()
    assert list((opened.path / "outbox").iterdir()) == []


def test_two_attempts_at_an_update_write_to_files_of_their_own(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that outlives its agent for a moment writes beside the next one's."""
    names: list[str] = []
    real = OsDisk.create

    def create(disk: OsDisk, path: Path, **how: Any) -> Any:
        names.append(path.name)
        return real(disk, path, **how)

    monkeypatch.setattr(OsDisk, "create", create)
    opened.inbox.keep_task(TASK)
    for _ in range(2):
        opened.inbox.begin_attempt(a_start(TASK))
        with contextlib.suppress(StoreError), monkeypatch.context() as patched:
            patched.setattr(Store, "_move", refuse)
            opened.finish(UPDATE, 64, SMALL)
    assert len(set(names)) == 2


def refuse(*_: Any) -> Any:
    raise StoreError("its process has ended")


def test_a_sweep_leaves_no_spare_payload(opened: Store) -> None:
    opened.release(finished(opened))
    opened.inbox.keep_task(a_task(9))
    assert list((opened.path / "outbox").iterdir())
    opened.sweep()
    assert list((opened.path / "outbox").iterdir()) == []


def test_what_lingers_is_bounded(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.payloads.LINGERING_BYTES", 0)
    opened.release(finished(opened))
    assert payload_files(opened) == []


def test_a_verdict_is_news_once(opened: Store) -> None:
    update_id = finished(opened, LARGE)
    assert opened.settle(update_id, "counted") is True
    assert opened.settle(update_id, "counted") is False
    assert opened.unheard(10) == ()
    assert opened.parcels() == ()


def test_an_upload_that_was_sent_is_remembered_as_such(opened: Store) -> None:
    update_id = finished(opened, LARGE)
    opened.mark_sent(update_id, True)
    assert opened.parcels()[0].sent
    opened.mark_sent(update_id, False)
    assert not opened.parcels()[0].sent


def test_a_forgotten_update_may_be_trained_again(opened: Store) -> None:
    opened.forget(finished(opened))
    assert opened.known(TASK.task_id) == "new"


def test_the_newest_version_of_the_last_run_counts(opened: Store) -> None:
    for number, version in enumerate((3, 5, 4)):
        finished(opened, number=number, version=version)
    assert opened.last_trained() == Trained(TASK.run_id, 5, TASK.incarnation)


def test_parcels_come_in_the_order_they_were_finished(opened: Store) -> None:
    made = [finished(opened, number=number) for number in range(5)]
    assert [parcel.update_id for parcel in opened.parcels()] == made


def test_old_marks_are_swept_and_those_of_the_outbox_are_not(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MARKS_KEPT", 2)
    made = [finished(opened, number=number) for number in range(5)]
    for update_id in made[1:]:
        opened.release(update_id)
    opened.trim_marks()
    assert opened.unheard(10) == (made[4], made[3])
    assert opened.known(a_task(0).task_id) == "open"
    assert opened.known(a_task(1).task_id) == "new"


def test_what_no_row_names_is_swept(opened: Store) -> None:
    update_id = finished(opened)
    (opened.path / "outbox" / ".partial-x").write_bytes(b"torn")
    (opened.path / "outbox" / "leftover").write_bytes(b"old")
    opened.sweep()
    assert len(payload_files(opened)) == 1
    assert opened.payload(update_id, 0, 64) == SMALL


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), lambda f: f.write_bytes(b"short")])
def test_a_payload_that_the_disk_lost_is_said_so(
    opened: Store, damage: Callable[[Path], object]
) -> None:
    update_id = finished(opened)
    damage(payload_files(opened)[0])
    with pytest.raises(PayloadLostError):
        opened.payload(update_id, 0, 64)


def test_a_payloads_file_has_an_age(opened: Store) -> None:
    update_id = finished(opened)
    (file,) = payload_files(opened)
    os.utime(file, (1.0, 1.0))
    old = opened.payload_age_s(update_id)
    os.utime(file)
    assert opened.payload_age_s(update_id) < old - 10**9
    file.unlink()
    with pytest.raises(PayloadLostError):
        opened.payload_age_s(update_id)


@pytest.mark.parametrize("payload", [SMALL, LARGE * 3])
def test_a_payload_with_other_bytes_than_were_written_is_lost(
    opened: Store, payload: bytes
) -> None:
    update_id = finished(opened, payload)
    (file,) = payload_files(opened)
    opened.check_payload(update_id)
    assert opened.to_send(update_id)[1] == (SMALL if payload == SMALL else b"")
    file.write_bytes(b"?" + payload[1:])
    with pytest.raises(PayloadLostError, match="not what was written"):
        opened.check_payload(update_id)


def test_what_is_sent_in_one_message_is_what_was_written(opened: Store) -> None:
    update_id = finished(opened, SMALL)
    (file,) = payload_files(opened)
    file.write_bytes(b"?" + SMALL[1:])
    with pytest.raises(PayloadLostError, match="not what was written"):
        opened.to_send(update_id)


def test_a_payload_is_checked_without_being_in_memory_as_a_whole(opened: Store) -> None:
    payload = bytes(10 * 2**20)
    update_id = finished(opened, payload)
    tracemalloc.start()
    opened.check_payload(update_id)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.EACCES, errno.ENOMEM])
def test_a_payload_that_cannot_be_read_now_is_not_lost(
    opened: Store, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    update_id = finished(opened)
    with monkeypatch.context() as patched:
        patched.setattr(OsDisk, "read", fail)
        with pytest.raises(StoreError, match=os.strerror(code)):
            opened.payload(update_id, 0, 64)
    assert opened.payload(update_id, 0, 64) == SMALL


def test_what_is_left_of_a_lost_payload_is_put_aside(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "DAMAGED_KEPT", 2)
    for number in range(4):
        update_id = finished(opened, number=number)
        payload_files(opened)[0].write_bytes(b"short")
        opened.forget(update_id)
    assert payload_files(opened) == []
    assert [f.read_bytes() for f in (opened.path / "damaged").iterdir()] == [b"short"] * 2


def test_a_file_that_could_not_be_removed_is_removed_when_it_is_tried_again(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    update_id = finished(opened)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        patched.setattr(Path, "unlink", fail)
        opened.release(update_id)
        opened.inbox.keep_task(a_task(8))
    assert len(payload_files(opened)) == 1
    opened.inbox.keep_task(a_task(9))
    assert payload_files(opened) == []


def test_a_file_that_could_not_be_removed_at_once_is_removed_when_it_is_tried_again(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("worker.payloads.LINGERING_BYTES", 0)
    update_id = finished(opened)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        patched.setattr(Path, "unlink", fail)
        with pytest.raises(StoreError):
            opened.release(update_id)
    opened.release(update_id)
    assert payload_files(opened) == []


def test_a_damaged_header_is_a_lost_update(opened: Store) -> None:
    update_id = finished(opened)
    opened._db.execute("UPDATE outbox SET header = x'00'")
    with pytest.raises(PayloadLostError, match="header"):
        opened.update(update_id)


def test_the_folder_is_one_workers(opened: Store) -> None:
    opened.claim("w1", "shops")
    opened.claim("w1", "shops")
    with pytest.raises(WrongStateError, match="--state-dir"):
        opened.claim("w2", "shops")
    with pytest.raises(WrongStateError, match="--state-dir"):
        opened.claim("w1", "boats")


def test_two_workers_cannot_share_a_folder(tmp_path: Path) -> None:
    with FolderLock(OS_DISK, tmp_path), pytest.raises(StateInUseError, match="--state-dir"):
        FolderLock(OS_DISK, tmp_path)
    FolderLock(OS_DISK, tmp_path).release()


def test_a_disk_that_takes_nothing_is_a_store_error_and_leaves_things_as_they_were(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    opened.inbox.keep_task(TASK)
    with monkeypatch.context() as patched:
        patched.setattr(OsFile, "sync", full)
        with pytest.raises(StoreError, match="No space left"):
            opened.finish(UPDATE, 64, SMALL)
    assert payload_files(opened) == []
    assert opened.inbox.held() is not None
    assert opened.finish(UPDATE, 64, SMALL).update_id == UPDATE.update_id


def payload_files(store: Store) -> list[Path]:
    files = (store.path / "outbox").iterdir()
    return sorted(file for file in files if not file.name.startswith(SPARE))


# A crash at each step: the line of store or disk at which it happens is counted.


# As a real crash does, this one leaves a file open.
left_open = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class CrashError(BaseException):
    """The power is gone."""


@contextmanager
def crash_at(step: int) -> Iterator[None]:
    """Raise at the step-th line that is executed in the store's files."""
    steps = itertools.count(1)
    files = (
        store.__file__,
        inbox.__file__,
        database.__file__,
        payloads.__file__,
        worker_disk.__file__,
        durable.__file__,
        os_disk.__file__,
    )

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line" and next(steps) == step:
            sys.settrace(None)
            raise CrashError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def crashes(
    prepare: Callable[[Store], object], act: Callable[[Store], object], folder: Path
) -> Any:
    """Crash `act` at each of its steps in turn; gives the store as found after each restart."""
    first = Store(folder / "0")
    prepare(first)
    first.close()
    for step in itertools.count(1):
        path = folder / str(step)
        shutil.copytree(folder / "0", path)
        prepared = Store(path)
        crashed = True
        try:
            with crash_at(step):
                act(prepared)
                crashed = False
        except CrashError:
            pass
        prepared.close()
        found = Store(path)
        found.sweep()
        yield found
        found.close()
        if not crashed:
            assert step > 5, "nothing was tried"
            return


Finish = Callable[[Store, bytes], Parcel]


def finish_in_chunks(store: Store, payload: bytes) -> Parcel:
    chunks = [payload[start : start + 10] for start in range(0, len(payload), 10)]
    return store.finish_large(UPDATE, 64, lambda: iter(chunks))


@left_open
@pytest.mark.parametrize(
    ("finish", "in_file"),
    [
        (lambda s, payload: s.finish(UPDATE, 64, payload), True),
        (lambda s, payload: s.finish(UPDATE, 64, payload, None, 64), False),
        (finish_in_chunks, True),
    ],
)
def test_a_crash_while_finishing_leaves_everything_or_nothing(
    tmp_path: Path, finish: Finish, in_file: bool
) -> None:
    outcomes = set()
    for found in crashes(lambda s: s.inbox.keep_task(TASK), lambda s: finish(s, SMALL), tmp_path):
        known = found.known(TASK.task_id)
        outcomes.add(known)
        assert known in ("held", "open")
        if known == "held":  # as if it had not been trained: it is, again, under the same id
            assert payload_files(found) == []
            again = finish(found, b"other bytes of another training")
            assert again.update_id == UPDATE.update_id
        else:
            assert found.inbox.held() is None
            assert found.payload(UPDATE.update_id, 0, 64) == SMALL
        assert len(found.parcels()) == 1
        assert len(payload_files(found)) == in_file
    assert outcomes == {"held", "open"}


def test_what_is_made_as_it_is_written_is_as_if_it_had_been_whole(tmp_path: Path) -> None:
    found = []
    for name, finish in (("a", Store.finish), ("b", None)):
        made = Store(tmp_path / name)
        made.inbox.keep_task(TASK)
        parcel = finish(made, UPDATE, 64, LARGE) if finish else finish_in_chunks(made, LARGE)
        names = [path.name for path in payload_files(made)]
        found.append((parcel, made.update(parcel.update_id), names))
        assert made.payload(parcel.update_id, 0, len(LARGE)) == LARGE
        made.check_payload(parcel.update_id)
        made.close()
    assert found[0] == found[1]


def test_an_update_that_cannot_be_made_leaves_its_task_and_nothing_else(opened: Store) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"some of it"
        raise ValueError("not finite")

    opened.inbox.keep_task(TASK)
    with pytest.raises(ValueError, match="not finite"):
        opened.finish_large(UPDATE, 64, chunks)
    assert opened.known(TASK.task_id) == "held"
    assert payload_files(opened) == []


def test_an_update_in_chunks_that_was_finished_before_stays_as_it_was(opened: Store) -> None:
    opened.inbox.keep_task(TASK)
    first = opened.finish(UPDATE, 64, SMALL)
    opened.inbox.keep_task(TASK)
    assert finish_in_chunks(opened, LARGE) == first
    assert opened.inbox.held() is None
    assert opened.payload(UPDATE.update_id, 0, 64) == SMALL
    with pytest.raises(TaskGoneError):
        opened.finish_large(an_update(a_task(3), 0), 64, lambda: [SMALL])


@pytest.mark.parametrize(
    "act", [lambda s: s.release(UPDATE.update_id), lambda s: s.settle(UPDATE.update_id, "late")]
)
def test_a_crash_while_an_update_leaves_the_outbox_repeats_it_or_not(
    tmp_path: Path, act: Callable[[Store], object]
) -> None:
    for found in crashes(lambda s: finished(s), act, tmp_path):
        known = found.known(TASK.task_id)
        assert known in ("open", "done"), "a task that was done is never trained again"
        assert len(payload_files(found)) == len(found.parcels()) == (known == "open")
        act(found)
        assert found.parcels() == ()
        found.inbox.keep_task(a_task(9))
        assert payload_files(found) == []


def test_a_crash_while_a_task_is_kept_leaves_it_or_nothing(tmp_path: Path) -> None:
    outcomes = set()
    for found in crashes(lambda s: None, lambda s: s.inbox.keep_task(TASK), tmp_path):
        held = found.inbox.held()
        outcomes.add(held is not None)
        assert held is None or held.task == TASK
    assert outcomes == {True, False}


def test_a_crash_while_an_attempt_is_counted_counts_it_or_not(tmp_path: Path) -> None:
    for found in crashes(
        lambda s: s.inbox.keep_task(TASK), lambda s: s.inbox.begin_attempt(a_start(TASK)), tmp_path
    ):
        held = found.inbox.held()
        assert held is not None
        assert held.attempts in (0, 1)


def test_a_store_is_joined_only_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no state folder"):
        Store.join(tmp_path)
    assert list(tmp_path.iterdir()) == []
    first = Store(tmp_path)
    first.inbox.keep_task(TASK)
    joined = Store.join(tmp_path)
    assert joined.finish(UPDATE, 64, SMALL) == first.parcel(UPDATE.update_id)
    assert joined._db.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    joined.close()
    first.close()


def test_agent_and_training_process_use_the_store_at_the_same_time(tmp_path: Path) -> None:
    agent, training = Store(tmp_path), Store(tmp_path)
    agent.inbox.keep_task(TASK)
    training.inbox.begin_attempt(a_start(TASK))
    training.finish(UPDATE, 64, SMALL)
    assert agent.inbox.held() is None
    assert agent.parcel(UPDATE.update_id) is not None
    agent.sweep()
    assert training.payload(UPDATE.update_id, 0, 64) == SMALL
    agent.close()
    training.close()


def test_a_database_that_is_none_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "worker.sqlite").write_bytes(b"garbage" * 1000)
    said = rf"{tmp_path}/worker\.sqlite cannot be used \(if it is damaged, move its folder away\)"
    with pytest.raises(StoreError, match=said):
        Store(tmp_path)
