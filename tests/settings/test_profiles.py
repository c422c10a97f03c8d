"""Codecs by the kind of network, and by name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from schemas.codecs.names import spec_of
from settings.describe import reference
from settings.errors import SettingsError
from settings.fields import fields
from settings.loading import load
from settings.profiles import PROFILES


def test_the_profiles_are_those_that_can_be_named() -> None:
    assert ("", *PROFILES) == get_args(fields()["wire.profile"].type)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_sets_what_it_says_and_nothing_else(name: str) -> None:
    plain, settings = load(None, {}), load(None, {}, {"wire.profile": name})
    values = PROFILES[name].dotted() | {"wire.profile": name}
    for field in fields().values():
        expected = values.get(field.name, field.value_of(plain))
        assert field.value_of(settings) == expected, field.name


def test_what_somebody_wrote_comes_before_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text('[wire]\nprofile = "slow"\ncodec = "int8"\n', encoding="utf-8")
    assert load(path, {}).wire.codec == "int8"
    assert load(path, {}, {"wire.codec": "fp16"}).wire.codec == "fp16"


def test_a_profile_and_a_preset_go_together() -> None:
    settings = load(None, {}, {"wire.profile": "tiny", "rounds.preset": "fedbuff"})
    assert (settings.wire.codec, settings.rounds.goal) == ("int2", 10)


@pytest.mark.parametrize("codec", ["fp32", "bf16+zstd", "topk:0.01", "topk:0.000001+zstd"])
def test_a_codec_is_taken_by_its_name(codec: str) -> None:
    assert load(None, {"FEDMQ_WIRE_CODEC": codec}).wire.codec == codec
    assert spec_of(codec) is not None


@pytest.mark.parametrize("codec", ["", "fp64", "topk:0.0", "topk:1", "int8+zstd ", "int8\n"])
def test_what_is_no_codec_is_one_error(codec: str) -> None:
    with pytest.raises(SettingsError, match=r"wire\.codec .*expected one of fp32, .*topk"):
        load(None, {"FEDMQ_WIRE_CODEC": codec})
    assert spec_of(codec) is None


@pytest.mark.parametrize("name", PROFILES)
def test_the_reference_says_what_a_profile_sets(name: str) -> None:
    (row,) = [line for line in reference().splitlines() if line.startswith(f"| `{name}` | ")]
    for dotted in PROFILES[name].dotted():
        assert f"`{dotted} = " in row
