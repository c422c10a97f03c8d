"""What the tests of codecs have in common: a model of one array, and its updates."""

from __future__ import annotations

import numpy as np

from schemas.codecs.payload import encode_update, numbers_of
from schemas.layout import Layout
from schemas.tensors import Floats, layout_of

PLAIN = ("fp32", "fp16", "bf16", "int8", "int4", "int2", "topk:0.1", "topk:0.001")
CODECS = tuple(name + end for name in PLAIN for end in ("", "+zstd"))
UPDATE_ID = "0123456789abcdef" * 2


def layout_with(count: int) -> Layout:
    return layout_of({"w": np.zeros(count, np.float32)})


def encoded(floats: Floats, codec: str, update_id: str = UPDATE_ID) -> bytes:
    payload = floats.astype("<f4").tobytes()
    return b"".join(encode_update(payload, codec, layout_with(floats.size), update_id))


def decoded(payload: bytes, codec: str, count: int, update_id: str = UPDATE_ID) -> Floats:
    numbers = numbers_of(payload, codec, layout_with(count), update_id)
    return np.concatenate([block.copy() for _, block in numbers.blocks()])


def through(floats: Floats, codec: str, update_id: str = UPDATE_ID) -> Floats:
    """Numbers as they arrive."""
    return decoded(encoded(floats, codec, update_id), codec, floats.size, update_id)


def noise(count: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).laplace(scale=0.01, size=count).astype(np.float32)


def distance(one: Floats, other: Floats) -> float:
    """How far one is from the other, in parts of the other's norm."""
    apart = one.astype(np.float64) - other
    return float(np.linalg.norm(apart) / np.linalg.norm(other.astype(np.float64)))
