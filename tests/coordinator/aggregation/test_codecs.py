"""Every rule works on decoded numbers: as if they had been sent as float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coordinator.aggregation.beginning import begin
from coordinator.aggregation.cache import Cache, ShelfInMemory
from coordinator.aggregation.checks import inspect
from coordinator.aggregation.counted import Counted, UpdatesInMemory
from coordinator.algorithm import Algorithm, Rule
from schemas.codecs.numbers import BLOCK
from schemas.codecs.payload import encode_update, numbers_of
from schemas.layout import Layout
from schemas.tensors import layout_of
from tests.coordinator.aggregation.test_aggregation import RULES
from tests.schemas.codecs.coding import CODECS, noise

COUNT = BLOCK + 1500
# Two segments, so that the blocks of a step do not begin where those of a payload do.
LAYOUT = layout_of({"w": np.zeros(COUNT - 700, np.float32), "d": np.zeros(700, np.float64)})


def coded(codec: str, number: int, layout: Layout = LAYOUT, size: int = COUNT) -> Counted:
    update_id = f"{number:032x}"
    floats = noise(size, number)
    payload = b"".join(encode_update(floats.tobytes(), codec, layout, update_id))
    return Counted(payload, f"w{number}", 0, 1.0 + number, 1.0 + number, 4.0, codec, update_id)


def plain(update: Counted) -> Counted:
    """The same numbers as float32."""
    floats = update.numbers(LAYOUT).read(0, COUNT)
    return replace(update, payload=floats.astype("<f4").tobytes(), codec="fp32")


def made_of(rule: Rule, updates: list[Counted], clip: float) -> bytes:
    algorithm = Algorithm(rule=rule, clip_norm=clip)
    aggregation = begin(algorithm, LAYOUT, cache=Cache(ShelfInMemory(COUNT)))
    for update in updates:
        aggregation.add(update)
    made = aggregation.result(bytes(LAYOUT.num_bytes), UpdatesInMemory(updates, LAYOUT))
    return bytes(made.model)


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_makes_of_encoded_updates_what_it_makes_of_their_numbers(
    rule: Rule, clip: float
) -> None:
    updates = [coded(codec, number) for number, codec in enumerate(CODECS)]
    assert made_of(rule, updates, clip) == made_of(rule, [plain(one) for one in updates], clip)


@pytest.mark.parametrize("codec", CODECS)
def test_the_norm_that_is_looked_at_is_that_of_the_decoded_numbers(codec: str) -> None:
    update = coded(codec, 3)
    norm = float(np.linalg.norm(update.numbers(LAYOUT).read(0, COUNT).astype(np.float64)))

    def verdict(ceiling: float) -> str | None:
        refused = inspect(update.payload, LAYOUT, ceiling, codec, update.update_id)
        return None if refused is None else refused.verdict

    assert verdict(0.0) is None
    assert verdict(1.001 * norm) is None
    assert verdict(0.999 * norm) == "over-norm"


@pytest.mark.parametrize("codec", ["fp16", "int8", "int4", "int2", "int8+zstd"])
@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, 3e38])
def test_a_scale_that_makes_numbers_infinite_is_found(codec: str, scale: float) -> None:
    layout = layout_of({"w": np.zeros(2048, np.float32)})
    payload = bytearray(coded(codec.removesuffix("+zstd"), 3, layout, 2048).payload)
    payload[4:8] = np.array(scale, "<f4").tobytes()  # of the second group
    if codec.endswith("+zstd"):  # a block that stands as it is
        payload += len(payload).to_bytes(4, "little")
    refused = inspect(payload, layout, 0.0, codec, f"{3:032x}")
    assert refused is not None
    assert refused.verdict == "non-finite"


def test_a_block_that_is_none_is_malformed_before_anything_is_added() -> None:
    update = coded("int4+zstd", 3)
    payload = bytearray(update.payload)
    payload[-12:-8] = b"\xff" * 4  # in the second block
    refused = inspect(payload, LAYOUT, 0.0, "int4+zstd", update.update_id)
    assert refused is not None
    assert refused.verdict == "malformed"


def test_decoding_for_the_check_is_decoding_for_the_sum() -> None:
    update = coded("int2", 5)
    one, other = (numbers_of(update.payload, "int2", LAYOUT, update.update_id) for _ in range(2))
    for (_, first), (_, second) in zip(one.blocks(), other.blocks(), strict=True):
        assert np.array_equal(first, second)
