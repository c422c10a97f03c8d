"""Arrays lie in one flat buffer and come back, and an update is the difference of two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.digest import digest_of
from schemas.errors import LayoutError
from schemas.layout import DTYPES, FLOATS, Entry, Layout
from schemas.tensors import (
    BFLOAT16,
    Array,
    add_to,
    apply_update,
    as_float32,
    dtype_name,
    flatten,
    layout_of,
    require,
    segment_view,
    unflatten,
    update_between,
    update_floats,
    update_maxed,
)
from tests.schemas.strategies import arrays_of, parameter_sets

NUMPY: dict[str, Any] = {name: BFLOAT16 if name == "bfloat16" else name for name in DTYPES}


def bfloat16(*numbers: float) -> Array:
    """The given numbers as bfloat16; they must need no rounding."""
    bits = np.array(numbers, "<f4").view("<u4")
    assert not np.any(bits & 0xFFFF)
    return (bits >> 16).astype("<u2").view(BFLOAT16)


def same_bits(one: Array, other: Array) -> bool:
    same: bool = one.dtype == other.dtype and one.shape == other.shape
    return same and one.tobytes() == other.tobytes()


@given(parameter_sets())
def test_arrays_come_back_from_the_flat_buffer_bit_for_bit(arrays: dict[str, Array]) -> None:
    layout = layout_of(arrays)
    back = unflatten(flatten(arrays, layout), layout)
    assert back.keys() == arrays.keys()
    assert all(same_bits(back[name], arrays[name]) for name in arrays)


@given(st.data())
def test_the_order_of_names_changes_neither_layout_nor_buffer(data: st.DataObject) -> None:
    arrays = data.draw(parameter_sets())
    shuffled = dict(data.draw(st.permutations(list(arrays.items()))))
    layout = layout_of(arrays)
    assert layout_of(shuffled) == layout
    assert flatten(shuffled, layout) == flatten(arrays, layout)


@given(parameter_sets())
def test_the_buffer_has_no_bytes_but_numbers_and_zeros_between_segments(
    arrays: dict[str, Array],
) -> None:
    layout = layout_of(arrays)
    buffer = flatten(arrays, layout)
    assert len(buffer) == layout.num_bytes
    for view in unflatten(buffer, layout).values():
        view[...] = np.zeros((), view.dtype)
    assert not any(buffer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (2, 3)])
@given(data=st.data())
def test_every_dtype_and_shape_is_held(
    dtype: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    arrays = {"it": data.draw(arrays_of(dtype, shape)), "w": np.ones(1, np.float32)}
    layout = layout_of(arrays)
    entry = next(entry for entry in layout.entries if entry.name == "it")
    assert (entry.dtype, entry.shape) == (dtype, shape)
    assert same_bits(unflatten(flatten(arrays, layout), layout)["it"], arrays["it"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_of_the_other_byte_order_is_the_same_numbers(dtype: str) -> None:
    bits = np.arange(6, dtype=f"<u{DTYPES[dtype]}").reshape(2, 3)
    here = bits.astype(bool) if dtype == "bool" else bits.view(NUMPY[dtype])
    swapped = here.byteswap().view(here.dtype.newbyteorder(">"))
    assert dtype_name(swapped) == dtype
    arrays = {"it": here, "w": np.ones(1, np.float32)}
    layout = layout_of(arrays)
    assert layout_of({**arrays, "it": swapped}) == layout
    assert flatten({**arrays, "it": swapped}, layout) == flatten(arrays, layout)


def test_arrays_that_are_not_contiguous_are_laid_out_by_index() -> None:
    numbers = np.arange(24, dtype=np.float32).reshape(4, 6)
    for view in (numbers.T, numbers[::2, ::-1], np.asfortranarray(numbers), numbers[:, 2]):
        layout = layout_of({"w": view})
        assert bytes(flatten({"w": view}, layout)) == view.tobytes()


def test_views_of_a_buffer_that_cannot_be_written_cannot_either() -> None:
    layout = layout_of({"w": np.ones(3, np.float32)})
    buffer = flatten({"w": np.ones(3, np.float32)}, layout)
    unflatten(buffer, layout)["w"][0] = 5
    assert unflatten(bytes(buffer), layout)["w"].tolist() == [5, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        unflatten(bytes(buffer), layout)["w"][0] = 6


@pytest.mark.parametrize("wrong", [-1, 1, 64])
def test_a_buffer_of_another_size_is_refused(wrong: int) -> None:
    layout = layout_of({"w": np.ones(16, np.float32)})
    with pytest.raises(LayoutError, match=f"64 bytes, came {64 + wrong}"):
        unflatten(bytes(64 + wrong), layout)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "missing"),
        ({"w": np.ones(3, np.float32), "x": np.ones(1)}, "not expected"),
        ({"w": np.ones((3, 1), np.float32)}, "shape"),
        ({"w": np.ones(3, np.float64)}, "float32"),
        ({"w": np.ones(3, np.complex64)}, "expected a dtype"),
        ({"w": np.array(["a", "b", "c"])}, "expected a dtype"),
        ({"w": np.array([None, 1, 2])}, "expected a dtype"),
    ],
)
def test_arrays_that_do_not_fit_the_layout_are_refused(arrays: dict[str, Array], says: str) -> None:
    layout = layout_of({"w": np.ones(3, np.float32)})
    with pytest.raises(LayoutError, match=says):
        require(arrays, layout)
    with pytest.raises(LayoutError, match=says):
        flatten(arrays, layout)


def test_a_rule_is_for_integers_alone_and_kept_without_one() -> None:
    arrays = {"w": np.ones(1, np.float32), "n": np.array(3), "m": np.array(True)}
    rules = {entry.name: entry.rule for entry in layout_of(arrays, {"n": "max"}).entries}
    assert rules == {"w": "mean", "n": "max", "m": "keep"}


BATCH_NORM: dict[str, Array] = {
    "bn.weight": np.array([1.0, 2.0], np.float32),
    "bn.running_var": np.array([0.5, 4.0], np.float32),
    "bn.num_batches_tracked": np.array(7, np.int64),
    "frozen": np.array([1, 2], np.uint8),
}


def test_an_update_of_batch_norm_has_differences_and_the_counter_itself() -> None:
    layout = layout_of(BATCH_NORM, {"bn.num_batches_tracked": "max"})
    before = flatten(BATCH_NORM, layout)
    after = flatten(
        {
            **BATCH_NORM,
            "bn.weight": np.array([1.5, 1.0], np.float32),
            "bn.num_batches_tracked": np.array(12, np.int64),
            "frozen": np.array([9, 9], np.uint8),
        },
        layout,
    )
    payload = update_between(before, after, layout)
    assert len(payload) == layout.update_bytes == 4 * 4 + 8
    assert update_floats(payload, layout).tolist() == [0.0, 0.0, 0.5, -1.0]
    assert update_maxed(payload, layout)["bn.num_batches_tracked"] == 12
    applied = unflatten(apply_update(before, update_floats(payload, layout), layout), layout)
    assert applied["bn.weight"].tolist() == [1.5, 1.0]
    assert applied["bn.num_batches_tracked"] == 7  # the sum maxes it, not this
    assert applied["frozen"].tolist() == [1, 2]


@given(parameter_sets())
def test_applying_no_change_changes_no_number(arrays: dict[str, Array]) -> None:
    layout = layout_of(arrays)
    base = flatten(arrays, layout)
    result = apply_update(base, np.zeros(layout.num_floats, np.float32), layout)
    for name, array in unflatten(result, layout).items():
        expected = unflatten(base, layout)[name]
        if dtype_name(array) in FLOATS:  # a NaN may get other bits, and -0 becomes 0
            array, expected = _as_float64(array), _as_float64(expected)
            assert np.array_equal(array, expected, equal_nan=True)
        else:
            assert same_bits(array, expected)


@np.errstate(invalid="ignore")  # a NaN that signals is as good as another
def _as_float64(array: Array) -> Array:
    if array.dtype == BFLOAT16:
        return as_float32(np.ascontiguousarray(array).reshape(-1)).astype(np.float64)
    return array.reshape(-1).astype(np.float64)


@st.composite
def two_models(draw: st.DrawFn) -> tuple[Layout, dict[str, Array], dict[str, Array]]:
    """Parameters before and after training, of all float dtypes, with numbers of one size."""
    count = draw(st.integers(1, 5))
    numbers = st.lists(st.floats(-8, 8, width=16), min_size=count, max_size=count)
    sides: list[dict[str, Array]] = []
    for _ in range(2):
        side: dict[str, Array] = {
            name: np.array(draw(numbers), name) for name in ("float16", "float32", "float64")
        }
        bits = np.array(draw(numbers), np.float32).view("<u4") >> 16
        sides.append({**side, "bfloat16": bits.astype("<u2").view(BFLOAT16)})
    return layout_of(sides[0]), sides[0], sides[1]


@given(two_models())
def test_applying_an_update_to_its_base_gives_what_was_trained(
    models: tuple[Layout, dict[str, Array], dict[str, Array]],
) -> None:
    layout, before, after = models
    base = flatten(before, layout)
    payload = update_between(base, flatten(after, layout), layout)
    result = unflatten(apply_update(base, update_floats(payload, layout), layout), layout)
    for name, array in result.items():
        error = np.abs(_as_float64(array) - _as_float64(after[name]))
        assert np.all(error <= 8 * 2.0**-23), name


def test_an_update_of_float64_is_taken_before_it_is_rounded() -> None:
    before, after = {"w": np.array([1e9])}, {"w": np.array([1e9 + 1])}
    layout = layout_of(before)
    payload = update_between(flatten(before, layout), flatten(after, layout), layout)
    assert update_floats(payload, layout).tolist() == [1.0]


def test_buffers_that_cannot_be_written_make_an_update_too() -> None:
    layout = layout_of({"w": np.ones(3, np.float32)})
    buffer = bytes(flatten({"w": np.ones(3, np.float32)}, layout))
    assert not any(update_between(buffer, memoryview(buffer), layout))


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_update_that_diverged_is_made_without_a_warning(dtype: str) -> None:
    huge = bfloat16(np.inf, -np.inf, np.nan) if dtype == "bfloat16" else None
    numbers = np.array([np.inf, -np.inf, np.nan], dtype) if huge is None else huge
    layout = layout_of({"w": numbers})
    buffer = flatten({"w": numbers}, layout)
    assert not np.isfinite(update_floats(update_between(buffer, buffer, layout), layout)).any()


def test_an_update_of_float64_beyond_float32_is_infinite_without_a_warning() -> None:
    layout = layout_of({"w": np.ones(1)})
    before, after = (flatten({"w": np.array([x])}, layout) for x in (0.0, 1e300))
    payload = update_between(before, after, layout)
    assert np.isinf(update_floats(payload, layout)).all()


def test_a_sum_beyond_16_bits_is_the_largest_number_without_a_warning() -> None:
    change = np.array([60_000, -200_000], np.float32)
    half = add_to(np.array([60_000, 0], np.float16), change)
    assert half.tolist() == [65_504, -65_504]
    huge = np.array([3.4e38, -3.4e38], np.float32)
    assert np.isfinite(as_float32(add_to(bfloat16(1.0, 1.0), huge))).all()


def test_bfloat16_rounds_to_the_nearest_and_ties_to_even() -> None:
    base = bfloat16(1.0, 1.0, 1.0078125, 1.0, -1.0)
    step = 2.0**-7  # between neighbours of 1 in bfloat16
    change = np.array([step / 2, step * 0.51, step / 2, step, -step / 2], np.float32)
    assert as_float32(add_to(base, change)).tolist() == [1.0, 1 + step, 1 + 2 * step, 1 + step, -1]


@given(arrays_of("float32", (20,)))
def test_bfloat16_rounds_as_torch_does(numbers: Array) -> None:
    torch = pytest.importorskip("torch")
    largest = float(torch.finfo(torch.bfloat16).max)  # what is more stays finite here, not there
    assume(not (np.isfinite(numbers) & (np.abs(numbers) > largest)).any())
    ours = add_to(np.zeros(20, BFLOAT16), numbers)
    theirs = torch.from_numpy(numbers.copy()).to(torch.bfloat16)
    assert np.array_equal(as_float32(ours), theirs.float().numpy(), equal_nan=True)


@given(arrays_of("bfloat16", (20,)))
def test_bfloat16_widens_as_torch_does(numbers: Array) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.from_numpy(numbers.view("<i2").copy()).view(torch.bfloat16).float().numpy()
    assert np.array_equal(as_float32(numbers), theirs, equal_nan=True)


@given(arrays_of("float16", (10,)), arrays_of("float32", (10,)))
def test_half_precision_is_summed_in_single(numbers: Array, change: Array) -> None:
    with np.errstate(all="ignore"):
        largest = np.finfo(np.float16).max
        total = np.clip(numbers.astype(np.float32) + change, -largest, largest)
    assert np.array_equal(add_to(numbers, change), total.astype(np.float16), equal_nan=True)


def test_a_segment_is_seen_in_place() -> None:
    arrays = {"a": np.ones(2, np.float32), "b": np.ones((2, 2), np.float32), "n": np.array(1)}
    layout = layout_of(arrays)
    buffer = flatten(arrays, layout)
    counters, floats = layout.segments
    segment_view(buffer, floats)[...] = np.arange(6)
    assert unflatten(buffer, layout)["b"].tolist() == [[2, 3], [4, 5]]
    assert segment_view(buffer, counters).tolist() == [1]


@given(parameter_sets())
def test_what_is_maxed_lies_behind_the_floats_of_an_update(arrays: dict[str, Array]) -> None:
    layout = layout_of(arrays, dict.fromkeys(arrays, "max"))
    buffer = flatten(arrays, layout)
    maxed = update_maxed(bytes(update_between(buffer, buffer, layout)), layout)
    assert maxed.keys() == {name for name in arrays if dtype_name(arrays[name]) not in FLOATS}
    assert all(same_bits(values, arrays[name]) for name, values in maxed.items())


def test_a_model_is_named_by_its_numbers() -> None:
    layout = layout_of({"w": np.ones(3, np.float32)})
    one = flatten({"w": np.array([1, 2, 3], np.float32)}, layout)
    assert digest_of(one) != digest_of(flatten({"w": np.array([1, 2, 4], np.float32)}, layout))


def test_an_entry_of_the_layout_says_how_an_array_is_treated() -> None:
    layout = layout_of({"w": np.ones((2, 3), np.float16)})
    assert layout.entries == (Entry("w", "float16", (2, 3), "mean"),)
