from pathlib import Path
from typing import get_args

import pytest

from settings.describe import reference
from settings.errors import SettingsError
from settings.fields import fields
from settings.loading import load
from settings.presets import PRESETS


def with_preset(name: str, **overrides: object) -> dict[str, object]:
    return {"rounds.preset": name} | {n.replace("__", "."): v for n, v in overrides.items()}


def test_the_presets_are_those_that_can_be_named() -> None:
    assert ("", *PRESETS) == get_args(fields()["rounds.preset"].type)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_what_it_says_and_nothing_else(name: str) -> None:
    plain, settings = load(None, {}), load(None, {}, with_preset(name))
    values = PRESETS[name].dotted() | {"rounds.preset": name}
    for field in fields().values():
        expected = values.get(field.name, field.value_of(plain))
        assert field.value_of(settings) == expected, field.name


def test_without_a_preset_the_defaults_hold() -> None:
    assert load(None, {}, with_preset("")) == load(None, {})


def test_what_somebody_wrote_comes_before_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text('[rounds]\npreset = "fedbuff"\ngoal = 7\nlate = "weigh"\n', encoding="utf-8")
    rounds = load(path, {"FEDMQ_ROUNDS_CONCURRENCY": "30"}, {"rounds.max_staleness": 3}).rounds
    assert (rounds.goal, rounds.concurrency, rounds.max_staleness) == (7, 30, 3)


def test_a_default_that_is_written_out_comes_before_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    text = '[rounds]\npreset = "sync"\nlate = "weigh"\nmax_staleness = 5\n'
    path.write_text(text, encoding="utf-8")
    assert load(path, {}).rounds.late == "weigh"


def test_the_preset_that_counts_is_the_one_that_is_said_last(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text('[rounds]\npreset = "sync"\n', encoding="utf-8")
    assert load(path, {"FEDMQ_ROUNDS_PRESET": "fedasync"}).rounds.goal == 1
    assert load(path, {"FEDMQ_ROUNDS_PRESET": ""}).rounds.late == "weigh"


def test_an_unknown_preset_is_one_error() -> None:
    with pytest.raises(SettingsError, match=r'rounds\.preset .*expected one of .*"fedbuff"'):
        load(None, {}, with_preset("fedprox"))


def test_settings_at_odds_with_a_preset_name_it() -> None:
    with pytest.raises(SettingsError, match=r'which is 100 \(the preset "fedbuff" \(the command'):
        load(None, {}, with_preset("fedbuff", rounds__goal=200))


@pytest.mark.parametrize("name", PRESETS)
def test_the_reference_says_what_a_preset_sets(name: str) -> None:
    (row,) = [line for line in reference().splitlines() if line.startswith(f"| `{name}` | ")]
    for dotted in PRESETS[name].dotted():
        assert f"`{dotted} = " in row
