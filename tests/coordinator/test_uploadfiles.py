"""Parts of uploads: at their place in one file, remembered when they are durable, never copied."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import StoreError
from coordinator.records import Place
from coordinator.spool import Spool
from coordinator.uploadfiles import BODY, Shape
from coordinator.uploads import PARTS_MAX
from disk import OsDisk
from schemas.messages import decode, encode, head_of
from simulation.disk import SimulatedDisk
from simulation.mishaps import Crash, Mishaps
from simulation.platter import Platter
from tests.schemas.test_messages import UPDATE as ABOUT

UPDATE, DIGEST, OTHER = "a" * 32, "d" * 64, "e" * 64
UPLOAD = UPDATE, DIGEST
PAYLOAD = bytes(range(250)) * 4
SHAPE = Shape(len(PAYLOAD), 300)
PARTS = [PAYLOAD[start : start + 300] for start in range(0, 1000, 300)]
HEAD = head_of(ABOUT, len(PAYLOAD))
SEEDS = range(10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    spool = Spool(folder)
    yield spool
    spool.close()


@contextlib.contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """As on a full disk: a write beyond the limit is cut, and the next fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def put(spool: Spool, *indices: int, upload: tuple[str, str] = UPLOAD) -> None:
    for index in indices:
        spool.put(upload, SHAPE, index, PARTS[index])
    spool.sync()


def here(spool: Spool, upload: tuple[str, str] = UPLOAD) -> set[int]:
    return set(range(4)) - set(spool.parts.missing(upload, SHAPE))


def adopted(spool: Spool) -> Place:
    place = spool.adopt(UPLOAD, SHAPE, HEAD)
    spool.sync()
    return place


# parts


def test_parts_lie_where_they_are_to_lie(spool: Spool, folder: Path) -> None:
    put(spool, 3, 0)
    spool.put((UPDATE, OTHER), SHAPE, 1, bytes(300))
    spool.put(("b" * 32, DIGEST), SHAPE, 2, memoryview(PARTS[2]))
    spool.sync()
    again = Spool(folder)
    assert here(again) == {0, 3}
    assert here(again, (UPDATE, OTHER)) == {1}
    assert here(again, ("b" * 32, DIGEST)) == {2}
    assert here(again, ("c" * 32, DIGEST)) == set()
    assert again.parts.missing(UPLOAD) == [1, 2]
    assert again.parts.missing(("c" * 32, DIGEST)) == []
    put(again, 1, 2)
    assert again.parts.view(UPLOAD, SHAPE) == PAYLOAD


@given(st.lists(st.integers(0, 3)), st.integers(0, 20))
def test_parts_in_any_order_and_more_than_once_are_the_payload(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], restart_at: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    for number, index in enumerate(order):
        spool.put(UPLOAD, SHAPE, index, PARTS[index])
        assert here(spool) == set(order[: number + 1])
        if number == restart_at:
            spool.sync()
            spool = Spool(folder)
    spool.sync()
    assert here(spool) == set(order)
    if len(set(order)) == 4:
        assert spool.parts.view(UPLOAD, SHAPE) == PAYLOAD
    spool.close()


def test_a_part_that_is_here_stays_as_it_is(spool: Spool) -> None:
    put(spool, *range(4))
    spool.put(UPLOAD, SHAPE, 0, bytes(300))
    spool.sync()
    assert spool.parts.view(UPLOAD, SHAPE) == PAYLOAD


def test_what_was_put_for_a_transaction_that_failed_is_not_here(spool: Spool) -> None:
    put(spool, 0)
    spool.put(UPLOAD, SHAPE, 1, PARTS[1])
    spool.close()
    assert here(spool) == {0}


def test_a_part_that_the_disk_did_not_take_is_not_here_until_it_comes_again(spool: Spool) -> None:
    put(spool, 0)
    for _ in range(3):
        with files_of_at_most(BODY + 400), pytest.raises(OSError, match="large"):
            spool.put(UPLOAD, SHAPE, 1, PARTS[1])
        with pytest.raises(StoreError, match="close it"):
            spool.put(UPLOAD, SHAPE, 2, PARTS[2])
        spool.close()
        assert here(spool) == {0}
    put(spool, 1, 2, 3)
    assert spool.parts.view(UPLOAD, SHAPE) == PAYLOAD


def test_parts_that_are_cut_otherwise_take_the_place_of_what_was_here(
    spool: Spool, folder: Path
) -> None:
    put(spool, 0, 1)
    shape = Shape(len(PAYLOAD), 500)
    assert spool.parts.missing(UPLOAD, shape) == [0, 1]
    spool.put(UPLOAD, shape, 0, PAYLOAD[:500])
    spool.put(UPLOAD, shape, 1, PAYLOAD[500:])
    spool.sync()
    assert Spool(folder).parts.missing(UPLOAD, shape) == []
    assert here(spool) == set()
    assert spool.parts.view(UPLOAD, shape) == PAYLOAD


def test_a_file_with_bits_of_anything_is_no_upload(spool: Spool, folder: Path) -> None:
    path = folder / "parts" / UPDATE / DIGEST
    path.parent.mkdir(parents=True)
    for content in (b"", b"fmqu", bytes(20_000), b"\xff" * 20_000, b"fmqu" + b"\xff" * 20_000):
        path.write_bytes(content)
        assert spool.parts.uploads(UPDATE) == []
        assert here(spool) == set()
    put(spool, 0)
    assert here(spool) == {0}


def test_more_parts_than_there_are_bits_for_are_refused(spool: Spool) -> None:
    most = Shape(PARTS_MAX, 1)
    spool.put(UPLOAD, most, PARTS_MAX - 1, b"x")
    spool.sync()
    assert spool.parts.count(UPLOAD) == 1
    assert len(spool.parts.missing(UPLOAD, most)) == PARTS_MAX - 1
    with pytest.raises(ValueError, match="parts"):
        spool.put((UPDATE, OTHER), Shape(PARTS_MAX + 1, 1), 0, b"x")


# the folder


def test_uploads_of_an_update_are_known_the_newest_first(spool: Spool, folder: Path) -> None:
    assert spool.parts.uploads(UPDATE) == []
    for number, digest in enumerate((DIGEST, OTHER)):
        put(spool, 0, upload=(UPDATE, digest))
        os.utime(folder / "parts" / UPDATE / digest, (number, number))
    assert spool.parts.uploads(UPDATE) == [OTHER, DIGEST]
    assert sorted(spool.parts.incomplete()) == [((UPDATE, DIGEST), 0.0), ((UPDATE, OTHER), 1.0)]


def test_the_uploads_of_an_update_are_forgotten_together(spool: Spool, folder: Path) -> None:
    for update_id in (UPDATE, "b" * 32):
        put(spool, 0, 1, upload=(update_id, DIGEST))
    spool.put((UPDATE, OTHER), SHAPE, 0, PARTS[0])  # not synced yet
    spool.parts.forget(UPDATE)
    spool.parts.forget(UPDATE)
    spool.sync()
    assert spool.parts.uploads(UPDATE) == []
    assert os.listdir(folder / "parts") == ["b" * 32]
    put(spool, 0)
    assert here(spool) == {0}


def test_one_upload_is_forgotten_and_the_other_stays(spool: Spool, folder: Path) -> None:
    put(spool, 0)
    put(spool, 0, 1, upload=(UPDATE, OTHER))
    spool.parts.forget_one(UPLOAD)
    assert spool.parts.uploads(UPDATE) == [OTHER]
    spool.parts.forget_one((UPDATE, OTHER))
    spool.parts.forget_one((UPDATE, OTHER))
    assert os.listdir(folder / "parts") == []
    put(spool, 2)
    assert here(spool) == {2}


# the message


def test_a_complete_upload_is_a_message_without_a_copy(spool: Spool, folder: Path) -> None:
    put(spool, *range(4))
    inode = (folder / "parts" / UPDATE / DIGEST).stat().st_ino
    place = adopted(spool)
    assert place.length == len(HEAD) + len(PAYLOAD)
    spool.parts.forget(UPDATE)
    message, payload = decode(spool.read(place))
    assert (message, bytes(payload)) == (ABOUT, PAYLOAD)
    assert spool.view(place) == encode(ABOUT, PAYLOAD)
    assert (folder / f"{place.segment:08d}.seg").stat().st_ino == inode
    assert os.listdir(folder / "parts") == []


def test_messages_before_and_after_an_upload_are_of_other_segments(
    spool: Spool, folder: Path
) -> None:
    before = spool.append(b"before")
    for index in range(4):
        spool.put(UPLOAD, SHAPE, index, PARTS[index])
    upload = spool.adopt(UPLOAD, SHAPE, HEAD)
    after = spool.append(b"after")
    spool.sync()
    assert [before.segment, upload.segment, after.segment] == [1, 2, 3]
    again = Spool(folder)
    assert [again.read(place) for place in (before, after)] == [b"before", b"after"]
    assert again.read(upload) == encode(ABOUT, PAYLOAD)
    assert again.append(b"later").segment == 4
    again.close()


def test_an_upload_goes_with_its_segment(spool: Spool, folder: Path) -> None:
    put(spool, *range(4))
    place = adopted(spool)
    spool.parts.forget(UPDATE)
    spool.append(b"next")
    spool.sync()
    view = spool.view(place)
    spool.forget(place.segment + 1)
    assert not (folder / f"{place.segment:08d}.seg").exists()
    assert view == encode(ABOUT, PAYLOAD), "who is reading it reads on"


# files that are written over


def forgotten(spool: Spool, *uploads: tuple[str, str]) -> None:
    """Uploads that were complete, all their bits set, and whose segments are no longer needed."""
    for upload in uploads or (UPLOAD,):
        put(spool, *range(4), upload=upload)
        spool.adopt(upload, SHAPE, HEAD)
        spool.sync()
        spool.parts.forget(upload[0])
    forget_segments(spool)


def forget_segments(spool: Spool) -> None:
    """Another message has come, and what is in segments before its own is not needed."""
    place = spool.append(b"another")
    spool.sync()
    spool.forget(place.segment)


NEXT = "b" * 32, OTHER


def test_a_forgotten_upload_is_written_over_by_the_next_and_none_of_it_is_here(
    spool: Spool, folder: Path
) -> None:
    forgotten(spool)
    (spare,) = (folder / "spares").iterdir()
    number = spare.stat().st_ino
    spool.put(NEXT, SHAPE, 2, bytes(300))
    spool.sync()
    path = folder / "parts" / NEXT[0] / NEXT[1]
    assert path.stat().st_ino == number
    assert list((folder / "spares").iterdir()) == []
    assert here(spool, NEXT) == here(Spool(folder), NEXT) == {2}
    for index in (0, 1, 3):
        spool.put(NEXT, SHAPE, index, bytes(len(PARTS[index])))
    spool.sync()
    assert spool.parts.view(NEXT, SHAPE) == bytes(1000)


def test_as_many_are_kept_as_a_round_has(spool: Spool, folder: Path) -> None:
    forgotten(spool, *((f"{number:032d}", DIGEST) for number in range(3)))
    assert len(list((folder / "spares").iterdir())) == 3


def test_those_of_another_model_give_way(spool: Spool, folder: Path) -> None:
    forgotten(spool)
    (before,) = (folder / "spares").iterdir()
    other = Shape(200_000, 100_000)
    for index in range(2):
        spool.put(NEXT, other, index, bytes(100_000))
    spool.adopt(NEXT, other, HEAD)
    spool.sync()
    assert before.exists(), "it has not the size"
    spool.parts.forget(NEXT[0])
    forget_segments(spool)
    (spare,) = (folder / "spares").iterdir()
    assert spare.stat().st_size == BODY + 200_000


def test_an_upload_that_still_has_its_first_name_stays_all_here(spool: Spool, folder: Path) -> None:
    """Its process ended before its verdict was committed; the segment is dead space."""
    put(spool, *range(4))
    adopted(spool)
    forget_segments(spool)
    assert here(spool) == {0, 1, 2, 3}
    assert spool.parts.view(UPLOAD, SHAPE) == PAYLOAD
    assert list((folder / "spares").iterdir()) == []
    assert not (folder / "00000001.seg").exists()


def test_a_view_of_an_upload_stays_though_it_is_forgotten(spool: Spool) -> None:
    put(spool, *range(4))
    place = adopted(spool)
    spool.parts.forget(UPDATE)
    view = spool.view(place)
    forget_segments(spool)
    spool.put(NEXT, SHAPE, 0, bytes(300))
    spool.sync()
    assert bytes(view) == encode(ABOUT, PAYLOAD)


def test_a_file_whose_bits_cannot_be_taken_away_is_removed(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    put(spool, *range(4))
    adopted(spool)
    spool.parts.forget(UPDATE)
    last = spool.append(b"another")
    spool.sync()
    with monkeypatch.context() as patched:
        patched.setattr("disk.os_disk.OsPages.sync", refuse)
        with pytest.raises(OSError, match="Input/output"):
            spool.forget(last.segment)
    assert list((folder / "spares").iterdir()) == []
    assert not (folder / "00000001.seg").exists()


def test_what_an_end_at_any_moment_left_is_given_back(spool: Spool, folder: Path) -> None:
    forgotten(spool)
    (folder / "spares" / "00000007.seg").write_bytes(b"its bits were being taken away")
    assert len(list((folder / "spares").iterdir())) == 2
    spool.prove(10)
    assert list((folder / "spares").iterdir()) == []


def test_a_larger_file_ends_where_the_upload_does(spool: Spool, folder: Path) -> None:
    forgotten(spool)
    shape = Shape(800, 300)
    spool.put(NEXT, shape, 1, bytes(300))
    spool.sync()
    path = folder / "parts" / NEXT[0] / NEXT[1]
    assert path.stat().st_size == BODY + 800
    assert list((folder / "spares").iterdir()) == []


@pytest.mark.parametrize("seed", range(300))
def test_a_name_that_a_power_cut_gives_back_brings_no_bits_with_it(seed: int) -> None:
    """A spare is taken, its upload complete and forgotten; what is left of its names is taken."""
    rng, platter, last = random.Random(seed), Platter(), ("e" * 32, OTHER)
    forgotten(on(platter))
    platter.cut_power(rng)
    spool = on(platter)
    put(spool, *range(4), upload=NEXT)
    spool.adopt(NEXT, SHAPE, HEAD)
    spool.sync()
    spool.parts.forget(NEXT[0])
    platter.cut_power(rng)
    spool = on(platter)
    forget_segments(spool)
    spool.put(last, SHAPE, 0, PARTS[0])
    platter.cut_power(rng)
    assert here(on(platter), last) == set()


@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_at_any_step_believes_nothing_of_what_is_written_over(seed: int) -> None:
    """Of the next upload in a forgotten one's file nothing is here that is not."""
    rng, zeros = random.Random(seed), [bytes(len(part)) for part in PARTS]
    for step in itertools.count(1):
        platter, mishaps = Platter(), Mishaps()
        spool = on(platter, mishaps)
        mishaps.crash_at = step
        ended, acked = False, set[int]()
        try:
            forgotten(spool)
            for index in rng.sample(range(4), 3):
                spool.put(NEXT, SHAPE, index, zeros[index])
                spool.sync()
                acked.add(index)
            ended = True
        except Crash:
            pass
        platter.end_process(mishaps)
        platter.cut_power(rng)
        again = on(platter)
        found = here(again, NEXT)
        assert acked <= found
        for index in set(range(4)) - found:
            again.put(NEXT, SHAPE, index, zeros[index])
        again.sync()
        assert again.parts.view(NEXT, SHAPE) == bytes(1000)
        if ended:
            return


def test_an_upload_whose_verdict_was_not_committed_is_all_here(spool: Spool, folder: Path) -> None:
    put(spool, 0, 1, 2)
    spool.put(UPLOAD, SHAPE, 3, PARTS[3])
    adopted(spool)
    spool.close()  # the transaction failed
    again = Spool(folder)
    assert here(again) == {0, 1, 2}, "the last was not acked"
    put(again, 3)
    place = adopted(again)
    assert again.read(place) == encode(ABOUT, PAYLOAD)
    again.close()


class OneName(OsDisk):
    """A file system that gives a file one name."""

    def link(self, path: Path, to: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_where_a_file_has_one_name_an_upload_is_moved(folder: Path) -> None:
    spool = Spool(folder, OneName())
    put(spool, *range(4))
    place = adopted(spool)
    assert spool.read(place) == encode(ABOUT, PAYLOAD)
    assert spool.parts.uploads(UPDATE) == []
    spool.close()


# crashes and power cuts


def on(platter: Platter, mishaps: Mishaps | None = None) -> Spool:
    return Spool(Path("/state/spool"), SimulatedDisk(platter, mishaps or Mishaps()))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_part_that_was_acked_outlives_every_crash_and_power_cut(seed: int) -> None:
    """Whatever step the process before ended at: the part comes again, and is acked."""
    for crash_at in itertools.count(1):
        platter, first = Platter(), Mishaps()
        put(on(platter), 1)
        spool = on(platter, first)
        first.crash_at = first.steps + crash_at
        try:
            put(spool, 0)
        except Crash:
            platter.end_process(first)
            after = on(platter)
            assert here(after) >= {1}
            put(after, 0)
        platter.cut_power(random.Random(seed))
        after = on(platter)
        assert here(after) == {0, 1}
        put(after, 2, 3)
        assert after.parts.view(UPLOAD, SHAPE) == PAYLOAD
        if not first.ended:
            assert crash_at > 4, "nothing was tried"
            return


@pytest.mark.parametrize("seed", SEEDS)
def test_a_power_cut_at_any_step_leaves_no_part_that_is_not_there(seed: int) -> None:
    for crash_at in itertools.count(1):
        platter, first = Platter(), Mishaps()
        spool = on(platter, first)
        first.crash_at = crash_at
        acked: set[int] = set()
        with contextlib.suppress(Crash):
            for index in (2, 0, 1, 3):
                put(spool, index)
                acked.add(index)
        platter.end_process(first)
        platter.cut_power(random.Random(seed))
        after = on(platter)
        assert here(after) >= acked
        put(after, *(set(range(4)) - here(after)))
        assert after.parts.view(UPLOAD, SHAPE) == PAYLOAD
        if not first.ended:
            assert crash_at > 16, "nothing was tried"
            return


class OneSyncFails(Mishaps):
    """One sync fails, with so many good ones before it."""

    good: float = float("inf")

    def sync_fails(self, step: str) -> bool:
        self.good -= 1
        return self.good == -1


@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_sync_that_failed_a_part_is_written_again(seed: int) -> None:
    """The system believes what it lost to be on disk, and shows it."""
    for good in itertools.count():
        platter, mishaps = Platter(), OneSyncFails()
        spool = on(platter, mishaps)
        put(spool, 3)
        mishaps.good = good
        failed = False
        try:
            put(spool, 0)
        except OSError:
            failed = True
            spool.close()
            put(spool, 0)  # the broker delivers it again
        platter.cut_power(random.Random(seed))
        after = on(platter)
        assert here(after) >= {0, 3}
        put(after, 1, 2)
        assert after.parts.view(UPLOAD, SHAPE) == PAYLOAD
        if not failed:
            assert good > 1, "nothing was tried"
            return


@pytest.mark.parametrize("seed", SEEDS)
def test_an_upload_that_the_ledger_names_outlives_a_power_cut(seed: int) -> None:
    platter = Platter()
    spool = on(platter)
    put(spool, 0, 1)
    spool.append(b"another")
    spool.put(UPLOAD, SHAPE, 2, PARTS[2])
    spool.put(UPLOAD, SHAPE, 3, PARTS[3])
    place = adopted(spool)
    spool.parts.forget(UPDATE)
    platter.cut_power(random.Random(seed))
    assert on(platter).read(place) == encode(ABOUT, PAYLOAD)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crash_at_any_step_of_the_end_of_an_upload_loses_none_of_it(seed: int) -> None:
    for crash_at in itertools.count(1):
        platter, first = Platter(), Mishaps()
        put(on(platter), *range(4))
        spool = on(platter, first)
        first.crash_at = first.steps + crash_at
        with contextlib.suppress(Crash):
            adopted(spool)
        platter.end_process(first)
        if seed % 2:
            platter.cut_power(random.Random(seed))
        after = on(platter)
        assert here(after) == {0, 1, 2, 3}
        assert after.read(adopted(after)) == encode(ABOUT, PAYLOAD)
        if not first.ended:
            assert crash_at > 3, "nothing was tried"
            return
