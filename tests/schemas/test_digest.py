"""Ids name what they are made of."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from schemas.digest import (
    DIGEST_DIGITS,
    ID_DIGITS,
    RunningDigest,
    digest_of,
    digest_of_stream,
    identify,
    shard_of,
    update_id_of,
)

PARTS = st.lists(st.text(max_size=6), max_size=4)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_a_digest_is_of_the_bytes_and_not_of_how_they_are_cut(chunks: list[bytes]) -> None:
    whole = digest_of(b"".join(chunks))
    assert digest_of(*chunks) == digest_of_stream(iter(chunks)) == whole
    assert len(whole) == DIGEST_DIGITS


def test_a_digest_is_blake3() -> None:
    """Of the function's own test vectors (bytes that count up to 250), by other programs."""
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert digest_of(b"") == empty
    counted = bytes(index % 251 for index in range(1025))
    assert digest_of(counted) == "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"


def test_a_running_digest_may_be_asked_at_any_time() -> None:
    running = RunningDigest()
    assert running.digits() == digest_of(b"")
    running.update(memoryview(b"ab"))
    assert running.digits() == digest_of(b"ab")
    running.update(bytearray(b"c"))
    assert running.digits() == digest_of(b"abc")


@given(PARTS, PARTS)
def test_an_id_is_equal_exactly_if_its_parts_are(one: list[str], other: list[str]) -> None:
    assert (identify(*one) == identify(*other)) == (one == other)


def test_an_id_is_128_bits_in_hexadecimal() -> None:
    assert re.fullmatch(rf"[0-9a-f]{{{ID_DIGITS}}}", identify("a", 1))


def test_an_update_is_named_by_life_task_and_worker() -> None:
    ids = {update_id_of(1, "t", "w"), update_id_of(2, "t", "w"), update_id_of(1, "u", "w")}
    assert len({*ids, update_id_of(1, "t", "x")}) == 4
    assert update_id_of(1, "t", "w") in ids


@given(st.text("abc-_0", min_size=1, max_size=64), st.integers(1, 64))
def test_a_worker_is_of_one_shard(worker_id: str, shards: int) -> None:
    assert shard_of(worker_id, shards) == shard_of(worker_id, shards) < shards


def test_shards_are_the_same_in_every_process() -> None:
    assert [shard_of(f"worker-{n}", 4) for n in range(6)] == [2, 0, 2, 0, 3, 1]
