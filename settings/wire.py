"""The settings of what travels: how updates and models are encoded."""

from typing import Annotated, Literal

import msgspec

from schemas.codecs.names import EXPECTED, FP32, PATTERN, ModelCodec
from settings.about import about

ABOUT_CODEC = "every update says how it is encoded, and any mix of them is added up"


class WireSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[wire]: how updates and models are encoded on their way."""

    profile: Annotated[
        Literal["", "lan", "slow", "tiny"],
        about(
            "Codecs by the kind of network: it sets other fields of this section that are not set "
            "otherwise (see profiles). Empty: none.",
            free="only what it sets counts, as if it had been written out",
        ),
    ] = ""
    codec: Annotated[
        str,
        about(
            "How the floats of an update are encoded. fp32 loses nothing; bf16 halves the bytes, "
            "int8+zstd makes about a fifth of them, int4+zstd a twelfth.",
            pattern=PATTERN,
            expected=EXPECTED,
            free=f"{ABOUT_CODEC}; tasks that are offered from then on ask for the new one",
        ),
    ] = FP32
    model_codec: Annotated[
        ModelCodec,
        about(
            "In what a model version travels to the workers. fp16 and bf16 halve the bytes; what "
            "workers train on differs from the version by that rounding, and their updates are "
            "added to the version itself.",
            waits="a version is published once, as it was made",
        ),
    ] = "fp32"
