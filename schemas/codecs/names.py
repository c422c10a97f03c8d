"""The codecs by name. Without arrays: settings, and the agent of a worker, look here too.

fp32         the numbers as they are
fp16, bf16   two bytes a number
int8, int4   stochastic rounding
int2         randomised Hadamard rotation, four levels
topk:0.05    of each block the five hundredths that are largest, with error feedback
…+zstd       any of them, compressed
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast, get_args

FP32 = "fp32"
"""The numbers as they are."""

Kind = Literal["fp32", "fp16", "bf16", "int8", "int4", "int2", "topk"]

PLAIN = ("fp32", "fp16", "bf16", "int8", "int4", "int2")

EXPECTED = f"one of {', '.join(PLAIN)}, topk:<share> as in topk:0.05; any with +zstd"

PATTERN = rf"({'|'.join(PLAIN)}|topk:0\.(?=[0-9]*[1-9])[0-9]{{1,6}})(\+zstd)?"
"""What every name of a codec matches, as a whole."""

_NAME = re.compile(PATTERN)


ModelCodec = Literal["fp32", "fp16", "bf16"]

MODEL_CODECS: tuple[str, ...] = get_args(ModelCodec)
"""In what a model may travel to the workers: all of them inherit what that loses."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What the name of a codec says.

    Attributes:
        kind: One of `PLAIN`, or "topk".
        share: Of topk, how many of the numbers are sent; above 0, below 1.
        packed: What the codec writes is compressed.
    """

    kind: Kind
    share: float = 0.0
    packed: bool = False

    @property
    def feeds_back(self) -> bool:
        """Whether what one update leaves out goes into the next one."""
        return self.kind == "topk"


@lru_cache(maxsize=256)
def spec_of(name: str) -> Spec | None:
    """What a name says, None if it names no codec."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind, _, share = found[1].partition(":")
    return Spec(cast(Kind, kind), float(share or 0), packed=found[2] is not None)
