"""Memory for bodies is used again once nobody looks at it, and never before."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.rabbitmq.buffers import KEPT_BYTES, KEPT_COUNT, Buffers
from disk import let_go

BODY_BYTES = 200_000
MIB = 1024 * 1024


def body(buffers: Buffers, size: int = BODY_BYTES) -> memoryview:
    """As `framing` takes one: what is looked at is a part of the piece."""
    return memoryview(buffers.take(size))[:size]


def _a_view(view: memoryview) -> Any:
    return view[10:20]


def _a_view_of_a_view(view: memoryview) -> Any:
    return memoryview(memoryview(view)[5:])[1:].toreadonly()


def _an_array(view: memoryview) -> Any:
    return np.frombuffer(view, np.uint8)


def _a_part_of_an_array(view: memoryview) -> Any:
    return np.frombuffer(view[:4096], np.float32).reshape(2, -1)[1]


def _an_iterator(view: memoryview) -> Any:
    return iter(view)


@pytest.mark.parametrize(
    "look",
    [_a_view, _a_view_of_a_view, _an_array, _a_part_of_an_array, _an_iterator],
    ids=lambda look: look.__name__[1:],
)
def test_memory_is_used_again_when_the_last_look_at_it_is_gone_and_not_before(
    look: Callable[[memoryview], Any],
) -> None:
    buffers = Buffers()
    first = body(buffers)
    piece = id(first.obj)
    last = look(first)
    del first
    other = body(buffers)
    assert id(other.obj) != piece
    del last
    assert id(body(buffers).obj) == piece


def test_a_piece_that_was_taken_is_in_use_before_there_is_a_view_of_it() -> None:
    buffers = Buffers()
    piece = buffers.take(BODY_BYTES)
    assert buffers.take(BODY_BYTES) is not piece


def test_what_one_body_says_stays_while_others_come_and_go() -> None:
    buffers = Buffers()
    kept = body(buffers)
    kept[:] = b"k" * BODY_BYTES
    for byte in b"abc":
        other = body(buffers)
        other[:] = bytes([byte]) * BODY_BYTES
    assert bytes(kept) == b"k" * BODY_BYTES


def test_a_body_that_is_let_go_of_as_if_it_lay_in_a_file_is_still_there() -> None:
    kept = body(Buffers())
    kept[:] = b"k" * BODY_BYTES
    let_go(kept.toreadonly())
    assert bytes(kept) == b"k" * BODY_BYTES


def test_bodies_of_about_one_size_take_turns_on_one_piece() -> None:
    buffers = Buffers()
    pieces = {id(body(buffers, size).obj) for size in (200_000, 150_000, 196_608, 110_000)}
    assert len(pieces) == 1


def test_a_small_body_does_not_take_a_piece_that_is_much_larger() -> None:
    buffers = Buffers()
    large = id(body(buffers, 4 * MIB).obj)
    assert id(body(buffers, 100_000).obj) != large


@pytest.mark.parametrize("size", [65_536, 65_537, 1_000_000, KEPT_BYTES, KEPT_BYTES + 1])
def test_there_is_as_much_as_was_asked_for(size: int) -> None:
    assert len(Buffers().take(size)) >= size


class Watched:
    """Buffers, and which pieces of them there still are."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self._pieces: list[weakref.ref[mmap.mmap]] = []

    def body(self, size: int) -> memoryview:
        view = body(self.buffers, size)
        assert isinstance(view.obj, mmap.mmap)
        self._pieces.append(weakref.ref(view.obj))
        return view

    def sizes(self) -> list[int]:
        """Of the pieces that there are, whether in use or kept."""
        there = {id(piece): len(piece) for ref in self._pieces if (piece := ref()) is not None}
        return list(there.values())


@given(
    st.lists(
        st.tuples(st.integers(65_536, 9 * MIB), st.booleans(), st.integers(0, 100)), max_size=100
    )
)
def test_what_is_kept_is_bounded_whatever_came(
    bodies: list[tuple[int, bool, int]],
) -> None:
    watched, held = Watched(), list[memoryview]()
    for size, is_held, number in bodies:
        view = watched.body(size)
        if is_held:
            held.append(view)
        elif held:
            del held[number % len(held)]
        del view
    held.clear()
    assert len(watched.sizes()) <= KEPT_COUNT
    assert sum(watched.sizes()) <= KEPT_BYTES


def test_as_many_pieces_are_kept_as_may_be() -> None:
    watched = Watched()
    held = [watched.body(100_000) for _ in range(KEPT_COUNT + 10)]
    assert len(watched.sizes()) == KEPT_COUNT + 10
    held.clear()
    assert len(watched.sizes()) == KEPT_COUNT


def test_as_many_bytes_are_kept_as_may_be() -> None:
    watched = Watched()
    held = [watched.body(5 * MIB) for _ in range(20)]
    held.clear()
    assert sum(watched.sizes()) == KEPT_BYTES // (5 * MIB) * 5 * MIB


def test_what_is_larger_than_all_that_may_be_kept_goes_back_at_once() -> None:
    watched = Watched()
    watched.body(KEPT_BYTES + 1)
    assert watched.sizes() == []


def test_nothing_makes_room_for_what_is_not_kept_anyway() -> None:
    watched = Watched()
    watched.body(MIB)
    watched.body(KEPT_BYTES + 1)
    assert watched.sizes() == [MIB]


def test_unused_pieces_of_another_size_make_room_for_bodies_of_this_one() -> None:
    watched = Watched()
    small = [watched.body(100_000) for _ in range(KEPT_COUNT)]
    small.clear()
    first = watched.body(4 * MIB)
    piece = id(first.obj)
    del first
    assert id(watched.body(4 * MIB).obj) == piece
    assert len(watched.sizes()) == KEPT_COUNT


def test_no_more_of_them_go_than_must() -> None:
    watched = Watched()
    held = [watched.body(MIB) for _ in range(KEPT_BYTES // MIB // 2)]
    held.clear()
    watched.body(KEPT_BYTES // 2 + 2 * MIB)
    assert sorted(watched.sizes())[:-1] == [MIB] * (KEPT_BYTES // MIB // 2 - 2)


def test_pieces_in_use_do_not_make_room() -> None:
    watched = Watched()
    held = [watched.body(100_000) for _ in range(KEPT_COUNT)]
    watched.body(4 * MIB)
    assert 4 * MIB not in watched.sizes()
    held.clear()
    assert len(watched.sizes()) == KEPT_COUNT
