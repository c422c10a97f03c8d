"""A layout is canonical, and its digest names it."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import LayoutError
from schemas.layout import DTYPES, FLOATS, Entry, Layout, Rule
from tests.schemas.strategies import TEXTS, is_name

BATCH_NORM = (
    Entry("bn.weight", "float32", (8,), "mean"),
    Entry("bn.bias", "float32", (8,), "mean"),
    Entry("bn.running_mean", "float32", (8,), "mean"),
    Entry("bn.num_batches_tracked", "int64", (), "max"),
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    dtype = draw(st.sampled_from(list(DTYPES)))
    rules: list[Rule] = ["mean"] if dtype in FLOATS else ["keep", "max"]
    rule = draw(st.sampled_from(rules))
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=3)))
    return Entry(draw(TEXTS.filter(is_name)), dtype, shape, rule)


@st.composite
def entry_lists(draw: st.DrawFn) -> list[Entry]:
    drawn = draw(st.lists(entries(), max_size=8, unique_by=lambda entry: entry.name))
    return [*drawn, Entry("the floats'", "float32", (3, 5), "mean")]


@given(st.data())
def test_the_order_of_entries_makes_no_difference(data: st.DataObject) -> None:
    entries = data.draw(entry_lists())
    shuffled = data.draw(st.permutations(entries))
    assert Layout.of(shuffled) == Layout.of(entries)
    assert Layout.of(shuffled).digest == Layout.of(entries).digest


@given(entry_lists())
def test_no_two_arrays_overlap_and_none_leaves_the_buffer(entries: list[Entry]) -> None:
    layout = Layout.of(entries)
    spans = [
        (offset, offset + entry.count * DTYPES[entry.dtype])
        for entry, offset in zip(layout.entries, layout.offsets(), strict=True)
        if entry.count
    ]
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(sorted(spans)))
    assert max(end for _, end in spans) == layout.num_bytes


@given(entry_lists())
def test_every_number_lies_at_a_multiple_of_its_size(entries: list[Entry]) -> None:
    layout = Layout.of(entries)
    for entry, offset in zip(layout.entries, layout.offsets(), strict=True):
        assert offset % DTYPES[entry.dtype] == 0


@given(entry_lists())
def test_segments_lie_without_a_gap_in_the_order_of_dtypes(entries: list[Entry]) -> None:
    layout = Layout.of(entries)
    segments, end = layout.segments, 0
    for segment in segments:
        assert segment.offset == end
        end += segment.count * DTYPES[segment.dtype]
    assert end == layout.num_bytes == sum(e.count * DTYPES[e.dtype] for e in entries)
    dtypes = [segment.dtype for segment in segments]
    assert dtypes == [dtype for dtype in DTYPES if dtype in dtypes]
    assert sum(segment.count for segment in segments) == sum(entry.count for entry in entries)


@given(entry_lists())
def test_an_update_holds_float32_of_each_float_and_what_is_maxed(entries: list[Entry]) -> None:
    layout = Layout.of(entries)
    floats = sum(entry.count for entry in entries if entry.rule == "mean")
    maxed = sum(entry.count * DTYPES[entry.dtype] for entry in entries if entry.rule == "max")
    assert layout.num_floats == floats
    assert layout.update_bytes == 4 * floats + maxed
    assert {entry.name for entry in layout.maxed} == {e.name for e in entries if e.rule == "max"}


@given(entry_lists(), entry_lists())
def test_digests_are_equal_exactly_if_the_entries_are(one: list[Entry], other: list[Entry]) -> None:
    same = Layout.of(one).entries == Layout.of(other).entries
    assert (Layout.of(one).digest == Layout.of(other).digest) == same


@pytest.mark.parametrize(
    "changed",
    [
        Entry("bn.num_batches", "int64", (), "max"),
        Entry("bn.num_batches_tracked", "int32", (), "max"),
        Entry("bn.num_batches_tracked", "int64", (1,), "max"),
        Entry("bn.num_batches_tracked", "int64", (), "keep"),
    ],
)
def test_a_digest_changes_with_name_dtype_shape_and_rule(changed: Entry) -> None:
    assert Layout.of([*BATCH_NORM[:-1], changed]).digest != Layout.of(BATCH_NORM).digest


def test_a_name_cannot_be_made_to_look_like_two_entries() -> None:
    two = [Entry("a", "float32", (1,), "mean"), Entry("b", "float32", (1,), "mean")]
    one = [Entry("a\0float32\0(1,)\0mean\nb", "float32", (1,), "mean")]
    assert Layout.of(one).digest != Layout.of(two).digest


def test_a_digest_is_the_same_in_every_process_and_release() -> None:
    assert Layout.of(BATCH_NORM).digest == (
        "40bd730b78989775892248c435d3e7a5a79cbb2d587fa0d30bc6dda793d27864"
    )


def test_a_scalar_is_one_number_and_an_empty_array_none() -> None:
    assert Entry("a", "float32", (), "mean").count == 1
    assert Entry("a", "float32", (3, 0), "mean").count == 0


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(LayoutError, match="twice"):
        Layout.of([Entry("a", "float32", (), "mean"), Entry("a", "int64", (), "keep")])


@pytest.mark.parametrize(
    "entries",
    [[], [Entry("a", "int64", (3,), "keep")], [Entry("a", "float32", (0,), "mean")]],
)
def test_a_layout_without_a_float_to_learn_is_refused(entries: list[Entry]) -> None:
    with pytest.raises(LayoutError, match="at least one array of floats"):
        Layout.of(entries)


@pytest.mark.parametrize("dtype", ["complex64", "float128", "object", "", "Float32"])
def test_a_dtype_that_parameters_cannot_have_is_refused(dtype: str) -> None:
    with pytest.raises(LayoutError, match="expected a dtype"):
        Entry("a", dtype, (), "mean")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", get_args(Rule))
def test_floats_are_averaged_and_only_they(dtype: str, rule: Rule) -> None:
    if (dtype in FLOATS) == (rule == "mean"):
        assert Entry("a", dtype, (), rule).rule == rule
    else:
        with pytest.raises(LayoutError, match="is not for"):
            Entry("a", dtype, (), rule)


@pytest.mark.parametrize("name", ["__metadata__", "half \ud800 of a pair"])
def test_a_name_that_no_file_could_hold_is_refused(name: str) -> None:
    with pytest.raises(LayoutError, match="name"):
        Entry(name, "float32", (), "mean")
