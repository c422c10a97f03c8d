"""Which uploads may take room: those admitted can be completed, and nothing stays for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.uploads import DIGESTS_MAX, SILENT_S, Admission, Upload, Uploads

DAY_S = 86_400.0
A, B, C = ("a", "1"), ("b", "1"), ("c", "1")


def test_what_nobody_added_to_is_forgotten() -> None:
    uploads = Uploads(10, DAY_S)
    uploads.add(A, 0.0)
    uploads.add(B, 0.0)
    uploads.add(A, 5.0)
    assert uploads.expire(DAY_S - 0.1) == []
    assert uploads.expire(DAY_S) == [B]
    assert uploads.expire(DAY_S + 5.0) == [A]
    assert len(uploads) == 0


def test_what_was_on_disk_keeps_its_age() -> None:
    uploads = Uploads(10, DAY_S, [(A, 50.0), (B, 10.0)])
    assert uploads.expire(DAY_S + 10.0) == [B]


def test_where_there_is_no_room_a_further_one_is_not_taken() -> None:
    uploads = Uploads(2, DAY_S)
    uploads.add(A, 0.0)
    uploads.add(B, 0.0)
    assert uploads.add(C, SILENT_S - 1) == Admission(False)
    assert uploads.add(A, SILENT_S - 1) == Admission(True)
    assert uploads.add(B, SILENT_S - 1) == Admission(True)


def test_the_stalest_that_fell_silent_gives_way() -> None:
    uploads = Uploads(2, DAY_S)
    uploads.add(A, 0.0)
    uploads.add(B, 0.0)
    uploads.add(A, 1.0)
    assert uploads.add(C, SILENT_S) == Admission(True, (B,))
    assert uploads.add(B, SILENT_S) == Admission(False)


def test_one_that_is_complete_makes_room() -> None:
    uploads = Uploads(1, DAY_S)
    uploads.add(A, 0.0)
    uploads.forget("a")
    assert uploads.add(B, 0.0) == Admission(True)


def test_one_update_has_room_for_two_payloads() -> None:
    uploads = Uploads(10, DAY_S)
    assert uploads.add(("a", "1"), 0.0) == Admission(True)
    assert uploads.add(("a", "2"), 1.0) == Admission(True)
    assert uploads.add(("a", "3"), 2.0) == Admission(True, (("a", "1"),))
    uploads.forget("a")
    assert len(uploads) == 0


def test_a_smaller_bound_lets_the_stalest_go() -> None:
    uploads = Uploads(1, DAY_S, [(A, 3.0), (B, 1.0), (C, 2.0)])
    assert uploads.expire(4.0) == [B, C]


def test_those_admitted_are_completed_however_many_others_come() -> None:
    """Six at a time through room for two, a part each in turn: none is pushed out by another."""
    uploads, now, parts = Uploads(2, DAY_S), 0.0, 5
    left = {(f"u{number}", "1"): parts for number in range(6)}
    for _ in range(100):
        for upload in list(left):
            now += 1.0
            if uploads.add(upload, now).taken:
                left[upload] -= 1
                if left[upload] == 0:
                    uploads.forget(upload[0])
                    del left[upload]
    assert not left


uploads_of = st.tuples(st.sampled_from("abcdef"), st.sampled_from("123"))


@given(
    most=st.integers(1, 5),
    steps=st.lists(st.tuples(uploads_of, st.floats(0.0, 2 * SILENT_S)), max_size=60),
    forgotten=st.sets(st.integers(0, 60)),
)
def test_there_are_never_more_than_there_is_room_for(
    most: int, steps: list[tuple[Upload, float]], forgotten: set[int]
) -> None:
    uploads, now = Uploads(most, 3 * SILENT_S), 0.0
    there: set[Upload] = set()
    for number, (upload, passed) in enumerate(steps):
        now += passed
        there -= set(uploads.expire(now))
        admission = uploads.add(upload, now)
        assert upload not in admission.gone
        assert set(admission.gone) <= there
        there -= set(admission.gone)
        if admission.taken:
            there.add(upload)
        if number in forgotten:
            uploads.forget(upload[0])
            there = {each for each in there if each[0] != upload[0]}
        assert len(uploads) == len(there) <= most
        for update_id in "abcdef":
            assert sum(each[0] == update_id for each in there) <= DIGESTS_MAX
