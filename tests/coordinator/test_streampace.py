"""Where the broker begins a segment is known soon, whatever it makes of what is written."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.streampace import STEPS, StreamPace

SEGMENT = 1_000_000


@dataclass
class Found:
    """What became of some segments.

    Attributes:
        in_vain: Versions whose place was not known.
    """

    versions: int = 0
    in_vain: int = 0
    looks: int = 0


def written(pace: StreamPace, size: int, true_size: int, filled: int, segments: int) -> list[Found]:
    """Write versions, of which the broker makes something else; what came of each segment."""
    found, unseen = [Found()], 0
    while len(found) <= segments:
        if filled >= SEGMENT:  # this version begins one
            filled, unseen = 0, unseen + 1
            found.append(Found())
        else:
            found[-1].in_vain += unseen > 0
        filled += true_size
        found[-1].versions += 1
        pace.wrote(size)
        if pace.is_due:
            found[-1].looks += 1
            pace.looked(unseen)
            unseen = 0
    return found[:segments]


@given(
    size=st.integers(1_000, 60_000),
    ratio=st.floats(0.7, 1.4),
    filled=st.floats(0, 1),
    is_new=st.booleans(),
)
def test_segments_are_kept_pace_with(size: int, ratio: float, filled: float, is_new: bool) -> None:
    at = 0 if is_new else int(filled * SEGMENT)
    found = written(StreamPace(SEGMENT, is_new=is_new), size, int(ratio * size), at, 30)
    after = found[14:]
    versions = sum(each.versions for each in after)
    assert sum(each.in_vain for each in after) <= versions * 2 / STEPS + len(after)
    assert sum(each.looks for each in after) <= 6 * len(after)


@pytest.mark.parametrize("filled", [0.1, 0.5, 0.9])
def test_after_a_restart_no_more_than_a_segment_is_looked_for(filled: float) -> None:
    size = SEGMENT // 100
    first, *later = written(StreamPace(SEGMENT, is_new=False), size, size, int(filled * SEGMENT), 6)
    assert first.looks <= STEPS
    assert max(each.in_vain for each in later) <= 100 * 2 / STEPS
    assert max(each.looks for each in later[1:]) <= 4


@pytest.mark.parametrize("ratio", [1.2, 1.4])
def test_a_first_guess_that_is_far_too_large_is_made_good_soon(ratio: float) -> None:
    size = SEGMENT // 100
    found = written(StreamPace(SEGMENT, is_new=True), size, int(ratio * size), 0, 16)
    assert sum(each.in_vain for each in found) <= sum(each.versions for each in found) / 16
    assert sum(each.looks for each in found) <= 6 * len(found)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_of_versions_larger_than_a_segment_each_is_looked_for(parts: int) -> None:
    pace = StreamPace(SEGMENT, is_new=True)
    for _ in range(10):
        pace.wrote(parts * SEGMENT)
        assert pace.is_due
        pace.looked(parts)


@given(st.integers(1, 10**12), st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 9))))
def test_whatever_is_found_it_goes_on(segment: int, events: list[tuple[int, int]]) -> None:
    pace = StreamPace(segment, is_new=False)
    for size, begun in events:
        pace.wrote(size)
        if pace.is_due:
            pace.looked(begun)
            assert not pace.is_due, "one look for one version"
    pace.wrote(3 * segment)
    assert pace.is_due
