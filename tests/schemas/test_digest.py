"""Ids name what they are made of."""

from __future__ import annotations

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from schemas.digest import (
    DIGEST_DIGITS,
    ID_DIGITS,
    digest_of,
    digest_of_stream,
    identify,
    shard_of,
    update_id_of,
)

PARTS = st.lists(st.text(max_size=6), max_size=4)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_a_digest_is_of_the_bytes_and_not_of_how_they_are_cut(chunks: list[bytes]) -> None:
    whole = hashlib.sha256(b"".join(chunks)).hexdigest()
    assert digest_of(*chunks) == digest_of_stream(iter(chunks)) == whole
    assert len(whole) == DIGEST_DIGITS


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
