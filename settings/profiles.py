"""Codecs by the kind of network: what `wire.profile` sets. Data, as the presets are."""

from collections.abc import Mapping
from types import MappingProxyType

from settings.presets import Preset

PROFILES: Mapping[str, Preset] = MappingProxyType(
    {
        "lan": Preset(
            meaning="A network that is fast enough: half the bytes, and nothing to be seen of it "
            "in the model.",
            paper="Kalamkar et al. 2019 (bfloat16)",
            values={"wire": {"codec": "bf16", "model_codec": "bf16"}},
        ),
        "slow": Preset(
            meaning="A slow or paid link: about a twelfth of the bytes. What rounding to 4 bits "
            "loses has no direction, and averages out over the updates of a round.",
            paper="Alistarh et al. 2017 (QSGD)",
            values={"wire": {"codec": "int4+zstd", "model_codec": "bf16"}},
        ),
        "tiny": Preset(
            meaning="A link that is next to none: a sixteenth of the bytes, whatever the update "
            "looks like, for more of the processor.",
            paper="Vargaftik et al. 2022 (EDEN)",
            values={"wire": {"codec": "int2", "model_codec": "bf16"}},
        ),
    }
)
