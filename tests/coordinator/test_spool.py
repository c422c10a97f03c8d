"""The spool gives back what was synced, and goes on after a write that failed."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import NotKept, StoreError
from coordinator.records import Place
from coordinator.spool import SPARE_SEGMENTS, Spool
from disk import OsDisk
from simulation.disk import SimulatedDisk
from simulation.mishaps import Mishaps
from simulation.platter import Platter

UPDATE, DIGEST = "a" * 32, "d" * 64


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


def kept(spool: Spool, message: bytes) -> Place:
    place = spool.append(message)
    spool.sync()
    return place


# messages


def test_messages_come_back_from_their_places(spool: Spool) -> None:
    messages = [b"one", b"", b"three" * 5000, b"\0\n"]
    places = [spool.append(message) for message in messages]
    spool.sync()
    assert [spool.read(place) for place in places] == messages
    assert [spool.read(place) for place in reversed(places)] == messages[::-1]


def test_a_message_may_be_any_kind_of_bytes(spool: Spool) -> None:
    places = [spool.append(kind(b"xyz")) for kind in (bytes, bytearray, memoryview)]
    spool.sync()
    assert [spool.read(place) for place in places] == [b"xyz"] * 3


def test_nothing_to_sync_is_no_error(spool: Spool) -> None:
    spool.sync()
    kept(spool, b"x")
    spool.sync()


def test_a_spool_opened_again_goes_on_in_another_segment(spool: Spool, folder: Path) -> None:
    first = kept(spool, b"first")
    spool.close()
    again = Spool(folder)
    second = kept(again, b"second")
    assert second == Place(2, 0, 6)
    assert [again.read(first), again.read(second)] == [b"first", b"second"]
    again.close()


def test_a_closed_spool_is_opened_by_the_next_message(spool: Spool) -> None:
    first = kept(spool, b"first")
    spool.close()
    spool.close()
    assert spool.read(first) == b"first"
    assert spool.read(kept(spool, b"second")) == b"second"


def test_a_tail_torn_by_a_crash_is_dead_space(spool: Spool, folder: Path) -> None:
    first = kept(spool, b"first")
    spool.close()
    with (folder / "00000001.seg").open("ab") as file:
        file.write(b"half a mess")
    again = Spool(folder)
    second = kept(again, b"second")
    assert [again.read(first), again.read(second)] == [b"first", b"second"]
    again.close()


def test_a_full_segment_is_followed_by_another(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=10)
    places = [kept(spool, b"123456") for _ in range(5)]
    assert [place.segment for place in places] == [1, 1, 2, 2, 3]
    assert all(spool.read(place) == b"123456" for place in places)
    spool.close()
    again = Spool(folder, segment_bytes=10)
    assert [kept(again, b"12345").segment for _ in range(3)] == [4, 4, 5]
    again.close()


@given(steps=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=20))
def test_messages_come_back_over_segments_and_restarts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, segment_bytes=40)
    messages = {}
    for number, (size, restart) in enumerate(steps):
        message = bytes([number]) * size
        messages[spool.append(message)] = message
        if restart:
            spool.sync()
            spool.close()
            spool = Spool(folder, segment_bytes=40)
    spool.sync()
    assert all(spool.read(place) == message for place, message in messages.items())
    spool.close()


def test_a_message_that_is_not_there_is_an_error_of_one_line(spool: Spool, folder: Path) -> None:
    place = kept(spool, b"first")
    with pytest.raises(StoreError, match="cut"):
        spool.read(Place(1, 0, 6))
    with pytest.raises(StoreError, match="cut"):
        spool.read(Place(1, 99, 1))
    with pytest.raises(StoreError, match="gone"):
        spool.read(Place(2, 0, 1))
    os.truncate(folder / "00000001.seg", 3)
    with pytest.raises(StoreError, match="expected 5 bytes at 0"):
        spool.read(place)


def test_old_segments_are_forgotten_but_never_the_one_in_use(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=1)
    places = [kept(spool, b"x") for _ in range(4)]
    spool.forget(3)
    assert sorted(path.name for path in folder.glob("0*.seg")) == ["00000003.seg", "00000004.seg"]
    spool.forget(99)
    assert spool.read(places[3]) == b"x"
    with pytest.raises(StoreError, match="gone"):
        spool.read(places[2])
    spool.close()


def test_a_segment_number_is_never_used_again(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=1)
    for _ in range(3):
        kept(spool, b"x")
    spool.forget(99)
    spool.close()
    again = Spool(folder, segment_bytes=1)
    assert kept(again, b"y").segment == 4
    again.close()


# segments that are written over


def written_over(folder: Path) -> tuple[Spool, Place, int]:
    """A spool whose second segment is written over the first; a place in that, and which file."""
    spool = Spool(folder, segment_bytes=10)
    first = kept(spool, b"0123456789")
    kept(spool, b"x" * 10)
    number = (folder / "00000001.seg").stat().st_ino
    spool.forget(2)
    return spool, first, number


def test_a_forgotten_segment_becomes_the_next_one(folder: Path) -> None:
    spool, first, number = written_over(folder)
    third = kept(spool, b"abc")
    segment = folder / "00000003.seg"
    assert segment.stat().st_ino == number
    assert segment.read_bytes() == b"abc3456789", "dead space behind what was written"
    assert third == Place(3, 0, 3)
    fourth = kept(spool, b"defghij")
    assert [spool.read(third), spool.read(fourth)] == [b"abc", b"defghij"]
    with pytest.raises(NotKept):
        spool.read(first)
    with pytest.raises(NotKept):
        spool.view(first)
    spool.close()


def test_what_a_segment_had_before_goes_when_it_is_closed(folder: Path) -> None:
    spool, *_ = written_over(folder)
    kept(spool, b"abc")
    spool.close()
    assert (folder / "00000003.seg").read_bytes() == b"abc"
    again = kept(spool, b"de")
    assert again == Place(3, 3, 2)
    spool.close()


def test_what_a_segment_had_before_goes_when_it_is_full(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=10)
    for message in (b"0123456789" * 2, b"x" * 10):
        kept(spool, message)
    spool.forget(2)
    for message in (b"abcdefghijkl", b"y"):
        kept(spool, message)
    assert (folder / "00000003.seg").read_bytes() == b"abcdefghijkl"
    spool.close()


def test_a_process_that_is_killed_leaves_what_a_segment_had_before_as_dead_space(
    folder: Path,
) -> None:
    spool, *_ = written_over(folder)
    third = kept(spool, b"abc")
    again = Spool(folder, segment_bytes=10)
    fourth = kept(again, b"de")
    assert fourth == Place(4, 0, 2)
    assert [again.read(third), again.read(fourth)] == [b"abc", b"de"]
    again.close()
    spool.close()


def test_a_view_of_a_segment_stays_though_it_is_forgotten(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=10)
    first = kept(spool, b"0123456789")
    kept(spool, b"x" * 10)
    view = spool.view(first)
    spool.forget(2)
    third = kept(spool, b"abc")
    assert bytes(view) == b"0123456789"
    assert spool.read(third) == b"abc"
    spool.close()


def test_a_view_of_a_segment_that_was_written_over_stays_too(folder: Path) -> None:
    """Seen while the segment is still appended to."""
    spool, *_ = written_over(folder)
    third = kept(spool, b"abcdefghij")
    view = spool.view(third)
    kept(spool, b"x" * 10)
    for number in (3, 4):
        spool.forget(number)
        kept(spool, b"y" * 10)
    assert bytes(view) == b"abcdefghij"
    spool.close()


def test_on_a_disk_that_takes_no_more_what_is_kept_is_given_back(folder: Path) -> None:
    spool, *_ = written_over(folder)
    assert list(folder.glob(".spare-*"))
    spool.prove(10)
    assert not list(folder.glob(".spare-*"))
    kept(spool, b"abc")
    spool.close()


def test_all_segments_that_a_round_forgets_are_written_over(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=10)
    for letter in b"abcd":
        kept(spool, bytes([letter]) * 10)
    spool.forget(4)
    assert len(list(folder.glob(".spare-*"))) == 3
    for count, letter in enumerate(b"efg"):
        kept(spool, bytes([letter]) * 10)
        assert len(list(folder.glob(".spare-*"))) == 2 - count
    spool.close()


def test_a_segment_that_somebody_reads_keeps_no_other_from_being_written_over(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=10)
    first, *_ = [kept(spool, bytes([letter]) * 10) for letter in b"abcd"]
    view = spool.view(first)
    spool.forget(4)
    for letter in b"efg":
        kept(spool, bytes([letter]) * 10)
    assert len(list(folder.glob(".spare-*"))) == 1
    assert bytes(view) == b"a" * 10
    del view
    kept(spool, b"h" * 10)
    assert not list(folder.glob(".spare-*"))
    spool.close()


def test_what_an_earlier_process_kept_is_forgotten_too(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=10)
    for _ in range(4):
        kept(spool, b"x" * 10)
    spool.forget(3)
    spool.close()
    again = Spool(folder, segment_bytes=10)
    assert again.has_older
    again.forget(4)
    assert not again.has_older
    assert [path.name for path in folder.glob("0*.seg")] == ["00000004.seg"]
    again.close()


def test_of_many_segments_that_are_forgotten_some_are_kept(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=10)
    for _ in range(SPARE_SEGMENTS + 3):
        kept(spool, b"x" * 10)
    spool.forget(SPARE_SEGMENTS + 3)
    assert len(list(folder.glob(".spare-*"))) == SPARE_SEGMENTS
    spool.close()


def test_a_number_that_no_file_got_is_not_used_up(folder: Path) -> None:
    """Or all segments could be forgotten, and the next process would begin at the first again."""
    spool = Spool(folder, segment_bytes=1)
    first = kept(spool, b"x")
    (folder / "00000002.seg").mkdir()
    with pytest.raises(OSError, match="directory"):
        spool.append(b"y")
    spool.close()
    spool.forget(99)
    assert spool.read(first) == b"x"


def test_the_folder_is_synced_before_a_segment_is_written_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, *_ = written_over(folder)
    found: list[bytes] = []

    def look(_: OsDisk, path: Path) -> None:
        if path == folder:
            found.append((folder / "00000003.seg").read_bytes())

    monkeypatch.setattr(OsDisk, "sync_folder", look)
    kept(spool, b"abc" * 100_000)
    assert found == [b"0123456789"], "else a power cut may give it back the name of what it was"
    spool.close()


# writes that fail


def test_a_write_that_was_cut_takes_no_room_and_the_next_one_goes_in_its_place(
    spool: Spool, folder: Path
) -> None:
    segment = folder / "00000001.seg"
    first = kept(spool, b"first")
    for _ in range(3):
        spool.append(b"second")
        with files_of_at_most(20_000), pytest.raises(OSError, match="large"):
            spool.append(b"x" * 100_000)
        spool.close()
        assert segment.read_bytes() == b"first", "each try would eat what room is left"
    again = kept(spool, b"y" * 100_000)
    assert again.place == 5
    assert [spool.read(first), spool.read(again)] == [b"first", b"y" * 100_000]


def test_what_was_appended_for_a_transaction_that_failed_takes_no_room(
    spool: Spool, folder: Path
) -> None:
    kept(spool, b"first")
    spool.append(b"of a row that could not be written")
    spool.close()
    assert (folder / "00000001.seg").read_bytes() == b"first"


def test_what_was_there_when_the_segment_was_opened_is_never_cut(
    spool: Spool, folder: Path
) -> None:
    first = kept(spool, b"first")
    spool.close()
    again = Spool(folder)
    with files_of_at_most(20_000), pytest.raises(OSError, match="large"):
        again.append(b"x" * 100_000)
    again.close()
    assert spool.read(first) == b"first"


def test_a_segment_that_was_left_when_it_was_full_is_never_cut(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=10)
    unsynced = spool.append(b"0123456789")
    with files_of_at_most(20_000), pytest.raises(OSError, match="large"):
        spool.append(b"x" * 100_000)
    spool.close()
    assert spool.read(unsynced) == b"0123456789", "it was synced when the next one was begun"
    assert (folder / "00000002.seg").read_bytes() == b""
    spool.close()


def test_a_tail_that_cannot_be_cut_is_dead_space(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    kept(spool, b"first")
    with monkeypatch.context() as patched:
        patched.setattr(OsDisk, "truncate", refuse, raising=False)
        spool.append(b"tail")
        spool.close()
    again = kept(spool, b"again")
    assert again.place == 9
    assert spool.read(again) == b"again"


def test_small_messages_that_do_not_reach_the_disk_fail_the_sync(spool: Spool) -> None:
    first = kept(spool, b"first")
    with files_of_at_most(10):
        spool.append(b"one")
        spool.append(b"two and more")
        with pytest.raises(OSError, match="large"):
            spool.sync()
        spool.close()
    assert spool.read(first) == b"first"
    again = kept(spool, b"again")
    assert spool.read(again) == b"again"


def test_after_a_failed_write_nothing_more_is_taken_until_it_is_closed(spool: Spool) -> None:
    spool.append(b"never synced")
    with files_of_at_most(20_000), pytest.raises(OSError, match="large"):
        spool.append(b"x" * 100_000)
    with pytest.raises(StoreError, match="close it"):
        spool.append(b"y")
    with pytest.raises(StoreError, match="close it"):
        spool.sync()
    spool.close()
    spool.sync()
    assert spool.read(kept(spool, b"y")) == b"y"


def test_a_sync_that_failed_is_not_tried_again(spool: Spool, folder: Path) -> None:
    # The kernel may tell of a lost write once and then forget it. No fsync reaches /dev/null.
    segment = folder / "00000001.seg"
    segment.symlink_to("/dev/null")
    spool.append(b"lost")
    with pytest.raises(OSError, match="Invalid argument"):
        spool.sync()
    with pytest.raises(StoreError, match="close it"):
        spool.sync()
    spool.close()
    segment.unlink()
    assert spool.read(kept(spool, b"kept")) == b"kept"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a device of Linux")
def test_a_full_disk_is_an_error_until_there_is_room(spool: Spool, folder: Path) -> None:
    segment = folder / "00000001.seg"
    segment.symlink_to("/dev/full")
    for _ in range(3):
        spool.append(b"no room")
        with pytest.raises(OSError, match="No space"):
            spool.sync()
        spool.close()
    segment.unlink()
    assert spool.read(kept(spool, b"room")) == b"room"


def test_a_segment_that_cannot_be_opened_fails_and_can_be_later(folder: Path) -> None:
    spool = Spool(folder, segment_bytes=10**6)
    kept(spool, bytes(10**6))
    (folder / "00000002.seg").mkdir()
    with pytest.raises(IsADirectoryError):
        spool.append(b"y")
    spool.close()
    (folder / "00000002.seg").rmdir()
    assert spool.read(kept(spool, b"y")) == b"y"
    spool.close()


# power cuts


@pytest.mark.parametrize("seed", range(10))
def test_what_was_synced_outlives_a_power_cut(seed: int) -> None:
    platter, folder = Platter(), Path("/state/spool")
    spool = Spool(folder, on(platter), segment_bytes=8)  # the second is of another segment
    places = [kept(spool, message) for message in (b"the first", b"the second")]
    platter.cut_power(random.Random(seed))
    after = Spool(folder, on(platter), segment_bytes=8)
    assert [after.read(place) for place in places] == [b"the first", b"the second"]


@pytest.mark.parametrize("seed", range(10))
def test_one_sync_is_for_all_segments_that_were_filled_since_the_last(seed: int) -> None:
    platter, folder = Platter(), Path("/state/spool")
    spool = Spool(folder, on(platter), segment_bytes=8)
    messages = (b"the first", b"the second", b"the third")
    places = [spool.append(message) for message in messages]
    spool.sync()
    platter.cut_power(random.Random(seed))
    after = Spool(folder, on(platter), segment_bytes=8)
    assert [after.read(place) for place in places] == list(messages)


@pytest.mark.parametrize("seed", range(10))
def test_what_was_written_over_a_segment_outlives_a_power_cut(seed: int) -> None:
    platter, folder = Platter(), Path("/state/spool")
    spool = Spool(folder, on(platter), segment_bytes=8)
    for message in (b"the first", b"the second", b"the third"):
        kept(spool, message)
    spool.forget(3)
    assert len([name for name in on(platter).names(folder) if name.startswith(".spare")]) == 2
    messages = (b"the fourth", b"the fifth")
    places = [kept(spool, message) for message in messages]
    platter.cut_power(random.Random(seed))
    after = Spool(folder, on(platter), segment_bytes=8)
    assert [after.read(place) for place in places] == list(messages)


def on(platter: Platter, mishaps: Mishaps | None = None) -> SimulatedDisk:
    return SimulatedDisk(platter, mishaps or Mishaps())
